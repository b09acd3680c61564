"""The written sample: six languages, texts that are awkward on purpose, splits that do not overlap."""

import unicodedata
from collections import Counter

import pytest
import yaml

import make_sample_data
from grrm.data.sample import RANKING_SPLITS, TRANSLATION_SPLITS, make_tables
from grrm.data.sft_rows import ranking_chat, translation_chat
from grrm.extract import code_block
from grrm.files import UserError
from grrm.languages import language_code
from grrm.prompts import load_ranking_prompt, load_translation_prompt
from grrm.ranking import RankingAnswer, parse_answer
from grrm.schemas import read_table

LANGUAGES = {"en", "zh", "de", "ja", "ko", "ru"}
SCRIPTS = {"zh": "CJK", "ja": ("CJK", "HIRAGANA", "KATAKANA"), "ko": "HANGUL", "ru": "CYRILLIC"}


@pytest.fixture(scope="module")
def files(pytestconfig):
    folder = pytestconfig.rootpath / "config" / "sample"
    return folder / "rankings.yaml", folder / "translations.yaml"


@pytest.fixture(scope="module")
def rankings(files):
    return yaml.safe_load(files[0].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def translations(files):
    return yaml.safe_load(files[1].read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tables(files):
    return make_tables(*files, seed=0)


def prompts(pytestconfig):
    folder = pytestconfig.rootpath / "config" / "prompts"
    return load_ranking_prompt(folder / "ranking.yaml"), load_translation_prompt(folder / "translation.yaml")


# The sample


def test_there_are_forty_groups_and_forty_translations(rankings, translations):
    assert len(rankings) >= 40
    assert len(translations) >= 40


def test_every_language_is_source_and_target_of_both_tasks(rankings, translations):
    for items in (rankings, translations):
        pairs = Counter(item["pair"] for item in items)
        assert {source for source, _ in (pair.split("-") for pair in pairs)} == LANGUAGES
        assert {target for _, target in (pair.split("-") for pair in pairs)} == LANGUAGES
        assert min(pairs.values()) >= 3


def test_texts_are_in_the_script_of_their_language(rankings, translations):
    def check(text, language):
        names = [unicodedata.name(char, "") for char in text if char.isalpha()]
        script = SCRIPTS.get(language, "LATIN")
        assert any(name.startswith(script) for name in names), (text, language)

    for item in rankings:
        source, target = item["pair"].split("-")
        check(item["source"], source)
        for text in (item["reference"], *(candidate["text"] for candidate in item["candidates"])):
            check(text, target)
    for item in translations:
        source, target = item["pair"].split("-")
        check(item["source"], source)
        check(item["translation"], target)


def test_groups_have_two_to_four_different_candidates(rankings):
    for item in rankings:
        texts = [candidate["text"] for candidate in item["candidates"]]
        assert 2 <= len(texts) <= 4
        assert len(set(texts)) == len(texts)
    assert {len(item["candidates"]) for item in rankings} == {2, 3, 4}


def test_the_best_candidate_stands_in_every_place_and_some_are_tied(rankings):
    best = Counter()
    ties = 0
    for item in rankings:
        scores = [candidate["score"] for candidate in item["candidates"]]
        best[scores.index(max(scores))] += 1
        ties += len(set(scores)) < len(scores)
    assert set(best) == {0, 1, 2, 3}
    assert best.most_common(1)[0][1] < len(rankings) / 2
    assert ties >= 3


def test_every_analysis_speaks_of_every_candidate(rankings):
    for item in rankings:
        words = item["analysis"].replace(":", " ").replace(",", " ").split()
        for label, _ in zip("ABCD", item["candidates"], strict=False):
            assert label in words, item["analysis"]


def test_the_sample_holds_awkward_texts(rankings, translations):
    texts = [item["source"] for item in (*rankings, *translations)]
    for feature in ("\n", "```", "`", "<", "🎂", '"', "“", "„", "&", "["):
        everything = texts + [item.get("translation", "") for item in translations]
        everything += [candidate["text"] for item in rankings for candidate in item["candidates"]]
        assert any(feature in text for text in everything), feature


def test_texts_are_in_normal_form_and_written_from_left_to_right(files):
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert unicodedata.is_normalized("NFC", text)
        assert not {unicodedata.bidirectional(char) for char in text} & {"R", "AL", "RLE", "RLO", "RLI"}


# The tables


def test_splits_are_disjoint_and_complete(tables, rankings, translations):
    sources = [row["src_text"] for rows in tables.values() for row in rows]
    assert len(set(sources)) == len(sources)
    assert set(sources) == {item["source"] for item in (*rankings, *translations)}


def test_splits_have_their_shares(tables, rankings, translations):
    for splits, items in ((RANKING_SPLITS, rankings), (TRANSLATION_SPLITS, translations)):
        for table, share in splits.items():
            assert abs(len(tables[table]) - share * len(items)) <= 2


def test_splits_depend_on_the_seed_alone(files, tables):
    assert make_tables(*files, seed=0) == tables
    other = make_tables(*files, seed=1)
    assert {row["src_text"] for row in other["grrm_sft"]} != {row["src_text"] for row in tables["grrm_sft"]}


def test_scores_and_analysis_stay_with_their_candidates(tables, rankings):
    items = {item["source"]: item for item in rankings}
    for name in RANKING_SPLITS:
        for row in tables[name]:
            item = items[row["src_text"]]
            found = list(zip(row["mt_texts"], row["scores"], strict=True))
            assert found == [(candidate["text"], candidate["score"]) for candidate in item["candidates"]]
            assert row["analysis"] == item["analysis"]


def test_script_writes_six_tables_of_the_right_schema(files, tmp_path):
    flags = ["--rankings", str(files[0]), "--translations", str(files[1])]
    make_sample_data.main([*flags, "--output-folder", str(tmp_path)])
    for name in (*RANKING_SPLITS, *TRANSLATION_SPLITS):
        table = read_table(tmp_path / f"{name}.parquet", name)
        for column in ("src_lang", "trg_lang"):
            assert {language_code(code) for code in table[column].to_pylist()} <= LANGUAGES


# Prompts and answers


def test_responses_give_back_their_translation(tables, translations):
    expected = {item["source"]: item["translation"] for item in translations}
    for row in tables["mt_sft"]:
        assert code_block(row["response"]) == expected[row["src_text"]]


def test_translation_with_a_code_block_in_it_survives(files, translations):
    item = next(item for item in translations if "```" in item["translation"])
    for seed in range(50):
        for row in make_tables(*files, seed=seed)["mt_sft"]:
            if row["src_text"] == item["source"]:
                assert code_block(row["response"]) == item["translation"]
                return
    raise AssertionError("the translation with a code block never came into mt_sft")


def test_all_texts_survive_the_prompts(tables, pytestconfig):
    ranking, translation = prompts(pytestconfig)
    for name in RANKING_SPLITS:
        for row in tables[name]:
            user, assistant = ranking_chat(row, ranking)["messages"]
            for text in (row["src_text"], *row["mt_texts"]):
                assert f"\n{text}\n" in user["content"]
            answer = parse_answer(assistant["content"], len(row["scores"]))
            assert isinstance(answer, RankingAnswer)
            assert list(answer.scores.values()) == row["scores"]
            assert answer.analysis == row["analysis"]
    for row in tables["mt_sft"]:
        user, assistant = translation_chat(row, translation)["messages"]
        assert f"\n{row['src_text']}\n" in user["content"]
        assert assistant["content"] == row["response"]


# Mistakes in the files


def changed(files, tmp_path, change):
    items = yaml.safe_load(files[1].read_text(encoding="utf-8"))
    change(items)
    path = tmp_path / "translations.yaml"
    path.write_text(yaml.safe_dump(items, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda items: items[2].pop("analysis"), "item 3: expected the keys"),
        (lambda items: items[0].update(note="x"), "item 1: expected the keys"),
        (lambda items: items[1].update(source=" "), "item 2: source is ' '"),
        (lambda items: items[1].update(pair="english"), "item 2: pair is 'english'"),
        (lambda items: items[1].update(source=items[0]["source"]), "occurs more than once"),
        (lambda items: items.__delitem__(slice(3, None)), "at least 4 items"),
    ],
)
def test_mistakes_name_file_item_and_value(files, tmp_path, change, message):
    with pytest.raises(UserError, match=message) as error:
        make_tables(files[0], changed(files, tmp_path, change), seed=0)
    assert "translations.yaml" in str(error.value)


def test_missing_and_broken_files_are_named(files, tmp_path):
    with pytest.raises(UserError, match=r"nothing\.yaml: no such file"):
        make_tables(files[0], tmp_path / "nothing.yaml", seed=0)
    broken = tmp_path / "broken.yaml"
    broken.write_text("- pair: [", encoding="utf-8")
    with pytest.raises(UserError, match=r"broken\.yaml: not valid YAML"):
        make_tables(files[0], broken, seed=0)
