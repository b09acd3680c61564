"""The published recipes as planned: at their published size, and at toy size."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_plan import planned_rules, snakemake

from configurations import ROOT, recipe
from grrm.catalogue.recipes import RECIPES

_SPEC = importlib.util.spec_from_file_location("demo_recipes", ROOT / "scripts/demo_recipes.py")
assert _SPEC is not None
assert _SPEC.loader is not None
demo_recipes = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(demo_recipes)

STARTS = {
    "start": ("mt_sft", "comet", "cometkiwi", "bleurt", "grrm_sft"),
    "brief": ("mt_sft",),
    "both": ("mt_sft",),
}


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder in which the workflow runs, with the files that recipes name, empty."""
    for name in ("config", "scripts", "rules", "envs", "report"):
        (tmp_path / name).symlink_to(ROOT / name)
    for name in RECIPES:
        for file in own_data(recipe(name)["data"]):
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / file).touch()
    return tmp_path


def own_data(data: dict[str, Any]) -> list[str]:
    tables = (data.get("files") or {}).values()
    sets = data["test_sets"].values() if isinstance(data["test_sets"], dict) else ()
    return [
        *(table["path"] if isinstance(table, dict) else table for table in tables),
        *(item["file"] for item in sets if isinstance(item, dict)),
    ]


def plan(workspace: Path, targets: list[str], *files: str) -> set[str]:
    done = snakemake("--dry-run", *targets, "--configfile", *files, cwd=workspace)
    assert done.returncode == 0, done.stdout + done.stderr
    return planned_rules(done.stdout)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_plans_its_published_size(name: str, workspace: Path) -> None:
    files = ["config/paper.yaml", *(f"config/recipes/{file}.yaml" for file in RECIPES[name])]
    rules = plan(workspace, ["reward_kinds"], *files)
    assert {"train_mt_grpo", "translate_segments", "score_segments", "compare_reward_kinds"} <= rules
    cold_start = recipe(name)["mt_grpo"]["start_from"] is None
    assert ("train_mt_sft" in rules) is cold_start
    assert ("train_grrm_rlvr" in rules) is (name == "grrm")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_plans_at_toy_size_by_one_overlay(name: str, workspace: Path) -> None:
    for start, models in STARTS.items():
        for model in models:
            (workspace / f"results/recipes_{start}/models/{model}").mkdir(parents=True)
    published = demo_recipes.published_recipe(name)
    start = demo_recipes.start_of(published)
    by_endpoint = name.startswith("llm_judge")
    changes = demo_recipes.overlay(name, published, start, "http://127.0.0.1:9/v1" if by_endpoint else "")
    (workspace / "own.yaml").write_text(yaml.safe_dump(changes), encoding="utf-8")
    files = [f"config/recipes/{file}.yaml" for file in [*RECIPES[name], "toy"]]
    rules = plan(workspace, ["reward_kinds"], *files, "own.yaml")
    assert {rule for rule in rules if rule.startswith("train_")} == {"train_mt_grpo"}
    assert {"make_toy_world", "compare_reward_kinds"} <= rules
    expected = {"ssr_zero": "both", "mt_r1_zero_mix": "brief", "peg_rl_baseline": "brief"}
    assert start == expected.get(name, "brief" if name.startswith("mt_r1_zero") else "start")


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "grrm"])
def test_the_toy_leaves_objective_and_reward_as_they_are(name: str) -> None:
    published, toy = recipe(name)["mt_grpo"], recipe(name, "recipes/toy")["mt_grpo"]
    if not name.endswith("_alone"):  # the objective of these is the paper's, which the demonstration has
        for key in ("policy_loss", "divide_by_std", "kl_coef", "clip_low", "clip_high", "sft_coef"):
            assert toy.get(key) == published.get(key), key
    for key in ("kind", "score_scale", "default_reward", "empty_reward", "parts", "swap"):
        assert toy["reward"].get(key) == published["reward"].get(key), key
    assert (toy["reward"]["placement"] == "policy") is (published["reward"]["placement"] == "policy")


@pytest.mark.parametrize("start", STARTS)
def test_what_recipes_start_from_and_are_measured_by_is_made_once(start: str, workspace: Path) -> None:
    own = {"experiment": f"recipes_{start}", **demo_recipes.STARTS[start][1]}
    (workspace / "own.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    targets = [f"results/recipes_{start}/models/{model}" for model in STARTS[start]]
    rules = plan(workspace, targets, "config/recipes/toy_start.yaml", "own.yaml")
    shared = {"train_metric", "train_grrm_sft"} if start == "start" else set()
    assert {rule for rule in rules if rule.startswith("train_")} == {"train_mt_sft"} | shared
