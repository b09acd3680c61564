"""What a rehearsal leaves for its report: read from the folder of the training before that is removed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from grrm.engines import verl_runs
from grrm.engines.longest_rows import STEPS
from grrm.files import read_jsonl

OUTCOME = "outcome.json"
"""In the folder of a rehearsal: what came of it, also if it failed."""
_OUT_OF_MEMORY = re.compile(
    r"OutOfMemoryError|CUDA out of memory|killed from outside|No space left on device"
)
_OURS = "error: "
# Hydra's, before the traceback that says why.
_SAYS_NOTHING = "Error executing job with overrides"


def first_error(lines: Sequence[str]) -> str:
    """The line of a training's output that says why it failed: of memory or disk, or the first error of all.

    What is said after it (by those who lost a peer, by Ray about its actors) follows from it.
    """
    for line in lines:
        if _OUT_OF_MEMORY.search(line):
            return verl_runs.exception_in(line) or line.strip().removeprefix(_OURS)
    for line in lines:
        exception = verl_runs.exception_in(line)
        if line.startswith(_OURS) or (exception and not exception.startswith(_SAYS_NOTHING)):
            return (exception or line).removeprefix(_OURS)
    return "it said nothing"


def policy_steps(working: Path) -> list[dict[str, float | None]]:
    """verl's metrics of the steps done."""
    return verl_runs.merge_metrics(attempt / "metrics.jsonl" for attempt in verl_runs.attempts(working))


def supervised_steps(times: Path, started: float) -> list[dict[str, float | None]]:
    """Steps of a supervised training: `step`, `seconds` (the first with its start) and perhaps `saving`."""
    rows = read_jsonl(times, cut=True) if times.is_file() else []
    steps: list[dict[str, float | None]] = []
    for row in rows:
        if "step" in row:
            steps.append({"step": row["step"], "seconds": row["at"] - started})
        elif steps:
            steps[-1]["saving"] = row["at"] - started
        started = row["at"]
    return steps


def judgements(working: Path) -> dict[str, Any] | None:
    """What the judge made of the groups of the first step, whose answers may end by themselves.

    Returns:
        counts of `groups`, `judged` and `failed`, and the commonest `reason`; None without groups.
    """
    ledgers = (attempt / "judgements.jsonl" for attempt in verl_runs.attempts(working))
    rows = [row for row in verl_runs.merge_judgements(ledgers) if row["step"] < STEPS]
    if not rows:
        return None
    outcomes = Counter(row["outcome"] for row in rows)
    reasons = Counter(row["reason"] for row in rows if row["outcome"] == "failed")
    return {
        "groups": len(rows),
        "judged": outcomes["judged"],
        "failed": outcomes["failed"],
        "reason": reasons.most_common(1)[0][0] if reasons else None,
    }


def checkpoint_bytes(working: Path) -> int | None:
    """Size of the checkpoint of the last step; None if there is none."""
    folders = [working / name for name in (f"global_step_{STEPS}", f"checkpoint-{STEPS}")]
    return next((_size(folder.rglob("*")) for folder in folders if folder.is_dir()), None)


def _size(files: Iterable[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())
