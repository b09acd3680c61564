"""The command by which the documentation trains one stage anew, in an experiment that is finished."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import planner
from workspace import PARTS, ROOT, lay_out

DOCUMENTED = re.compile(r"^rm -r (\S+) && \.venv/bin/snakemake ([^#\n]+)", re.M)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which every output of the demonstration is there, and as old as all others."""
    folder = tmp_path_factory.mktemp("finished")
    lay_out(folder, copied=PARTS)
    _, *rows = snakemake(folder, "--summary").splitlines()
    outputs = [folder / row.split("\t")[0] for row in rows]
    for output in outputs:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.touch() if output.suffix else output.mkdir(exist_ok=True)
    for output in outputs:
        os.utime(output, (2e9, 2e9))
    return folder


def snakemake(folder: Path, *arguments: str) -> str:
    done = planner.snakemake("--cores", "2", *arguments, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_documented_command_trains_that_stage_and_no_other(finished: Path) -> None:
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in ("README.md", "docs/interruptions.md")]
    (found,) = {(match[1], match[2].strip()) for page in pages for match in DOCUMENTED.finditer(page)}
    folder, arguments = found[0], found[1].split()
    # Rendered as well, to see where the checkpoints lie.
    forced = [*arguments, "render_mt_grpo"]
    plan = snakemake(finished, "--dry-run", "-p", "--rerun-triggers", "mtime", *forced)
    rules = set(re.findall(r"^(\w+) +\d+$", plan, re.M))
    assert {rule for rule in rules if rule.startswith("train_")} == {"train_mt_grpo"}
    assert {"translate_segments", "render_report"} <= rules
    assert f"--checkpoints {folder} " in plan


def test_a_further_order_of_the_candidates_asks_for_none_of_the_others_again(finished: Path) -> None:
    snakemake(finished, "--touch", "--forceall", "score_rankings")
    plan = snakemake(finished, "--dry-run", "score_rankings", "--config", "evaluate={'orders': 2}")
    rules = dict(re.findall(r"^(\w+) +(\d+)$", plan, re.M))
    assert rules == {"rank_shuffled_candidates": "2", "score_rankings": "1", "total": "3"}
