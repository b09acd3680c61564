"""Prompts as data, and the answers that models are trained to give."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from grrm.files import UserError
from grrm.prompts import (
    RankingPrompt,
    TranslationPrompt,
    code_fence,
    load_ranking_prompt,
    load_translation_prompt,
    ranking_answer,
    translation_answer,
)
from grrm.ranking import RANKING_HEADER, SCORES_HEADER, RankingAnswer, labels, parse_answer

PROMPTS = Path(__file__).parents[2] / "config" / "prompts"
RANKING = {
    "kind": "ranking_score",
    "prompt": "{source_language} {target_language} {source} {candidates}",
    "candidate": "{label}: {text}",
}
TRANSLATION = {"kind": "codeblock-think", "prompt": "{source_language} {target_language} {source}"}
AWKWARD = "{source} {label} {} %s $x \\1 <think>```</think>\n{candidates}\n````"


def write(folder, content):
    path = folder / "prompt.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


# The prompts of the workflow


def test_toy_ranking_prompt():
    prompt = load_ranking_prompt(PROMPTS / "toy_ranking.yaml")
    assert (
        prompt.render(src_text="a b", mt_texts=["p q", "r"], src_lang="xx", trg_lang="yy")
        == "Rank translations from xx to yy: a b\nA: p q\nB: r"
    )


def test_toy_translation_prompt():
    prompt = load_translation_prompt(PROMPTS / "toy_translation.yaml")
    assert prompt.render(src_text="a b", src_lang="xx", trg_lang="yy") == "Translate from xx to yy: a b"


def test_ranking_prompt_names_all_there_is_and_the_form_of_the_answer():
    prompt = load_ranking_prompt(PROMPTS / "ranking.yaml")
    text = prompt.render(
        src_text="画蛇添足", mt_texts=["one", "two", "three"], src_lang="zh_CN", trg_lang="en"
    )
    assert "3 candidate translations" in text
    assert "Chinese" in text
    assert "English" in text
    assert "```\n画蛇添足\n```" in text
    assert "A:\n```\none\n```\n\nB:\n```\ntwo\n```\n\nC:\n```\nthree\n```\n\n" in text
    assert f"\n{RANKING_HEADER}\n" in text
    assert f"\n{SCORES_HEADER}\n" in text


def test_translation_prompt():
    prompt = load_translation_prompt(PROMPTS / "translation.yaml")
    text = prompt.render(src_text="画蛇添足", src_lang="zh", trg_lang="cs")
    assert "from Chinese into Czech" in text
    assert "```\n画蛇添足\n```" in text


@pytest.mark.parametrize("name", ["ranking.yaml", "toy_ranking.yaml"])
def test_ranking_prompt_keeps_awkward_texts_as_they_are(name):
    texts = {"src_text": AWKWARD, "mt_texts": [AWKWARD, "plain"], "src_lang": "xx", "trg_lang": "yy"}
    prompt = load_ranking_prompt(PROMPTS / name)
    assert prompt.render(**texts).count(AWKWARD) == 2
    assert prompt.messages(**texts) == [{"role": "user", "content": prompt.render(**texts)}]


@pytest.mark.parametrize("name", ["translation.yaml", "toy_translation.yaml"])
def test_translation_prompt_keeps_awkward_texts_as_they_are(name):
    texts = {"src_text": AWKWARD, "src_lang": "xx", "trg_lang": "yy"}
    prompt = load_translation_prompt(PROMPTS / name)
    assert prompt.render(**texts).count(AWKWARD) == 1
    assert prompt.messages(**texts) == [{"role": "user", "content": prompt.render(**texts)}]


def test_fences_are_longer_than_any_in_the_texts():
    prompt = load_ranking_prompt(PROMPTS / "ranking.yaml")
    text = prompt.render(src_text="s", mt_texts=["a", "````"], src_lang="en", trg_lang="de")
    assert "`````\ns\n`````" in text
    assert "`````\na\n`````" in text
    assert "`````\n````\n`````" in text


@given(st.text(), st.lists(st.text(), min_size=2, max_size=26))
def test_rendering_is_substitution(source, candidates):
    prompt = RankingPrompt("[{source}]\n{candidates}", "<{label}|{text}>")
    expected = "\n".join(
        f"<{label}|{text}>" for label, text in zip(labels(len(candidates)), candidates, strict=True)
    )
    rendered = prompt.render(src_text=source, mt_texts=candidates, src_lang="en", trg_lang="de")
    assert rendered == f"[{source}]\n{expected}"


@pytest.mark.parametrize("n", [0, 1, 27])
def test_only_2_to_26_candidates(n):
    prompt = load_ranking_prompt(PROMPTS / "toy_ranking.yaml")
    with pytest.raises(ValueError, match=f"{n} candidates"):
        prompt.render(src_text="s", mt_texts=["t"] * n, src_lang="en", trg_lang="de")


def test_unknown_language():
    prompt = load_translation_prompt(PROMPTS / "translation.yaml")
    with pytest.raises(UserError, match="'qq'"):
        prompt.render(src_text="s", src_lang="en", trg_lang="qq")


# Prompts of one's own


def test_a_prompt_of_ones_own(tmp_path):
    prompt = load_ranking_prompt(write(tmp_path, {**RANKING, "prompt": RANKING["prompt"] + " {labels}"}))
    rendered = prompt.render(src_text="s", mt_texts=["t", "u"], src_lang="en", trg_lang="de")
    assert rendered == "English German s A: t\nB: u A, B"
    assert load_translation_prompt(write(tmp_path, TRANSLATION)) == TranslationPrompt(TRANSLATION["prompt"])


def test_braces_around_anything_else_are_text(tmp_path):
    prompt = load_translation_prompt(
        write(tmp_path, {**TRANSLATION, "prompt": '{"a": 1} {} ' + TRANSLATION["prompt"]})
    )
    assert prompt.render(src_text="s", src_lang="en", trg_lang="de") == '{"a": 1} {} English German s'


@pytest.mark.parametrize(
    ("content", "reasons"),
    [
        (
            {**RANKING, "prompt": "{source_language} {target_language} {source}"},
            ["prompt lacks", "{candidates}"],
        ),
        ({**RANKING, "candidate": "{text}"}, ["candidate lacks", "{label}"]),
        (
            {**RANKING, "candidate": "{label} {text} {src}"},
            ["candidate has the unknown placeholder {src}", "{text}"],
        ),
        ({**RANKING, "candidate": 3}, ["candidate is 3"]),
        ({**RANKING, "kind": "judge"}, ["kind is 'judge'", "'ranking_score'"]),
        (TRANSLATION, ["kind is 'codeblock-think'"]),
        ({**RANKING, "system": "x"}, ["keys are", "'system'"]),
        ({"kind": "ranking_score", "prompt": RANKING["prompt"]}, ["keys are", "'candidate'"]),
        ("- a\n- b", ["expected a mapping", "list"]),
        ("", ["expected a mapping"]),
        ("a: [", ["not valid YAML"]),
    ],
)
def test_a_faulty_prompt_file_is_named_with_its_fault(tmp_path, content, reasons):
    path = write(tmp_path, content)
    with pytest.raises(UserError) as caught:
        load_ranking_prompt(path)
    assert all(reason in str(caught.value) for reason in [str(path), *reasons])


def test_a_missing_prompt_file(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: no such prompt file"):
        load_translation_prompt(tmp_path / "none.yaml")


# Answers


def test_ranking_answer():
    assert ranking_answer(" B keeps the idiom.\n", [5, 9, 5]) == (
        "B keeps the idiom.\n\n### Final Ranking:\n\nB > A = C\n\n### Scores:\n\nB: 9, A: 5, C: 5\n"
    )


@given(st.text(), st.lists(st.integers(0, 10), min_size=2, max_size=26))
def test_a_ranking_answer_reads_back(analysis, scores):
    if not analysis.strip():
        with pytest.raises(ValueError, match="analysis is empty"):
            ranking_answer(analysis, scores)
        return
    answer = parse_answer(ranking_answer(analysis, scores), len(scores))
    assert isinstance(answer, RankingAnswer)
    assert list(answer.scores.values()) == scores
    assert answer.analysis == analysis.strip()


@pytest.mark.parametrize("scores", [[], [5], [5] * 27, [5, 11], [5, -1], [5, 5.0], [5, True], [5, None]])
def test_scores_that_make_no_answer(scores):
    with pytest.raises(ValueError, match="scores"):
        ranking_answer("x", scores)


@pytest.mark.parametrize(
    ("analysis", "translation", "answer"),
    [
        ("Think.", "Hallo", "Think.\n\n```\nHallo\n```"),
        ("", " Hallo\n", "```\nHallo\n```"),
        ("Think.", "a ```b```", "Think.\n\n````\na ```b```\n````"),
        ("Not ``` here.", "Hallo", "Not ``` here.\n\n````\nHallo\n````"),
    ],
)
def test_translation_answer(analysis, translation, answer):
    assert translation_answer(analysis, translation) == answer


def test_no_translation_makes_no_answer():
    with pytest.raises(ValueError, match="translation is empty"):
        translation_answer("Think.", " \n")


@pytest.mark.parametrize(("text", "length"), [("", 3), ("a`b``c", 3), ("```", 4), ("``` ``````", 7)])
def test_code_fence(text, length):
    assert code_fence(text) == "`" * length
