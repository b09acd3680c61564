"""BLEU, chrF++ and what stands beside them."""

import json
import os
import random
import subprocess
import sys

import pytest
from sacrebleu.metrics import BLEU, CHRF

from grrm.files import UserError
from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.translation import score_translations, tokenizer

HYPOTHESES = [
    "the cat sat on the mat .",
    "a quick brown fox jumps",
    "it is raining cats and dogs today",
    "",
    "hello world",
]
REFERENCES = [
    "the cat sat on a mat .",
    "the quick brown fox jumps over the dog",
    "it is raining heavily today",
    "nothing came of it",
    "hello, world!",
]
BOOTSTRAP = Bootstrap(samples=200)


def values(hypotheses, references, language):
    metrics = score_translations(hypotheses, references, language)
    return {name: BOOTSTRAP.estimate(stratum).value for name, (stratum, _) in metrics.items()}


@pytest.mark.parametrize(
    ("language", "hypotheses", "references"),
    [
        ("en", HYPOTHESES, REFERENCES),
        ("yy", ["ba du gi fo", "ze"], ["ba du fo gi", "ze ze"]),
        ("zh", ["今天下雨了。", "你好世界"], ["今天下大雨。", "你好，世界！"]),
        ("zh_CN", ["今天下雨了。"], ["今天下大雨。"]),
        ("ja", ["今日は雨が降っています。"], ["今日は大雨です。"]),
        ("ko", ["오늘은 비가 온다."], ["오늘은 비가 많이 온다."]),
    ],
)
def test_point_values_are_sacrebleus_own(language, hypotheses, references):
    ours = values(hypotheses, references, language)
    bleu = BLEU(tokenize=tokenizer(language)).corpus_score(hypotheses, [references])
    assert ours["bleu"] == pytest.approx(bleu.score)
    assert ours["chrf++"] == pytest.approx(CHRF(word_order=2).corpus_score(hypotheses, [references]).score)
    assert ours["length_ratio"] == pytest.approx(bleu.sys_len / bleu.ref_len)


def test_the_interval_is_close_to_sacrebleus_own():
    hypotheses, references = HYPOTHESES * 20, REFERENCES * 20
    stratum, _ = score_translations(hypotheses, references, "en")["bleu"]
    ours = Bootstrap(samples=2000).estimate(stratum)
    theirs = BLEU().corpus_score(hypotheses, [references], n_bootstrap=2000)
    assert (ours.high - ours.low) / 2 == pytest.approx(theirs._ci, rel=0.15)


@pytest.mark.parametrize(
    ("language", "name"),
    [
        ("en", "13a"),
        ("de_DE", "13a"),
        ("zh", "zh"),
        ("zho_Hans", "zh"),
        ("ja", "ja-mecab"),
        ("ko", "ko-mecab"),
    ],
)
def test_the_tokenizer_follows_the_target_language(language, name):
    assert tokenizer(language) == name


def test_signatures_name_what_was_computed():
    metrics = score_translations(["ba du"], ["ba du"], "yy")
    assert metrics["bleu"][1].startswith("BLEU|nrefs:1|case:mixed|eff:no|tok:none|smooth:exp|version:")
    assert metrics["chrf++"][1].startswith("chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no|version:")


def test_perfect_translations_have_full_scores():
    text = ["one two three four five", "six seven eight nine ten"]
    assert values(text, text, "en") == pytest.approx(
        {"bleu": 100, "chrf++": 100, "format_rate": 1, "length_ratio": 1}
    )


def test_a_failed_translation_counts_as_an_empty_one_and_lowers_the_format_rate():
    failed = values([None, *HYPOTHESES[1:]], REFERENCES, "en")
    empty = values(["", *HYPOTHESES[1:]], REFERENCES, "en")
    assert failed["format_rate"] == 0.8
    assert empty["format_rate"] == 1
    assert {**failed, "format_rate": None} == {**empty, "format_rate": None}


def test_only_failures_score_zero():
    assert values([None, None], ["a b c", "d e f"], "en") == {
        "bleu": 0,
        "chrf++": 0,
        "format_rate": 0,
        "length_ratio": 0,
    }


def test_no_segments_are_an_error():
    with pytest.raises(UserError, match="no references"):
        score_translations([], [], "en")


def test_unequal_numbers_are_an_error():
    with pytest.raises(UserError, match="1 translations for 2 references"):
        score_translations(["a"], ["a", "b"], "en")


@pytest.mark.parametrize("empty", ["", "  \n"])
def test_an_empty_reference_is_an_error(empty):
    with pytest.raises(UserError, match="segment 1: the reference is empty"):
        score_translations(["a", "b"], ["a", empty], "en")


def test_an_unknown_language_is_an_error():
    with pytest.raises(UserError, match="'qq'"):
        score_translations(["a"], ["a"], "qq")


# ---------------------------------------------------------------- sacreBLEU's own command


def command(folder, *arguments):
    """What sacreBLEU's command line says about files, as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *arguments, "-f", "json"],
        cwd=folder,
        env={**os.environ, "SACREBLEU_SEED": "12345"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def write_lines(path, lines):
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


@pytest.mark.parametrize(
    ("language", "hypotheses", "references"),
    [
        ("de", HYPOTHESES, REFERENCES),
        ("zh", ["今天下雨了。", "你好世界"], ["今天下大雨。", "你好，世界！"]),
        ("ja", ["今日は雨が降っています。"], ["今日は大雨です。"]),
    ],
)
def test_scores_and_signatures_are_those_of_the_command(tmp_path, language, hypotheses, references):
    write_lines(tmp_path / "ref", references)
    write_lines(tmp_path / "hyp", hypotheses)
    bleu, chrf = command(
        tmp_path, "ref", "-i", "hyp", "-l", f"en-{language}", "-m", "bleu", "chrf",
        "--chrf-word-order", "2", "-w", "10",
    )  # fmt: skip
    metrics = score_translations(hypotheses, references, language)
    for ours, theirs in (("bleu", bleu), ("chrf++", chrf)):
        stratum, signature = metrics[ours]
        assert stratum.value == pytest.approx(theirs["score"], abs=1e-6)
        assert signature.split("|", 1)[1] == theirs["signature"]


def test_paired_bootstrap_agrees_with_the_command(tmp_path):
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    generator = random.Random(0)
    references = [" ".join(generator.choices(words, k=12)) for _ in range(150)]

    def spoilt(share):
        return [
            " ".join(word if generator.random() > share else "wrong" for word in line.split())
            for line in references
        ]

    baseline, system = spoilt(0.20), spoilt(0.19)
    for name, lines in (("ref", references), ("base", baseline), ("system", system)):
        write_lines(tmp_path / name, lines)
    theirs = command(tmp_path, "ref", "-i", "base", "system", "-m", "bleu", "--paired-bs", "-w", "6")
    bootstrap = Bootstrap(samples=2000)
    ours = {
        name: bootstrap.resample([score_translations(lines, references, "en")["bleu"][0]])[0]
        for name, lines in (("base", baseline), ("system", system))
    }
    expected = theirs[1]["BLEU"]
    assert ours["system"].value == pytest.approx(expected["score"], abs=1e-5)
    # The command counts one tail.
    p_value = bootstrap.p_value(ours["system"] - ours["base"])
    assert p_value / 2 == pytest.approx(expected["p_value"], abs=0.03)
    interval = bootstrap.interval(ours["system"])
    assert (interval.high - interval.low) / 2 == pytest.approx(expected["ci"], rel=0.1)


@pytest.mark.parametrize(
    ("language", "name"),
    [
        *(
            ("zh_TW", "zh"),
            ("yue", "zh"),
            ("zh_Latn", "13a"),
            ("ja_JP", "ja-mecab"),
            ("kor_Hang", "ko-mecab"),
        ),
        *((code, "char") for code in ("th", "km", "lo", "my", "bo", "dz", "tha_Thai")),
        *(("hi_Latn", "13a"), ("pa_Arab", "13a"), ("am", "13a")),
    ],
)
def test_the_tokenizer_follows_the_script(language, name):
    assert tokenizer(language) == name


@pytest.mark.parametrize(
    ("language", "reference", "wrong"),
    [
        ("th", "ฉันไปตลาดเพื่อซื้อผลไม้สดทุกวันเสาร์", "ฉันไปตลาดเพื่อซื้อผักสดทุกวันเสาร์"),
        ("km", "ខ្ញុំទៅផ្សារដើម្បីទិញផ្លែឈើស្រស់រៀងរាល់ថ្ងៃសៅរ៍", "ខ្ញុំទៅផ្សារដើម្បីទិញបន្លែស្រស់រៀងរាល់ថ្ងៃសៅរ៍"),
    ],
)
def test_one_wrong_word_does_not_take_all_of_bleu_where_words_are_not_set_apart(language, reference, wrong):
    assert 60 < values([wrong], [reference], language)["bleu"] < 95
