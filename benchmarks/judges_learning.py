"""Train the judges of the demonstration over several seeds and hold what each learned against the marks.

    .venv/bin/python benchmarks/judges_learning.py --seeds 0 1 2

Marks, for every seed: the agreement of the pointwise, the pairwise and the Bradley-Terry judge with held-out
annotations rises through training, and the 95 % interval of each difference lies above zero; the position
bias of the pairwise judge falls. Exit status 1 if a mark is missed.
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
# Kind, metric, and the direction in which training must move it.
MARKS = [
    ("pointwise", "agreement", 1),
    ("pairwise", "agreement", 1),
    ("pairwise", "position_bias", -1),
    ("bradley_terry", "agreement", 1),
]


def main() -> None:
    """Run each seed, then print one table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()

    header = [
        "seed",
        "judge",
        "metric (%)",
        "before",
        "after",
        "change",
        "low",
        "high",
        "minutes",
        "mark met",
    ]
    rows: list[list[str]] = []
    missed = 0
    for seed in args.seeds:
        started = time.monotonic()
        folder = run_judges(seed, args.cores)
        minutes = (time.monotonic() - started) / 60
        for kind, metric, direction in MARKS:
            document = json.loads((folder / f"evaluation/judge_{kind}.json").read_text())
            before, after, difference = estimates(document, metric)
            passed = min(direction * difference[bound] for bound in ("low", "high")) > 0
            missed += not passed
            change = [difference[key] for key in ("value", "low", "high")]
            row = [f"{100 * number:.1f}" for number in (before["value"], after["value"], *change)]
            rows.append([str(seed), kind, metric, *row, f"{minutes:.1f}", "yes" if passed else "NO"])
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, *rows]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
    sys.exit(missed > 0)


def run_judges(seed: int, cores: int) -> Path:
    """Run (or go on with) the judges of a seed; the folder of its results."""
    experiment = "judges" if seed == 0 else f"judges_seed{seed}"
    command = [sys.executable, "scripts/run_workflow.py", "--cores", str(cores), "judges"]
    command += ["--configfile", "config/judges.yaml", "--config", f"experiment={experiment}", f"seed={seed}"]
    subprocess.run(command, cwd=ROOT, check=True)
    return ROOT / "results" / experiment


def estimates(document: dict[str, Any], metric: str) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Of a metric: before training, after, and their paired difference."""
    before, after = document["systems"]
    difference = document["differences"][0]
    return before["metrics"][metric], after["metrics"][metric], difference["metrics"][metric]


if __name__ == "__main__":
    main()
