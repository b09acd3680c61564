"""Prompts that name columns of the row: per-row rubrics and the like."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

import prepare_grrm_rlvr
import prepare_grrm_sft
import prepare_mt_grpo
import prepare_mt_sft
from configurations import experiment
from grrm.files import UserError
from grrm.inference import grading
from grrm.inference.tables import read_rows
from grrm.judges.card import Pointwise
from grrm.judges.configured_prompts import (
    PAIR_COLUMNS,
    TEST_COLUMNS,
    carrying_rewards,
    check_prompts,
    tables_with_columns,
)
from grrm.judges.groups import Group
from grrm.judges.prompts import load_judge_prompt
from grrm.judges.questions import Verdict
from grrm.metrics.llm_judge import load_prompt
from grrm.prompts import load_pointwise_prompt, load_ranking_prompt, load_translation_prompt
from grrm.rewards.kinds import Asking, Scorer, ScoringOptions
from grrm.rewards.rows import read_row
from grrm.schemas import PAIRS, TRANSLATION_TEST

LANGUAGES = {"src_lang": "en", "trg_lang": "de"}
RUBRIC = "{source} stays, ```` too"
PAIR = {"src_text": "one", "trg_text": "eins", **LANGUAGES}
GROUP = {
    **PAIR,
    "mt_texts": ["eins", "zwei"],
    "analysis": "The first is right.",
    "scores": [9, 2],
}
JUDGES = {
    "grrm": "ranking.yaml",
    "sqm": "sqm.yaml",
    "pairwise_dgr": "translation_pairwise.yaml",
    "pointwise": "translation_pointwise.yaml",
    "listwise": "translation_listwise.yaml",
    "bradley_terry": "translation_plain.yaml",
}


def prompt_file(folder: Path, name: str, more: str = "\n{fence}{rubric}{fence}", **changed: str) -> Path:
    """A prompt of the workflow that also names a column of the row."""
    templates = yaml.safe_load(Path("config/prompts", name).read_text(encoding="utf-8"))
    path = folder / name
    path.write_text(yaml.safe_dump(templates | {"prompt": templates["prompt"] + more} | changed))
    return path


def write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "table.parquet"
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


# ---------------------------------------------------------------- what is rendered


def test_a_column_stands_in_its_place_and_is_not_read_again(tmp_path: Path) -> None:
    end = f"`````{RUBRIC}`````"
    given: dict[str, Any] = {"src_text": "s", **LANGUAGES, "columns": {"rubric": RUBRIC}}
    ranking = load_ranking_prompt(prompt_file(tmp_path, "ranking.yaml"))
    assert ranking.columns == {"rubric"}
    assert ranking.render(mt_texts=["t", "u"], **given).rstrip().endswith(end)
    pointwise = load_pointwise_prompt(prompt_file(tmp_path, "sqm.yaml"))
    assert pointwise.render(mt_text="t", **given).rstrip().endswith(end)
    translation = load_translation_prompt(prompt_file(tmp_path, "translation.yaml"))
    assert translation.messages(**given)[0]["content"].rstrip().endswith(end)


def test_a_column_may_stand_beside_every_candidate(tmp_path: Path) -> None:
    path = prompt_file(tmp_path, "ranking.yaml", "", candidate="{label} ({rubric}): {text}")
    prompt = load_ranking_prompt(path)
    shown = prompt.render(src_text="s", mt_texts=["{rubric}", "u"], **LANGUAGES, columns={"rubric": "r"})
    assert "A (r): {rubric}\nB (r): u" in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        (None, ""),
        (3, "3"),
        (True, "true"),
        (["a", "ü"], '["a", "ü"]'),
        ({"k": 1}, '{"k": 1}'),
    ],
)
def test_what_is_no_text_is_shown_as_json(tmp_path: Path, value: Any, text: str) -> None:
    prompt = load_translation_prompt(prompt_file(tmp_path, "translation.yaml", "\n|{rubric}|"))
    rendered = prompt.render(src_text="s", **LANGUAGES, columns={"rubric": value})
    assert rendered.rstrip().endswith(f"|{text}|")


def test_what_is_the_kinds_own_is_never_a_column(tmp_path: Path) -> None:
    prompt = load_translation_prompt(Path("config/prompts/translation.yaml"))
    given: dict[str, Any] = {"src_text": "s", **LANGUAGES}
    assert not prompt.columns
    assert prompt.render(**given, columns={"source": "other", "fence": "x"}) == prompt.render(**given)


@pytest.mark.parametrize(
    ("kind", "texts"),
    [
        ("judge_pairwise", {"first": "f {rubric}", "second": "s"}),
        ("judge_pointwise", {"response": "r {rubric}"}),
        ("judge_listwise", {"candidates": ["c {rubric}", "d"]}),
    ],
)
def test_general_judges_see_columns_in_files_and_functions(tmp_path: Path, kind: Any, texts: Any) -> None:
    given = {"question": "q", "reference": None, "columns": {"rubric": RUBRIC, "other": 1, "question": "no"}}
    file = load_judge_prompt(str(prompt_file(tmp_path, f"{kind}.yaml")), kind)
    shown = file.render(**given, **texts)
    assert shown.rstrip().endswith(f"`````{RUBRIC}`````") and " {rubric}" in shown
    assert (file.columns, file.needed, file.takes_all) == ({"rubric"}, {"rubric"}, False)
    names = ", ".join(texts)
    tag = f"<{file.tag}>"
    (tmp_path / "mine.py").write_text(
        f"def one(question, {names}, rubric, other=0):\n"
        f"    return f'{tag}{{question}}|{{rubric}}|{{other}}'\n"
        f"def every(**row):\n    return '{tag}' + ' '.join(sorted(row))\n"
    )
    one = load_judge_prompt(f"{tmp_path}/mine.py:one", kind)
    assert one.render(**given, **texts) == f"{tag}q|{RUBRIC}|1"
    assert (one.columns, one.needed, one.takes_all) == ({"rubric", "other"}, {"rubric"}, False)
    every = load_judge_prompt(f"{tmp_path}/mine.py:every", kind)
    assert every.render(**given, **texts) == tag + " ".join(
        sorted({"question", "reference", "rubric", "other", *texts})
    )
    for prompt, words in (
        (file, r"placeholder \{rubric\}.* columns of the rows are other"),
        (one, "asks for rubric"),
    ):
        with pytest.raises(UserError, match=words):
            prompt.render(question="q", reference=None, columns={"other": 1}, **texts)


def test_the_judge_of_the_evaluation_sees_the_row_of_the_test_set(tmp_path: Path) -> None:
    render = load_prompt(prompt_file(tmp_path, "judge_translation.yaml"))
    segment = {"src": "s", "mt": "{rubric}", "ref": "r", "row": {**PAIR, "rubric": RUBRIC}}
    assert render(segment).rstrip().endswith(f"`````{RUBRIC}`````")
    with pytest.raises(
        UserError, match=r"judge_translation\.yaml: .*\{rubric\}.*rows are src_lang, src_text, "
    ):
        render({**segment, "row": PAIR})


class Listener:
    """In the place of a judge: notes what it is asked, and answers nothing."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def decide(self, questions: Any) -> list[Verdict[Any]]:
        self.asked += [prompt for prompt, _ in questions]
        return [Verdict(None, "timeout", "it only listens") for _ in questions]


@pytest.mark.parametrize("kind", [kind for kind in JUDGES if kind != "bradley_terry"])
def test_every_kind_of_reward_asks_about_the_row(tmp_path: Path, kind: str) -> None:
    judge = Listener()
    prompt = str(prompt_file(tmp_path, JUDGES[kind]))
    options = ScoringOptions(kind, prompt=prompt, served=True)
    row = read_row({**PAIR, "rubric": RUBRIC}, task="translation")
    scorer = Scorer(options, asking=Asking(lambda: judge))

    async def score(group: Group) -> Any:
        return await scorer.score_groups([replace(group, candidates=("eins", "zwei {rubric}"))])

    asyncio.run(score(row))
    assert judge.asked
    for asked in judge.asked:
        assert asked.rstrip().endswith(f"`````{RUBRIC}`````")
    with pytest.raises(UserError, match=rf"{prompt}: .*\{{rubric\}}.* rows are src_lang, src_text, trg"):
        asyncio.run(score(read_row(PAIR, task="translation")))


# ---------------------------------------------------------------- rows of trainings


@pytest.mark.parametrize("script", [prepare_grrm_sft, prepare_mt_sft, prepare_grrm_rlvr, prepare_mt_grpo])
def test_prepared_rows_hold_what_the_row_asks(tmp_path: Path, script: Any) -> None:
    ranks = script in (prepare_grrm_sft, prepare_grrm_rlvr)
    row = GROUP if ranks else {**PAIR, "response": "So:\n\n```\neins\n```"}
    rows = [{**row, "rubric": RUBRIC}, {**row, "src_text": "two", "rubric": None}]
    prompt = prompt_file(tmp_path, "ranking.yaml" if ranks else "translation.yaml")
    out = tmp_path / "rows"
    args = ["--prompt", str(prompt), "--output", str(out)]
    script.main(["--input", str(write(tmp_path, *rows)), *args])
    if script in (prepare_grrm_sft, prepare_mt_sft):
        shown = [json.loads(line)["messages"][0]["content"] for line in out.read_text().splitlines()]
    else:
        shown = [row["prompt"][0]["content"] for row in pq.read_table(out).to_pylist()]
    assert sorted(text.rstrip().rpartition("\n")[2] for text in shown) == ["``````", f"`````{RUBRIC}`````"]
    load: Any = load_ranking_prompt if ranks else load_translation_prompt
    names = (
        ("src_text", "mt_texts", "src_lang", "trg_lang") if ranks else ("src_text", "src_lang", "trg_lang")
    )
    rendered = {load(prompt).render(**{name: row[name] for name in names}, columns=row) for row in rows}
    assert set(shown) == rendered
    with pytest.raises(UserError) as caught:
        script.main(["--input", str(write(tmp_path, row)), *args])
    assert f"{prompt}: prompt has the unknown placeholder {{rubric}}" in str(caught.value)
    assert "columns of the rows are" in str(caught.value) and "src_text" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rows_carry_what_the_prompts_of_rewards_name_and_nothing_else(tmp_path: Path) -> None:
    table = write(tmp_path, {**PAIR, "rubric": RUBRIC, "domain": "law", "years": [1, 2]})
    (tmp_path / "mine.py").write_text(
        "def law(question, response, domain, colour='red'):\n    return '<score>'\n"
        "def every(question, **row):\n    return '<score>'\n"
        "def odd(question, response, colour):\n    return '<score>'\n"
    )
    plain = ["src_lang", "trg_lang", "src_text", "trg_text"]

    def carried(*rewards: str) -> dict[str, Any]:
        out = tmp_path / "rows.parquet"
        args = ["--input", str(table), "--prompt", "config/prompts/translation.yaml", "--output", str(out)]
        prepare_mt_grpo.main([*args, *(["--carry", *rewards] if rewards else [])])
        (row,) = pq.read_table(out).to_pylist()
        assert list(row["extra_info"])[:6] == ["index", "split", *plain]
        return {
            name: value for name, value in row["extra_info"].items() if name not in ("index", "split", *plain)
        }

    assert carried() == {}
    assert carried(f"grrm={prompt_file(tmp_path, 'ranking.yaml')}") == {"rubric": RUBRIC}
    assert carried(f"sqm={prompt_file(tmp_path, 'sqm.yaml')}", f"pointwise={tmp_path}/mine.py:law") == {
        "rubric": RUBRIC,
        "domain": "law",
    }
    everything = {"rubric": RUBRIC, "domain": "law", "years": [1, 2]}
    assert carried(f"pointwise={tmp_path}/mine.py:every") == everything
    assert carried("function=mine.py:score", f"pointwise={tmp_path}/mine.py:law") == everything
    with pytest.raises(UserError, match=r"mine\.py:odd: .*\{colour\}.* rows are domain, rubric, src_lang"):
        carried(f"pointwise={tmp_path}/mine.py:odd")


def test_a_rubric_goes_from_the_table_into_the_question_to_the_judge(tmp_path: Path) -> None:
    prompt = prompt_file(tmp_path, "ranking.yaml")
    out = tmp_path / "rows.parquet"
    args = ["--input", str(write(tmp_path, {**PAIR, "rubric": RUBRIC})), "--output", str(out)]
    prepare_mt_grpo.main([*args, "--prompt", "config/prompts/translation.yaml", "--carry", f"grrm={prompt}"])
    (row,) = pq.read_table(out).to_pylist()
    judge = Listener()
    scorer = Scorer(ScoringOptions("grrm", prompt=str(prompt), served=True), asking=Asking(lambda: judge))
    group = read_row(row["extra_info"], row, task="translation")
    asyncio.run(scorer.score_groups([replace(group, candidates=("eins", "zwei"))]))
    (asked,) = judge.asked
    assert asked.rstrip().endswith(f"`````{RUBRIC}`````")


# ---------------------------------------------------------------- what is planned


def with_reward(kind: str, prompt: str, source: str = "hub") -> dict[str, Any]:
    config = experiment()
    config["data"]["source"] = source
    config["mt_grpo"]["reward"] |= {"kind": kind, "prompt": prompt}
    return config


@pytest.mark.parametrize("kind", JUDGES)
def test_published_tables_may_have_the_column(tmp_path: Path, kind: str) -> None:
    prompt = str(prompt_file(tmp_path, JUDGES[kind]))
    check_prompts(with_reward(kind, prompt))
    assert carrying_rewards(with_reward(kind, prompt)) == [f"{kind}={prompt}"]
    with pytest.raises(
        UserError, match=r"\{rubric\}.* columns of the rows are src_lang, src_text, trg_lang, trg_text"
    ):
        check_prompts(with_reward(kind, prompt, "toy"))


def test_the_rows_of_the_workflows_own_prompts_carry_nothing() -> None:
    assert carrying_rewards(experiment()) == []
    for kind in JUDGES:
        assert carrying_rewards(with_reward(kind, f"config/prompts/{JUDGES[kind]}")) == []


@pytest.mark.parametrize(
    ("parameters", "carries"),
    [
        ("question, response", False),
        ("*, user_query, response, reference=None", False),
        ("question, response, rubric", True),
        ("question, **row", True),
    ],
)
def test_a_function_is_read_and_not_run_to_know_what_it_names(
    tmp_path: Path, parameters: str, carries: bool
) -> None:
    (tmp_path / "mine.py").write_text(f"import no_such_package\n\ndef ask({parameters}):\n    return ''\n")
    spec = f"{tmp_path}/mine.py:ask"
    assert carrying_rewards(with_reward("pointwise", spec)) == ([f"pointwise={spec}"] if carries else [])


def test_only_tables_whose_further_columns_are_asked_for_keep_them(tmp_path: Path) -> None:
    for overlays in ((), ("paper",)):
        assert tables_with_columns(experiment(*overlays)) == set()
    config = experiment("paper")
    config["prompts"]["translation"] = str(prompt_file(tmp_path, "translation.yaml"))
    assert tables_with_columns(config) == {"mt_sft", "mt_grpo", "translation_test"}
    config = experiment("paper")
    config["prompts"]["ranking"] = str(prompt_file(tmp_path, "ranking.yaml"))
    # The judge of rewards is asked with it, too.
    assert tables_with_columns(config) == {
        "grrm_sft",
        "grrm_rlvr",
        "ranking_test",
        "translation_test",
        "mt_grpo",
    }
    assert tables_with_columns(with_reward("sqm", str(prompt_file(tmp_path, "sqm.yaml")))) == {"mt_grpo"}
    config = experiment("paper")
    config["evaluate"]["metrics"] = ["llm_judge"]
    config["evaluate"]["llm_judge"]["prompt"] = str(prompt_file(tmp_path, "judge_translation.yaml"))
    assert tables_with_columns(config) == {"translation_test"}


def test_the_columns_that_are_known_are_those_of_the_tables() -> None:
    assert set(PAIRS.names) == PAIR_COLUMNS
    # Several references have only test sets of one's own.
    assert set(TRANSLATION_TEST.names) - {"references"} == TEST_COLUMNS


# ---------------------------------------------------------------- tables of one's own


def test_a_table_keeps_the_columns_that_the_prompt_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"src_text": "s", **LANGUAGES, "rubric": "r", "other": 1}) + "\n")
    assert read_rows(str(path)) == [{"src_text": "s", **LANGUAGES}]
    assert read_rows(str(path), further={"rubric"}) == [{"src_text": "s", **LANGUAGES, "rubric": "r"}]
    with pytest.raises(
        UserError, match="line 1: no colour, which the prompt names; the columns are src_text, "
    ):
        read_rows(str(path), further={"colour"})


def test_a_judge_is_asked_about_the_columns_that_its_card_names() -> None:
    templates = yaml.safe_load(Path("config/prompts/toy_pointwise.yaml").read_text(encoding="utf-8"))
    plain = Pointwise(templates, 0, 4, 64, 16)
    used = replace(plain, prompt=templates | {"prompt": templates["prompt"] + "\n|{rubric}|"})
    row = {"question": "q", "response": "r", "rubric": RUBRIC, "other": 1}
    assert grading.columns_of(used) == {"rubric"}
    assert grading.read_row(row, "row 0", grading.columns_of(plain)) == grading.read_row(row, "row 0")
    asked = grading.read_row(row, "row 0", grading.columns_of(used))
    assert asked == {**grading.read_row(row, "row 0"), "columns": {"rubric": RUBRIC}}
    shown = grading._render(asked, (0,), used, False)
    assert shown.rstrip().endswith(f"|{RUBRIC}|")
    with pytest.raises(UserError, match=r"row 0: the judge's prompt: .*\{rubric\}.* rows are question, resp"):
        grading.read_row({"question": "q", "response": "r"}, "row 0", grading.columns_of(used))
