"""Names, tags and scripts of languages."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from grrm.files import UserError
from grrm.languages import base_language, language_code, language_name, region_of, script_of
from grrm.prompts import load_ranking_prompt, load_translation_prompt

ROOT = Path(__file__).parents[2]
# SHA-256 of prompts as they were when names stood in a table of the project's own.
PUBLISHED = json.loads((ROOT / "tests/data/golden/prompts_of_pairs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("en", "English"),
        ("zh", "Chinese"),
        ("de", "German"),
        ("ja", "Japanese"),
        ("ko", "Korean"),
        ("ru", "Russian"),
        ("es", "Spanish"),
        ("fr", "French"),
        ("it", "Italian"),
        ("nl", "Dutch"),
        ("pt", "Portuguese"),
        ("uk", "Ukrainian"),
        ("cs", "Czech"),
        ("is", "Icelandic"),
        ("bn", "Bengali"),
        ("pa", "Punjabi"),
        ("fil", "Filipino"),
        ("xx", "xx"),
        ("yy", "yy"),
        ("yue", "Cantonese"),
        ("ckb", "Central Kurdish"),
        ("zh_CN", "Chinese (China)"),
        ("zh_TW", "Chinese (Traditional, Taiwan)"),
        ("zh-Hant", "Chinese (Traditional)"),
        ("zho_Hans", "Chinese (Simplified)"),
        ("pt_BR", "Portuguese (Brazil)"),
        ("pt-PT", "Portuguese (Portugal)"),
        ("sr_Latn", "Serbian (Latin)"),
        ("pa_PK", "Punjabi (Arabic, Pakistan)"),
        ("eng_Latn", "English"),
        ("kor_Hang", "Korean"),
    ],
)
def test_language_name(code: str, name: str) -> None:
    assert language_name(code) == name


def test_prompts_of_the_published_pairs_and_of_the_demonstration_are_those_of_before() -> None:
    datasets = yaml.safe_load((ROOT / "config/datasets.yaml").read_text(encoding="utf-8"))
    sets = [test_set for entry in datasets.values() for test_set in (entry.get("test_sets") or {}).values()]
    pairs = {test_set["pair"] for test_set in sets if "pair" in test_set}
    assert pairs | {"xx-yy", "yy-xx"} <= PUBLISHED.keys()
    paper = yaml.safe_load((ROOT / "config/paper.yaml").read_text(encoding="utf-8"))["prompts"]
    demo = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))["prompts"]
    for pair, digests in PUBLISHED.items():
        source, target = pair.split("-")
        prompts = demo if "xx" in pair else paper
        segment = {"src_lang": source, "trg_lang": target, "src_text": "A source."}
        rendered = {
            "ranking": load_ranking_prompt(ROOT / prompts["ranking"]).render(
                mt_texts=["One.", "Two ```x```."], **segment
            ),
            "translation": load_translation_prompt(ROOT / prompts["translation"]).render(**segment),
            "seed_x": load_translation_prompt(ROOT / "config/prompts/seed_x.yaml", "seed-x").render(
                **segment
            ),
        }
        found = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in rendered.items()}
        assert found == digests, pair


@pytest.mark.parametrize(
    ("tags", "code"),
    [
        (["zh", "ZH", "zho", "chi", "cmn"], "zh"),
        (["zh_TW", "zh-TW", "zh-tw", "ZH_tw"], "zh_TW"),
        (["zh_Hant", "zho-Hant", "cmn_Hant"], "zh_Hant"),
        (["zh_hant_hk", "zh-Hant-HK"], "zh_Hant_HK"),
        (["srp_Latn", "sr-latn"], "sr_Latn"),
        (["en", "eng", "eng_Latn", "en_XX"], "en"),
        (["ko", "kor_Hang", "kor_Kore"], "ko"),
        (["fa", "pes", "per"], "fa"),
        (["pt-br", "por_BR"], "pt_BR"),
    ],
)
def test_each_language_has_one_tag_that_keeps_script_and_region(tags: list[str], code: str) -> None:
    assert {language_code(tag) for tag in tags} == {code}


@pytest.mark.parametrize(
    ("code", "base", "script", "region"),
    [
        ("zh", "zh", "Hans", None),
        ("zh_TW", "zh", "Hant", "TW"),
        ("pa_PK", "pa", "Arab", "PK"),
        ("sr", "sr", "Cyrl", None),
        ("sr_Latn", "sr", "Latn", None),
        ("my", "my", "Mymr", None),
        ("es_419", "es", "Latn", "419"),
        ("yy", "yy", "Latn", None),
    ],
)
def test_the_parts_of_a_tag(code: str, base: str, script: str, region: str | None) -> None:
    assert (base_language(code), script_of(code), region_of(code)) == (base, script, region)


@pytest.mark.parametrize(
    "code",
    [
        *("", "e", "english", "qq", "zz_CN", "zh_", "_zh", "z h", "中文", "en--US", "xx_CN", "zh\n", "en\0"),
        *("und", "mul", "qaa", "x-abc"),
    ],
)
def test_an_unknown_code_is_named(code: str) -> None:
    with pytest.raises(UserError, match=r"unknown language code") as caught:
        language_name(code)
    assert repr(code) in str(caught.value)
