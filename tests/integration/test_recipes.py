"""Every published recipe at toy size, through the real engines, into one table."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grrm.catalogue.recipes import RECIPES
from grrm.files import read_json, read_jsonl
from workspace import Workspace

# Half an hour of one core: test_recipes_planned.py has the plans, test_recipe_configs.py the keys of verl.
pytestmark = pytest.mark.full
LONGEST = 2 * 3600
"""Seconds that all of it may take."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = Workspace(tmp_path_factory.mktemp("recipes"))
    command = [sys.executable, "scripts/demo_recipes.py", "--cores", "1"]
    with (workspace.folder / "recipes.log").open("w") as log:
        done = subprocess.run(
            command, cwd=workspace.folder, stdout=log, stderr=log, timeout=LONGEST, check=False
        )
    assert done.returncode == 0, (workspace.folder / "recipes.log").read_text(errors="replace")[-4000:]
    return workspace.folder


@pytest.fixture(scope="module")
def recipes(folder: Path) -> dict[str, dict[str, Any]]:
    return {recipe["name"]: recipe for recipe in read_json(folder / "results/recipes/table.json")["recipes"]}


def test_every_recipe_is_in_the_table_with_its_start_and_its_mark(
    folder: Path, recipes: dict[str, dict[str, Any]]
) -> None:
    assert list(recipes) == list(RECIPES)
    table = (folder / "results/recipes/table.md").read_text(encoding="utf-8")
    assert len(table.splitlines()) == 4 + len(RECIPES)
    for name, recipe in recipes.items():
        assert recipe["title"] in table
        assert recipe["title"].startswith("in the style of") is not recipe["exact"]
        assert recipe["training"]["steps"] == 12
        assert recipe["training"]["valid"] > 0.5, name
    assert {recipes[name]["begins_at"] for name in ("mt_r1_zero_lex", "peg_rl_baseline")} == {"brief SFT"}
    assert recipes["ssr_zero"]["begins_at"] == "SFT on both tasks"


def test_what_each_recipe_asked_is_what_it_has_to_ask(
    folder: Path, recipes: dict[str, dict[str, Any]]
) -> None:
    asked = {name: recipe["calls"] for name, recipe in recipes.items()}
    groups = 12 * 32
    assert 0 < asked["llm_judge_listwise"] <= groups
    assert asked["llm_judge_listwise"] < asked["llm_judge_pointwise"] <= 4 * groups
    assert asked["llm_judge_pairwise"] <= 6 * groups
    assert 0 < asked["ssr_zero"] <= 4 * groups
    assert 0 < asked["grrm"] <= 2 * groups
    assert not any(
        asked[name] for name in recipes if name.endswith("_alone") or name.startswith("mt_r1_zero")
    )


def test_the_policy_that_judges_itself_gives_verdicts(
    folder: Path, recipes: dict[str, dict[str, Any]]
) -> None:
    assert recipes["ssr_zero"]["training"]["judgement_failure_rate"] < 0.2
    groups = read_jsonl(folder / "results/recipes_ssr_zero/curves/mt_grpo.judgements.jsonl")
    points = [
        point for group in groups for point in (group.get("parts") or {}).get("sqm", ()) if point is not None
    ]
    assert len(set(points)) > 3


def test_training_on_a_metric_raises_it(recipes: dict[str, dict[str, Any]]) -> None:
    reward = {name: recipe["training"]["reward"] for name, recipe in recipes.items()}
    rising = [name for name, ends in reward.items() if ends["last"] > ends["first"]]
    assert len(rising) > len(recipes) / 2, reward
