"""Run the demonstration over several seeds and hold what each learned against the marks set for it.

    .venv/bin/python benchmarks/demo_learning.py --seeds 0 1 2
    .venv/bin/python benchmarks/demo_learning.py --seeds 0 1 2 --judges  # GRPO by the judge before RLVR, too

Marks, for every seed. RLVR raises ranking accuracy by 10 points or more, on pairs without ties and with ties
calibrated as well, each with its 95 % interval above zero. GRPO raises BLEU by 20 or more, its interval above
zero. With --judges: GRPO with the judge after RLVR beats GRPO with the judge before it, the interval of the
paired difference in BLEU above zero. Exit status 1 if a mark is missed. Valid answers fall by some points
(docs/toy_world.md); they are shown, and nothing is claimed of them.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
JUDGES = "config/judge_comparison.yaml"


@dataclass(frozen=True)
class Gain:
    """Scores of two systems, and their paired difference with its 95 % interval."""

    before: float
    after: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Mark:
    """What a metric must gain.

    Attributes:
        metric: its name in the summary.
        points: factor to points.
        gain: the least gain, in points.
        claimed: whether it is a mark at all; else it is shown without one.
    """

    metric: str
    points: float = 100.0
    gain: float = -math.inf
    claimed: bool = True

    def is_met(self, found: Gain) -> bool:
        """Whether a paired difference with its interval is enough."""
        return not self.claimed or (found.value * self.points >= self.gain and found.low > 0)


MARKS = (
    Mark("ranking_accuracy", gain=10),
    Mark("ranking_accuracy_untied"),
    Mark("ranking_accuracy_calibrated"),
    Mark("valid_rate", claimed=False),
    Mark("bleu", points=1, gain=20),
)
JUDGES_MARK = Mark("bleu", points=1)


def main() -> None:
    """Run each seed, then print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--judges", action="store_true", help=f"run {JUDGES} as well")
    args = parser.parse_args()

    header = ["seed", "metric", "before", "after", "gain", "low", "high", "minutes", "mark met"]
    rows = [header]
    missed = 0
    for seed in args.seeds:
        started = time.monotonic()
        summary = run_demo(seed, args.cores, args.judges)
        minutes = (time.monotonic() - started) / 60
        found = [(mark.metric, mark, gain_of(summary, mark.metric)) for mark in MARKS]
        if args.judges:
            found.append(("bleu, by judge", JUDGES_MARK, gain_of_judge(summary, JUDGES_MARK.metric)))
        for name, mark, gain in found:
            passed = mark.is_met(gain)
            missed += not passed
            numbers = [f"{number * mark.points:.1f}" for number in astuple(gain)]
            verdict = ("yes" if passed else "NO") if mark.claimed else "not claimed"
            rows.append([str(seed), name, *numbers, f"{minutes:.1f}", verdict])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for line in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    sys.exit(missed > 0)


def run_demo(seed: int, cores: int, judges: bool) -> dict[str, Any]:
    """Run (or go on with) the demonstration of a seed; its summary."""
    experiment = "demo" if seed == 0 else f"demo_seed{seed}"
    command = [sys.executable, "scripts/run_workflow.py", "--cores", str(cores)]
    overlay = ["--configfile", JUDGES] if judges else []
    settings = ["--config", f"experiment={experiment}", f"seed={seed}"]
    subprocess.run([*command, *overlay, *settings], cwd=ROOT, check=True)
    summary: dict[str, Any] = json.loads((ROOT / "results" / experiment / "summary.json").read_text())
    return summary


def gain_of(summary: Mapping[str, Any], metric: str) -> Gain:
    """What reinforcement learning changed, by the metric of one task."""
    difference = next(entry for entry in summary["differences"] if entry["metric"] == metric)
    scores = {entry["system"]: entry["value"] for entry in summary["scores"] if entry["metric"] == metric}
    before, after = scores[difference["baseline"]], scores[difference["system"]]
    return Gain(before, after, *(difference[key] for key in ("value", "low", "high")))


def gain_of_judge(summary: Mapping[str, Any], metric: str) -> Gain:
    """What GRPO with the judge after RLVR has over GRPO with the one before it."""
    after, before = summary["reward_kinds"]["kinds"]
    less = before["to_first"][metric]
    scores = {name: kind["metrics"][metric]["value"] for name, kind in (("before", before), ("after", after))}
    return Gain(**scores, value=-less["value"], low=-less["high"], high=-less["low"])


if __name__ == "__main__":
    main()
