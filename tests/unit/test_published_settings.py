"""Every setting of the published runs is accounted for, and rendered with its published value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from configurations import ROOT, experiment, render_rl, render_sft

PUBLISHED = ROOT / "tests/data/golden/published"
TABLE: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load(
    (ROOT / "config/published_settings.yaml").read_text(encoding="utf-8")
)
SFT, RL = ["grrm_sft", "mt_sft"], ["grrm_rlvr", "mt_grpo"]


def recipe(stage: str) -> dict[str, Any]:
    """The recipe's YAML, or the overrides of its launch command with the variables filled in."""
    if stage in SFT:
        return yaml.safe_load((PUBLISHED / f"{stage}.yaml").read_text(encoding="utf-8"))
    lines = (PUBLISHED / f"{stage}.txt").read_text(encoding="utf-8").split()
    return {key.lstrip("+"): value(text) for key, _, text in (line.partition("=") for line in lines)}


def value(text: str) -> Any:
    if text.startswith("["):
        return text[1:-1].split(",")
    try:
        return float(text)
    except ValueError:
        return yaml.safe_load(text)


def plain(overrides: dict[str, Any]) -> dict[str, Any]:
    return {key.lstrip("+"): value for key, value in overrides.items()}


def rendered(stage: str) -> dict[str, Any]:
    config = experiment("paper")
    return render_sft(config, stage) if stage in SFT else plain(render_rl(config, stage))


def lookup(config: dict[str, Any], path: str) -> Any:
    found: Any = config
    for key in path.split("."):
        found = found[key]
    return found


@pytest.mark.parametrize("stage", [*SFT, *RL])
def test_the_table_is_the_recipe_no_more_and_no_less(stage: str) -> None:
    assert {key: row["published"] for key, row in TABLE[stage].items()} == recipe(stage)


@pytest.mark.parametrize("stage", [*SFT, *RL])
def test_a_setting_is_rendered_or_dropped_for_a_reason(stage: str) -> None:
    run = rendered(stage)
    for key, row in TABLE[stage].items():
        ours = row.get("engine", row.get("verl", key))
        if "dropped" in row:
            assert len(row["dropped"]) > 20, key
            assert key not in run, key
        else:
            assert ours in run, f"{key} should be rendered as {ours}"


@pytest.mark.parametrize("stage", [*SFT, *RL])
def test_a_rendered_value_is_the_published_one_or_differs_for_a_reason(stage: str) -> None:
    run = rendered(stage)
    for key, row in TABLE[stage].items():
        if "dropped" in row:
            continue
        same = run[row.get("engine", row.get("verl", key))] == row["published"]
        assert same != ("differs" in row), f"{key}: {row}"


@pytest.mark.parametrize("stage", [*SFT, *RL])
def test_every_setting_of_ours_that_the_table_names_exists(stage: str) -> None:
    config = experiment("paper")
    for row in TABLE[stage].values():
        if "setting" in row:
            lookup(config, row["setting"])


@pytest.mark.parametrize("stage", RL)
def test_the_fork_is_given_the_authors_keys_and_values(stage: str) -> None:
    overrides = render_rl({**experiment("paper"), "rl_engine": "gen_rm_fork"}, stage)
    added = {"actor_rollout_ref.actor.checkpoint.save_contents"}
    run = plain(overrides)
    assert set(run) == set(TABLE[stage]) | added
    ours = {"trainer.save_freq", "trainer.project_name", "trainer.experiment_name"}
    ours |= {key for key, row in TABLE[stage].items() if row.get("differs") == "a path of this experiment"}
    if stage == "mt_grpo":
        ours |= {"trainer.test_freq"}
    for key, row in TABLE[stage].items():
        if key not in ours:
            assert run[key] == row["published"], key


@pytest.mark.parametrize("stage", RL)
def test_the_fork_is_given_a_plus_where_the_authors_write_one(stage: str) -> None:
    lines = (PUBLISHED / f"{stage}.txt").read_text(encoding="utf-8").split()
    authors = [line.partition("=")[0] for line in lines]
    overrides = render_rl({**experiment("paper"), "rl_engine": "gen_rm_fork"}, stage)
    assert [key for key in overrides if key.lstrip("+") in TABLE[stage]] == authors


def test_the_fork_is_told_what_its_own_defaults_do_not_say() -> None:
    config = experiment("paper", "paper_fork")
    before = render_rl(config, "grrm_rlvr")
    config["seed"] = 7
    changes = {"warmup_steps": 10, "weight_decay": 0.0, "max_grad_norm": 0.5, "sft_coef": 0.2}
    validation = {**config["grrm_rlvr"]["validation"], "rollouts": 4}
    after = render_rl(config, "grrm_rlvr", **changes, validation=validation)
    policy = "actor_rollout_ref.actor"
    assert {key: value for key, value in after.items() if before.get(key) != value} == {
        f"{policy}.optim.lr_warmup_steps": 10,
        f"{policy}.optim.weight_decay": 0.0,
        f"{policy}.grad_clip": 0.5,
        f"+{policy}.sft_coef": 0.2,
        "actor_rollout_ref.rollout.val_kwargs.n": 4,
        "data.seed": 7,
    }


@pytest.mark.parametrize("stage", RL)
def test_a_preempted_run_loses_thirty_minutes_at_most(stage: str) -> None:
    assert rendered(stage)["trainer.save_minutes"] <= 30


def test_every_value_of_the_papers_configuration_says_where_it_comes_from() -> None:
    lines = (ROOT / "config/paper.yaml").read_text(encoding="utf-8").splitlines()
    values = [line for line in lines if ": " in line and not line.startswith(("#", "experiment", " " * 6))]
    without = [line for line in values if " # " not in line]
    assert without == ["  device: cuda", "  source: hub"]


def test_the_demo_is_rendered_as_before(tmp_path: Path) -> None:
    config = experiment()
    golden = ROOT / "tests/data/golden/rendered"
    for stage in SFT:
        text = yaml.safe_dump(render_sft(config, stage), sort_keys=False)
        assert text == (golden / f"demo_{stage}.yaml").read_text(encoding="utf-8")
    for stage in RL:
        text = yaml.safe_dump(render_rl(config, stage), sort_keys=False, default_flow_style=None)
        assert text == (golden / f"demo_{stage}.yaml").read_text(encoding="utf-8").partition("\n")[2]
