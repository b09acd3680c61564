"""Names by which verl is told to load what is ours: pkg://module and a name in it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Stable: configurations of others name them.
NAMES = [
    ("grrm.rewards.group", "GroupRewardManager"),
    ("grrm.rewards.group", "compute_score"),
    ("grrm.rewards.consistency", "ConsistencyRewardManager"),
    ("grrm.rewards.judge_score", "compute_score"),
    ("grrm.rewards.pairwise", "compute_score"),
    ("grrm.rewards.pointwise", "compute_score"),
    ("grrm.rewards.ranking_score", "compute_score"),
    ("grrm.rewards.sqm_score", "compute_score"),
    ("grrm.verl_plugin.sampler", "FastPollReplayBuffer"),
    ("grrm.verl_plugin.self_judging", "SelfJudgingRewardManager"),
    ("grrm.verl_plugin.step_sampler", "ReportingReplayBuffer"),
]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_it_is_there(module: str, name: str) -> None:
    if module.startswith("grrm.rewards."):
        assert callable(getattr(importlib.import_module(module), name))
        return
    # It imports verl, which the training environment has.
    spec = importlib.util.find_spec(module)
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}


def test_no_other_module_is_named_anywhere() -> None:
    files = [*ROOT.glob("docs/*.md"), ROOT / "README.md", *ROOT.glob("scripts/**/*.py")]
    named = {
        module
        for file in files
        for module in re.findall(r"pkg://([\w.]+\w)", file.read_text(encoding="utf-8"))
    }
    assert named - {"grrm.rewards"} <= {module for module, _ in NAMES}  # the rest of one is put in: {reward}
    assert "grrm.rewards.group" in named
