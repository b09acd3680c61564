"""A kind of reward is one entry and one module: one that is added goes through plan, rendering and score."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grrm.catalogue import resolve
from grrm.catalogue.rewards import ENTRIES, KINDS, RewardKind
from grrm.files import read_yaml

ROOT = Path(__file__).parents[2]

ENTRY = """
    RewardKind(
        "ter",
        "sacreBLEU's translation edit rate of the sentence, against the reference; less is better",
        "grrm.rewards.kinds.ter",
        "nothing",
        scale="0 (best) to 100",
        range=(100, 0),
        needs_reference=True,
        translation_only=True,
        family="ter",
    ),
)

KINDS:"""
MODULE = '''
"""Translation edit rate of the sentence."""

from sacrebleu.metrics import TER

from grrm.rewards.kinds.text_metrics import sentence_scores


def load(options, asking):
    metric = TER()
    return sentence_scores(lambda group: metric)
'''
SCORE = """
import asyncio, json, sys
from types import SimpleNamespace
from grrm.engines.verl_rewards import reward_kwargs
from grrm.files import read_yaml
from grrm.judges.groups import Group
from grrm.rewards.group import GroupOptions, GroupRewards, Rollout
from grrm.rewards.group.manager import asking_of

options = GroupOptions.from_mapping(reward_kwargs(read_yaml(sys.argv[1])))
source = Group("es regnet", (), "it is raining", "de", "en")

async def main():
    rewards = GroupRewards(options, asking_of(options))
    texts = ["it is raining", "it is snowing", "what a dog"]
    rollouts = [Rollout(f"x\\n```\\n{text}\\n```", 5) for text in texts]
    calls = [rewards.reward("u", rollout, source, expected=3, step=1) for rollout in rollouts]
    return [reward.value for reward in await asyncio.gather(*calls)]

print(json.dumps(asyncio.run(main())))
"""


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_module_and_a_way_to_points(kind: str) -> None:
    entry = KINDS[kind]
    assert callable(resolve(f"{entry.module}:load"))
    if entry.range is None:
        assert callable(resolve(f"{entry.module}:points")), "no range: the module makes points"
    for prompt in (entry.translation_prompt, entry.conversation_prompt):
        assert not prompt or (ROOT / prompt).is_file()


def test_the_page_names_every_kind() -> None:
    page = (ROOT / "docs/rewards.md").read_text()
    for entry in ENTRIES:
        assert f"| `{entry.name}` | {entry.label} | {entry.scale} |" in page


def test_an_entry_without_a_range_is_no_entry() -> None:
    with pytest.raises(TypeError, match="range"):
        RewardKind("ter", "TER", "grrm.rewards.kinds.ter", "nothing")  # type: ignore[call-arg]


def test_names_are_unique() -> None:
    assert len(KINDS) == len(ENTRIES)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this checkout to which TER is added: one entry, one module."""
    folder = tmp_path_factory.mktemp("checkout")
    skip = shutil.ignore_patterns("__pycache__", "golden")
    for name in ("scripts", "config", "rules", "envs", "report"):
        shutil.copytree(ROOT / name, folder / name, ignore=skip)
    shutil.copy(ROOT / "Snakefile", folder)
    catalogue = folder / "scripts/grrm/catalogue/rewards.py"
    text = catalogue.read_text()
    assert text.count("\n)\n\nKINDS:") == 1
    catalogue.write_text(text.replace("\n)\n\nKINDS:", ENTRY))
    (folder / "scripts/grrm/rewards/kinds/ter.py").write_text(MODULE)
    return folder


def run(checkout: Path, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(checkout / "scripts")}
    done = subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, text=True, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_an_added_kind_is_planned_rendered_and_scores(checkout: Path) -> None:
    plan = run(
        checkout,
        *("-m", "snakemake", "-n", "-p", "--cores", "1", "mt_grpo"),
        *("--config", "mt_grpo={reward: {kind: ter}}", "reward_comparison=[bleu]"),
    )
    assert '"kind": "ter"' in plan
    settings: Any = json.loads(plan.split("render_rl.py --stage mt_grpo --settings '")[1].split("'")[0])
    rendered = checkout / "mt_grpo.yaml"
    run(
        checkout,
        *("scripts/render_rl.py", "--stage", "mt_grpo", "--settings", json.dumps(settings)),
        *("--model", "m", "--data", "d", "--checkpoints", "c", "--output", str(rendered)),
    )
    assert read_yaml(rendered)["+reward.reward_kwargs.kind"] == "ter"
    best, middling, worst = json.loads(run(checkout, "-c", SCORE, str(rendered)))
    assert best == pytest.approx(10 * settings["reward"]["score_scale"])
    assert best > middling > worst


def test_an_added_kind_is_offered_and_served(checkout: Path) -> None:
    assert "ter" in run(checkout, "-m", "grrm.cli", "serve-reward", "--help")
    run(checkout, "scripts/document_config.py", "--output", "configuration.md")
    assert "`format` or `function` or `mixture` or `ter`" in (checkout / "configuration.md").read_text()
