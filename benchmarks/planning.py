"""Print the time that planning an experiment takes, and fail where it is over what is promised."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Processor seconds promised, by the files laid over the demonstration's configuration.
LIMITS = {"": 3.0, "paper": 5.0, "paper paper_released": 5.0}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--runs", type=int, default=5, help="plans of each configuration, after one that warms up"
    )
    args = parser.parse_args(argv)

    over = False
    for configuration, limit in LIMITS.items():
        planning_seconds(configuration)
        seconds = statistics.median(planning_seconds(configuration) for _ in range(args.runs))
        over |= seconds > limit
        verdict = "OVER" if seconds > limit else "within"
        print(f"{configuration or 'the demonstration':24}{seconds:6.2f} s  {verdict} {limit:g} s", flush=True)
    sys.exit(over)


def planning_seconds(configuration: str) -> float:
    """Processor seconds of a dry run in which everything is to be made."""
    files = [str(ROOT / f"config/{name}.yaml") for name in configuration.split()]
    command = [
        Path(sys.executable).with_name("snakemake"),
        "--cores",
        "1",
        "--dry-run",
        "--forceall",
        "--nolock",
    ]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [*command, *(["--configfile", *files] if files else [])], cwd=ROOT, check=True, capture_output=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
