"""Lengths and devices that a model's architecture does not allow are told before verl starts."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from configurations import experiment, render_rl
from grrm.engines.model_limits import check_limits
from grrm.files import UserError

DEVICES = "actor_rollout_ref.rollout.tensor_model_parallel_size"
POLICY, JUDGE = "actor_rollout_ref.model.path", "reward.reward_model.model_path"
QWEN_7B = {"num_attention_heads": 28, "num_key_value_heads": 4, "max_position_embeddings": 131072}
FORK_JUDGE = "reward_model.model.path"


def model(folder: Path, **config: Any) -> str:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)


def rendered(
    tmp_path: Path, *overlays: str, judge: dict[str, Any] = QWEN_7B, **policy: Any
) -> dict[str, Any]:
    """GRPO with a policy whose configuration has these changes."""
    config = render_rl(experiment(*overlays), "mt_grpo")
    config[POLICY] = model(tmp_path / "mt", **(QWEN_7B | policy))
    config[FORK_JUDGE if FORK_JUDGE in config else JUDGE] = model(tmp_path / "grrm", **judge)
    return config


@pytest.mark.parametrize("text", ["", '{"a": ', "<html>", "[1]"])
def test_a_configuration_that_is_none_is_named(tmp_path: Path, text: str) -> None:
    config = rendered(tmp_path, "paper")
    Path(config[JUDGE], "config.json").write_text(text)
    with pytest.raises(UserError, match=r"grrm/config\.json: "):
        check_limits(config)


@pytest.mark.parametrize("overlays", [["paper"], ["paper", "paper_fork"]])
def test_the_papers_models_hold_what_is_configured(tmp_path: Path, overlays: list[str]) -> None:
    check_limits(rendered(tmp_path, *overlays))


@pytest.mark.parametrize("overlays", [["paper"], ["paper", "paper_fork"]])
def test_a_context_shorter_than_prompt_and_answer_is_named(tmp_path: Path, overlays: list[str]) -> None:
    expected = "expected at least 5376: max_prompt_length 1280 + max_response_length 4096"
    with pytest.raises(UserError, match=f"mt has a context of 4096 tokens, {re.escape(expected)}"):
        check_limits(rendered(tmp_path, *overlays, max_position_embeddings=4096))


@pytest.mark.parametrize("overlays", [["paper"], ["paper", "paper_fork"]])
def test_that_of_a_judge_too(tmp_path: Path, overlays: list[str]) -> None:
    judge = QWEN_7B | {"max_position_embeddings": 8192}
    with pytest.raises(UserError, match="grrm has a context of 8192 tokens, expected at least 10240: reward"):
        check_limits(rendered(tmp_path, *overlays, judge=judge))


def test_heads_that_do_not_spread_over_the_devices_are_named(tmp_path: Path) -> None:
    config = rendered(tmp_path, "paper") | {DEVICES: 8}
    with pytest.raises(
        UserError, match="28 attention heads, which tensor_parallel 8 does not divide; take 1, 2, 4"
    ):
        check_limits(config)


def test_heads_of_keys_and_values_are_copied_where_there_are_more_devices(tmp_path: Path) -> None:
    config = rendered(tmp_path, "paper", num_attention_heads=16, num_key_value_heads=2)
    check_limits(config | {DEVICES: 8})
    with pytest.raises(UserError, match="28 attention heads and 4 of keys and values"):
        check_limits(rendered(tmp_path / "other", "paper") | {DEVICES: 7})


def test_what_a_configuration_does_not_say_is_left_to_the_engine(tmp_path: Path) -> None:
    config = rendered(tmp_path, "paper")
    config[POLICY] = model(tmp_path / "odd", model_type="odd")
    check_limits(config)
    config[POLICY] = model(tmp_path / "nested", text_config={"max_position_embeddings": 512})
    with pytest.raises(UserError, match="nested has a context of 512 tokens"):
        check_limits(config)
