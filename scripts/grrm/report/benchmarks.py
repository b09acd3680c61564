"""Time and memory of each rule, from Snakemake's benchmark files."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

from grrm.files import UserError


def read_benchmarks(folder: Path) -> list[dict[str, Any]]:
    """One entry per job, in the order of their names: seconds, cpu_seconds and max_rss_mb (None if not
    measured).

    Raises:
        UserError: the folder is missing, or a file is not a benchmark of Snakemake.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it should hold the benchmark files of the run")
    return [_read(path) for path in sorted(folder.glob("*.tsv"))]


def _read(path: Path) -> dict[str, Any]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        row = rows[-1]
        return {
            "job": path.stem,
            "seconds": float(row["s"]),
            "cpu_seconds": _measured(row["cpu_time"]),
            "max_rss_mb": _measured(row["max_rss"]),
        }
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: not a benchmark file of Snakemake ({type(error).__name__}: {error}); remove it and run "
            "its rule again"
        ) from error


def _measured(text: str) -> float | None:
    """Snakemake writes NA or - for jobs that ended before it looked."""
    return None if text in {"NA", "-", "nan"} else float(text)
