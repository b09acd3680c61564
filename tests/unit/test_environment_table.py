"""Variables of the environment stand in one table: what is said of them elsewhere agrees with it."""

from __future__ import annotations

import re
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configurations import ROOT, experiment
from grrm.asking.options import JudgeOptions
from grrm.config import load_schema, resolve_experiment
from grrm.config.environment import VARIABLES, Variable, judge_options, without_variables_of
from grrm.files import UserError

SCHEMA = ROOT / "config/schemas/config.schema.yaml"
ASKED = {"JUDGE_API_URL": "http://judge/v1", "JUDGE_MODEL_NAME": "j"}


def documented(page: str) -> dict[str, str]:
    """Variables in the tables of a page, with what is said of them."""
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \|$", (ROOT / page).read_text(encoding="utf-8"), re.M)
    return {name: words for names, words in rows for name in re.findall(r"`([A-Z_]{5,})`", names)}


def test_every_variable_stands_in_the_pages_with_its_key() -> None:
    judged, rewarded = documented("docs/judges.md"), documented("docs/rewards.md")
    for variable in VARIABLES:
        words = (judged if variable.parts else rewarded)[variable.name]
        key = variable.reward or (variable.keys[-1] if variable.keys else "")
        assert key.rsplit(".", 1)[-1].removesuffix("train_batch_size") in words, variable.name


def test_the_pages_name_no_variable_that_nobody_reads() -> None:
    rows = documented("docs/judges.md") | documented("docs/rewards.md")
    unread = {name for name, words in rows.items() if "not needed" in words} | {"JUDGE_API_KEY"}
    assert set(rows) - unread == {variable.name for variable in VARIABLES}


def test_the_schema_says_what_is_recorded_and_what_goes_before_a_judge() -> None:
    schema = load_schema(SCHEMA)

    def named(part: dict[str, Any]) -> set[str]:
        return set(re.findall(r"[A-Z]+(?:_[A-Z]+)+|VERBOSE", part["description"]))

    for part in ("judges", "alignment"):
        recorded = {variable.name for variable in VARIABLES if part in variable.parts}
        assert named(schema["properties"][part]["properties"]["environment"]) == recorded
    below = {variable.name for variable in VARIABLES if variable.reward.startswith("judge.")}
    assert named(schema["$defs"]["judge"]) == {*below, "JUDGE_API_KEY"}


def test_an_option_of_the_table_is_one_of_the_client() -> None:
    options = {variable.option for variable in VARIABLES if variable.option}
    assert options <= {option.name for option in fields(JudgeOptions)}


@pytest.mark.parametrize("text", ["yes", "ON", "1", "true"])
def test_the_workflow_and_the_client_read_a_text_alike(text: str) -> None:
    config = resolve_experiment(experiment("judges"), SCHEMA, {**ASKED, "VERBOSE": text})
    assert config["alignment"]["grpo"]["reward"]["judge"]["verbose"] is True
    assert judge_options({"VERBOSE": text}) == {"verbose": True}


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(UserError, match=r"JUDGE_MODEL_NAME is 'j\\udcff' in the environment, expected text"):
        judge_options({"JUDGE_MODEL_NAME": "j\udcff"})


def test_options_that_are_given_need_no_variable() -> None:
    environment = {**ASKED, "OTHER": "x"}
    assert without_variables_of(["url", "top_p"], environment) == {"JUDGE_MODEL_NAME": "j", "OTHER": "x"}


@pytest.mark.parametrize("value", ["127.0.0.1:8000/v1", "http:/host", "http://", "http://host/v1\n"])
@pytest.mark.parametrize("key", ["evaluate.base_url", "evaluate.llm_judge.url", "mt_grpo.reward.judge.url"])
def test_an_address_has_a_scheme_and_a_host(key: str, value: str) -> None:
    config = experiment()
    *parents, last = key.split(".")
    section = config
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(UserError, match=f"key '{key}' is .*, expected an address such as http://"):
        resolve_experiment(config, SCHEMA)


def test_the_name_of_an_experiment_ends_with_its_last_character() -> None:
    with pytest.raises(UserError, match=r"key 'experiment' is 'demo\\n', expected text of the form"):
        resolve_experiment({**experiment(), "experiment": "demo\n"}, SCHEMA)


@pytest.mark.parametrize(
    ("variable", "text"), [("JUDGE_API_URL", "your-api-url"), ("MAX_RETRIES", "-1"), ("VERBOSE", "perhaps")]
)
def test_a_judge_that_evaluates_is_told_at_once_what_it_would_find_later(variable: str, text: str) -> None:
    config = experiment()
    assert resolve_experiment(config, SCHEMA, {variable: text}) == config, "nobody asks"
    config["evaluate"] |= {"metrics": ["llm_judge"]}
    config["evaluate"]["llm_judge"]["model"] = "judge"
    with pytest.raises(UserError, match=f"{variable} is '{text}' in the environment, expected "):
        resolve_experiment(config, SCHEMA, {variable: text})
    fine = {"JUDGE_API_URL": "http://me:password@judge/v1", "MAX_TOKENS": "0"}
    assert resolve_experiment(config, SCHEMA, fine) == config, "its own section says how many tokens"


# No environment holds the character NUL.
_TEXTS = st.text(st.characters(exclude_characters="\0"))


@given(st.sampled_from(VARIABLES), _TEXTS | st.integers().map(str) | st.floats().map(str))
@settings(max_examples=40, deadline=None)
def test_any_text_is_taken_or_refused_by_its_name(variable: Variable, text: str) -> None:
    environment = {**ASKED, variable.name: text}
    try:
        config = resolve_experiment(experiment("judges"), SCHEMA, environment)
    except UserError as error:
        # Or it contradicts a key: more machines than judges train on, one table of rows without the other.
        assert re.search(rf"{variable.name}|hardware|alignment\.data|alignment\.grpo", str(error))
        assert "\n" not in str(error)
    else:
        assert resolve_experiment(config, SCHEMA, environment) == config
