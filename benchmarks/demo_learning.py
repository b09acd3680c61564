"""Run the demonstration over several seeds and hold what each learned against the marks set for it.

    .venv/bin/python benchmarks/demo_learning.py --seeds 0 1 2

Marks, for every seed: RLVR raises ranking accuracy by 10 points or more, GRPO raises BLEU by 20 or more, and
the 95 % interval of each difference lies above zero. Exit status 1 if a mark is missed.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# metric: (smallest gain, factor to points)
MARKS = {"ranking_accuracy": (10.0, 100.0), "bleu": (20.0, 1.0)}


def main() -> None:
    """Run each seed, then print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()

    rows: list[list[object]] = []
    missed = 0
    for seed in args.seeds:
        started = time.monotonic()
        summary = run_demo(seed, args.cores)
        minutes = (time.monotonic() - started) / 60
        for metric, (mark, points) in MARKS.items():
            before, after, difference = records(summary, metric)
            gain, low, high = (difference[key] * points for key in ("value", "low", "high"))
            passed = gain >= mark and low > 0
            missed += not passed
            numbers = [before["value"] * points, after["value"] * points, gain, low, high, minutes]
            rows.append([seed, metric, *(f"{number:.1f}" for number in numbers), "yes" if passed else "NO"])
    header = ["seed", "metric", "before", "after", "gain", "low", "high", "minutes", "mark met"]
    widths = [max(len(str(line[i])) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, *rows]:
        print("  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)))
    sys.exit(missed > 0)


def run_demo(seed: int, cores: int) -> dict[str, Any]:
    """Run (or go on with) the demonstration of a seed; its summary."""
    experiment = "demo" if seed == 0 else f"demo_seed{seed}"
    command = [sys.executable, "scripts/run_workflow.py", "--cores", str(cores), "--config"]
    subprocess.run([*command, f"experiment={experiment}", f"seed={seed}"], cwd=ROOT, check=True)
    summary: dict[str, Any] = json.loads((ROOT / "results" / experiment / "summary.json").read_text())
    return summary


def records(summary: dict[str, Any], metric: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The summary's records of a metric: before, after, and their paired difference."""
    difference = next(entry for entry in summary["differences"] if entry["metric"] == metric)
    scores = {entry["system"]: entry for entry in summary["scores"] if entry["metric"] == metric}
    return scores[difference["baseline"]], scores[difference["system"]], difference


if __name__ == "__main__":
    main()
