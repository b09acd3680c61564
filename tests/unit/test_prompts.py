"""Prompts as data, and the answers that models are trained to give."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from grrm.files import UserError
from grrm.prompts import (
    RANKING_KINDS,
    RANKING_PROMPTS,
    TRANSLATION_KINDS,
    TRANSLATION_PROMPTS,
    PointwisePrompt,
    RankingPrompt,
    TranslationPrompt,
    code_fence,
    dump_prompt,
    find_ranking_prompt,
    find_translation_prompt,
    load_pointwise_prompt,
    load_ranking_prompt,
    load_translation_prompt,
    ranking_answer,
    translation_answer,
)
from grrm.ranking import (
    RANKING_HEADER,
    SCORES_HEADER,
    InvalidAnswer,
    RankingAnswer,
    labels,
    parse_answer,
    rank_scores,
)

PROMPTS = Path(__file__).parents[2] / "config" / "prompts"
RANKING = {
    "kind": "ranking_score",
    "prompt": "{source_language} {target_language} {source} {candidates}",
    "candidate": "{label}: {text}",
}
GQM = {"score": "gqm_score.yaml", "ranking": "gqm_ranking.yaml", "ranking_score": "ranking.yaml"}
SQM = {"kind": "sqm", "prompt": "{source_language} {target_language} {source} {translation}"}
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


def test_every_prompt_file_loads():
    files = {path.name: yaml.safe_load(path.read_text(encoding="utf-8")) for path in PROMPTS.glob("*.yaml")}
    for name, content in files.items():
        kind = content["kind"]
        if kind in RANKING_KINDS:
            assert load_ranking_prompt(PROMPTS / name, kind).kind == kind
        elif kind in TRANSLATION_KINDS:
            assert load_translation_prompt(PROMPTS / name, kind).kind == kind
        elif kind == "sqm":
            assert load_pointwise_prompt(PROMPTS / name).kind == kind
        else:
            assert kind.startswith("judge_")


@pytest.mark.parametrize("kind", GQM)
def test_the_output_example_is_an_answer_of_its_kind(kind):
    prompt = load_ranking_prompt(PROMPTS / GQM[kind], kind)
    answer = prompt.read(f"Reasons.\n{prompt.example}", 3)
    assert isinstance(answer, RankingAnswer)
    assert answer.ranking == [{"B"}, {"A", "C"}]


@pytest.mark.parametrize("kind", GQM)
def test_a_prompt_with_and_without_its_output_example(kind):
    texts = {"src_text": "s", "mt_texts": ["a", "b"], "src_lang": "en", "trg_lang": "de"}
    prompt = load_ranking_prompt(PROMPTS / GQM[kind], kind)
    rendered = prompt.render(**texts)
    assert rendered.endswith(prompt.example)
    assert prompt.without_example().render(**texts) == rendered.removesuffix(prompt.example)
    assert len(prompt.without_example().render(**texts)) < len(rendered)
    assert "{example}" not in prompt.without_example().render(**texts)


def test_pointwise_prompt():
    prompt = load_pointwise_prompt(PROMPTS / "sqm.yaml")
    texts = {"src_text": "画蛇添足", "mt_text": "gild ``` it", "src_lang": "zh", "trg_lang": "en"}
    rendered = prompt.render(**texts)
    assert "Chinese" in rendered
    assert "English" in rendered
    assert "````\n画蛇添足\n````" in rendered
    assert "````\ngild ``` it\n````" in rendered
    assert prompt.messages(**texts) == [{"role": "user", "content": rendered}]
    assert prompt.read("Fine.\n\n**8**") == 8


def test_plain_translation_prompt():
    prompt = load_translation_prompt(PROMPTS / "translation_plain.yaml", "plain")
    assert "```\ns\n```" in prompt.render(src_text="s", src_lang="zh", trg_lang="cs")


@pytest.mark.parametrize(
    ("name", "begins", "ends", "chat"),
    [
        ("tower", "Translate the following text from English into Chinese.\nEnglish: hi", "\nChinese:", True),
        ("seed-x", "Translate the following English sentence into Chinese:\nhi", " <zh>", False),
        ("Seed-X-CoT", "Translate the following English sentence into Chinese and explain", "hi <zh>", False),
        ("SSR", "<|startoftext|>A conversation", "to Chinese:\nhi\n\nAssistant:\n", False),
    ],
)
def test_formats_of_other_models(name, begins, ends, chat):
    prompt = find_translation_prompt(name)
    text = prompt.render(src_text="hi", src_lang="en", trg_lang="zh")
    assert text.startswith(begins)
    assert text.endswith(ends)
    assert prompt.chat is chat


@pytest.mark.parametrize(
    ("name", "answer", "translation"),
    [
        ("tower", " 你好 ", "你好"),
        ("seed-x", "你好", "你好"),
        ("seed-x-cot", "你好\n[COT] a greeting", "你好"),
        ("seed-x-cot", "[COT] a greeting", None),
        ("ssr", "<think> <answer>no</answer> </think> <answer> 你好 </answer>", "你好"),
        ("ssr", "<think> so </think> <answer> </answer>", None),
        ("ssr", "你好", None),
    ],
)
def test_translations_in_the_formats_of_other_models(name, answer, translation):
    assert find_translation_prompt(name).read(answer) == translation


def test_prompts_are_found_by_name_or_file():
    for name, file in {**RANKING_PROMPTS, **TRANSLATION_PROMPTS}.items():
        find = find_ranking_prompt if name in RANKING_PROMPTS else find_translation_prompt
        assert find(name) == find(name.upper()) == find(PROMPTS / file)
    assert [find_ranking_prompt(name).kind for name in RANKING_PROMPTS] == list(RANKING_PROMPTS)
    with pytest.raises(UserError, match="no such prompt file, and not one of ranking_score, ranking"):
        find_ranking_prompt("rank")
    with pytest.raises(UserError, match="kind is 'plain'"):
        find_ranking_prompt(PROMPTS / "tower.yaml")


def test_answers_are_read_by_the_kind_of_their_prompt():
    assert TranslationPrompt("", "codeblock-think").read("Think.\n```\nHallo\n```") == "Hallo"
    assert TranslationPrompt("", "codeblock-think").read("Hallo") is None
    assert TranslationPrompt("", "plain").read(" Hallo\n") == "Hallo"
    assert TranslationPrompt("", "plain").read(" \n") is None
    assert isinstance(RankingPrompt("", "", kind="score").read("A: 1, B: 2", 2), RankingAnswer)
    assert isinstance(RankingPrompt("", "", kind="ranking").read("A: 1, B: 2", 2), InvalidAnswer)
    with pytest.raises(ValueError, match="from 0 to 10"):
        PointwisePrompt("").read("85.5")


@pytest.mark.parametrize(
    ("name", "kind"), [("toy_ranking.yaml", "ranking_score"), *((name, kind) for kind, name in GQM.items())]
)
def test_ranking_prompt_keeps_awkward_texts_as_they_are(name, kind):
    texts = {"src_text": AWKWARD, "mt_texts": [AWKWARD, "plain"], "src_lang": "xx", "trg_lang": "yy"}
    prompt = load_ranking_prompt(PROMPTS / name, kind)
    assert prompt.render(**texts).count(AWKWARD) == 2
    assert prompt.messages(**texts) == [{"role": "user", "content": prompt.render(**texts)}]


@pytest.mark.parametrize("name", ["translation.yaml", "translation_plain.yaml", "toy_translation.yaml"])
def test_translation_prompt_keeps_awkward_texts_as_they_are(name):
    texts = {"src_text": AWKWARD, "src_lang": "xx", "trg_lang": "yy"}
    prompt = load_translation_prompt(PROMPTS / name, *TRANSLATION_KINDS)
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
    assert load_pointwise_prompt(write(tmp_path, SQM)) == PointwisePrompt(SQM["prompt"])


@pytest.mark.parametrize("kind", RANKING_KINDS)
def test_a_prompt_is_only_taken_for_a_kind_that_will_do(tmp_path, kind):
    path = write(tmp_path, {**RANKING, "kind": kind})
    assert load_ranking_prompt(path, *RANKING_KINDS).kind == kind
    if kind != "ranking_score":
        with pytest.raises(UserError, match=f"kind is '{kind}'; expected 'ranking_score'"):
            load_ranking_prompt(path)
    with pytest.raises(UserError, match=f"kind is '{kind}'; expected 'codeblock-think' or 'plain'"):
        load_translation_prompt(path, *TRANSLATION_KINDS)


_TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")  # NUL is in no prompt


@given(
    st.text(_TEXT, min_size=1), st.text(_TEXT, min_size=1), st.text(_TEXT), st.sampled_from([*RANKING_KINDS])
)
def test_a_dumped_prompt_loads_as_it_was(tmp_path_factory, before, between, example, kind):
    # Braces would be placeholders.
    before, between, example = (text.replace("{", "(") for text in (before, between, example))
    prompt = RankingPrompt(
        f"{before}{RANKING['prompt']}{'{example}' if example else ''}",
        f"{{label}}{between}{{text}}",
        example,
        kind,
    )
    path = tmp_path_factory.mktemp("prompts") / "prompt.yaml"
    path.write_text(dump_prompt(prompt), encoding="utf-8")
    assert load_ranking_prompt(path, kind) == prompt


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
        ({**RANKING, "candidate": 3}, ["candidate is 3"]),
        ({**RANKING, "example": "B > A"}, ["no place {example} for example"]),
        (
            {**RANKING, "prompt": RANKING["prompt"] + "{example}", "example": "as in {label}"},
            ["example has the unknown placeholder {label}", "none here"],
        ),
        ({**RANKING, "kind": ["ranking_score"]}, ["kind is ['ranking_score']"]),
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


@given(
    st.text().filter(str.strip),
    st.lists(st.integers(0, 10), min_size=2, max_size=26),
    st.sampled_from([*GQM]),
)
def test_answers_of_every_kind_read_back(analysis, scores, kind):
    answer = RANKING_KINDS[kind](ranking_answer(analysis, scores, kind), len(scores))
    assert isinstance(answer, RankingAnswer)
    assert answer.ranking == rank_scores(dict(zip(labels(len(scores)), scores, strict=True)))
    assert answer.analysis == analysis.strip()


def test_answers_of_the_other_kinds():
    assert ranking_answer("Why.", [5, 9, 5], "score") == "Why.\n\nA: 5, B: 9, C: 5\n"
    assert ranking_answer("Why.", [5, 9, 5], "ranking") == "Why.\n\n### Final Ranking:\n\nB > A = C\n"


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
