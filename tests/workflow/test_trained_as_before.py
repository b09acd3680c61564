"""Commands of trainings stay word for word: where one changes, Snakemake trains existing results anew."""

from __future__ import annotations

import re
from pathlib import Path

import planner
from configurations import experiment, render_rl

ROOT = Path(__file__).parents[2]
COMMANDS = ROOT / "tests/data/training_commands.txt"
OF_TRAININGS = re.compile(
    r"^Shell command: (.*scripts/(?:render_(?:sft|rl|judge_rl|bradley_terry)|train_(?:sft|rl|bradley_terry)|"
    r"prepare_\w+|make_\w+|split_\w+)\.py .*)$",
    re.M,
)


def test_commands_of_trainings_and_of_what_they_read_are_those_of_before() -> None:
    """Recorded from version 0.1, with the parameters in them. A change that is meant is recorded anew."""
    targets = ("all", "judges", "alignment_grpo")
    options = ("--cores", "2", "--dry-run", "--forceall", "--printshellcmds", *targets)
    done = planner.snakemake(*options, "--configfile", "config/judges.yaml", cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    found = sorted(set(OF_TRAININGS.findall(done.stdout)))
    assert found == sorted(COMMANDS.read_text(encoding="utf-8").splitlines())


def test_the_key_by_which_rl_is_clipped_is_the_rendered_one() -> None:
    text = (ROOT / "rules/train_names.smk").read_text(encoding="utf-8")
    (key,) = re.findall(r'"clipped_by": "([\w.]+)"', text)
    for stage in ("grrm_rlvr", "mt_grpo"):
        assert (
            render_rl(experiment(), stage)[f"actor_rollout_ref.{key}"] == experiment()[stage]["max_grad_norm"]
        )
    rendering = [
        path for path in (ROOT / "rules").glob("*.smk") if "**CLIPPED" in path.read_text(encoding="utf-8")
    ]
    assert {path.name for path in rendering} == {"train.smk", "grrm.smk", "judges.smk", "alignment.smk"}
