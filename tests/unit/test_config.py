"""The configuration: defaults, and errors that say what to change."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from grrm.config import resolve
from grrm.files import UserError

ROOT = Path(__file__).parents[2]
SCHEMA = ROOT / "config/schemas/config.schema.yaml"


@pytest.fixture
def demo() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    return config


def set_key(config: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(config)
    *parents, last = path.split(".")
    section = changed
    for parent in parents:
        section = section[parent]
    section[last] = value
    return changed


def test_the_demo_names_every_value_itself(demo: dict[str, Any]) -> None:
    assert resolve(demo, SCHEMA) == demo


def test_defaults_are_filled_in_at_every_depth(demo: dict[str, Any]) -> None:
    del demo["environments"]
    del demo["mt_grpo"]["reward"]
    resolved = resolve(demo, SCHEMA)
    assert resolved["environments"] == {"folder": ".snakemake/environments"}
    assert resolved["mt_grpo"]["reward"]["semantics"] == "strict"


def test_the_given_configuration_is_left_as_it_was(demo: dict[str, Any]) -> None:
    del demo["environments"]
    before = copy.deepcopy(demo)
    resolve(demo, SCHEMA)
    assert demo == before


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("grrm_sft.learning_rate", "1e-5", ["grrm_sft.learning_rate", "'1e-5'", "number", "1.0e-05"]),
        (
            "grrm_sft.learnin_rate",
            1.0,
            ["unknown key 'grrm_sft.learnin_rate'", "did you mean 'learning_rate'"],
        ),
        ("seed", -1, ["'seed'", "-1", "at least 0"]),
        ("data.source", "hub", ["'data.source'", "'hub'", "'toy', 'sample'"]),
        ("mt_grpo.reward.semantics", "loose", ["mt_grpo.reward.semantics", "'strict', 'paper'"]),
        ("grrm_rlvr.rollouts", 1, ["grrm_rlvr.rollouts", "at least 2"]),
        ("mt_grpo.reward.max_failure_rate", 1.5, ["mt_grpo.reward.max_failure_rate", "at most 1"]),
        ("experiment", "../elsewhere", ["'experiment'", "../elsewhere"]),
        ("grrm_rlvr.clip_low", 0, ["grrm_rlvr.clip_low", "above 0"]),
    ],
)
def test_a_wrong_key_or_value_is_named_with_what_is_allowed(
    demo: dict[str, Any], path: str, value: Any, words: list[str]
) -> None:
    with pytest.raises(UserError) as error:
        resolve(set_key(demo, path, value), SCHEMA)
    for word in words:
        assert word in str(error.value)


def test_a_missing_key_is_named(demo: dict[str, Any]) -> None:
    del demo["grrm_sft"]["max_steps"]
    with pytest.raises(UserError, match=r"'grrm_sft': 'max_steps' is missing"):
        resolve(demo, SCHEMA)


def test_every_key_has_a_sentence() -> None:
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))

    def undescribed(part: dict[str, Any], path: str) -> list[str]:
        missing = []
        for key, value in part.get("properties", {}).items():
            target = schema["$defs"][value["$ref"].rsplit("/", 1)[-1]] if "$ref" in value else {}
            if not value.get("description") and not target.get("description"):
                missing.append(f"{path}{key}")
            missing += undescribed({**target, **value}, f"{path}{key}.")
        return missing

    assert undescribed(schema, "") == []
