"""Time and memory of each rule, from Snakemake's benchmark files."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.catalogue.metrics import METRICS
from grrm.config import STAGES
from grrm.files import UserError, read_lines


def read_benchmarks(folder: Path) -> list[dict[str, Any]]:
    """One entry per job, in the order of their names: seconds, cpu_seconds and max_rss_mb (None if not
    measured).

    Raises:
        UserError: the folder is missing, or a file is not a benchmark of Snakemake.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; it should hold the benchmark files of the run")
    return [_read(path) for path in sorted(folder.glob("*.tsv"))]


def by_stage(benchmarks: Sequence[Mapping[str, Any]], gpus: int) -> list[dict[str, Any]]:
    """Hours of each stage: its jobs one after the other.

    Args:
        benchmarks: see `read_benchmarks`.
        gpus: that a training job holds, 0 on a CPU.

    Returns:
        stage, jobs, hours, cpu_hours (None if no job was measured), gpu_hours, max_rss_mb (of the largest
        job, None if none was measured); data first, then the stages as they are run, evaluation last.
    """
    members: dict[str, list[Mapping[str, Any]]] = {}
    for job in benchmarks:
        members.setdefault(stage_of(job["job"]), []).append(job)
    others = set(members) - {"data", "evaluation", *STAGES}
    trained = [*(stage for stage in STAGES if stage in members), *sorted(others)]
    stages = []
    for stage in (name for name in ("data", *trained, "evaluation") if name in members):
        jobs = members[stage]
        cpu = [job["cpu_seconds"] for job in jobs if job["cpu_seconds"] is not None]
        memory = [job["max_rss_mb"] for job in jobs if job["max_rss_mb"] is not None]
        training = sum(job["seconds"] for job in jobs if job["job"].startswith("train_"))
        stages.append(
            {
                "stage": stage,
                "jobs": len(jobs),
                "hours": sum(job["seconds"] for job in jobs) / 3600,
                "cpu_hours": sum(cpu) / 3600 if cpu else None,
                "gpu_hours": training * gpus / 3600 if stage in trained else 0.0,
                "max_rss_mb": max(memory, default=None),
            }
        )
    return stages


def with_used_gpu_hours(
    stages: Sequence[Mapping[str, Any]], efficiency: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """The stages with the GPU-hours that measure_efficiency found: of all launches of a training, and of the
    jobs that are none."""
    used = {entry["stage"]: entry["gpu_hours"] for entry in efficiency["stages"]}
    others: dict[str, float] = {}
    for job in efficiency["other"]:
        stage = stage_of(job["job"])
        others[stage] = others.get(stage, 0.0) + (job["gpu_hours"] or 0.0)
    return [
        {**stage, "gpu_hours": (used.get(stage["stage"]) or 0.0) + others.get(stage["stage"], 0.0)}
        for stage in stages
    ]


def stage_of(job: str) -> str:
    """The training stage that a job belongs to, else data or evaluation."""
    if job.startswith("take_checkpoint") or job.removeprefix("train_") in METRICS:
        return "evaluation"
    if own := re.fullmatch(r"(?:prepare|train)_(.+?)(?:_validation)?", job):
        return own[1]
    from_data = ("make_", "check_", "convert_", "collect_", "download_", "fetch_", "lock_", "take_")
    return "data" if job.startswith(from_data) else "evaluation"


def _read(path: Path) -> dict[str, Any]:
    rows = list(csv.DictReader(read_lines(path), delimiter="\t"))
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
