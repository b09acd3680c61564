"""Whether jobs of an earlier run are still at work where this one would train."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

from grrm.lock import read_holder
from grrm.preflight.findings import Finding, failed


def check_trainings(
    results: Path, trained: Collection[str] | None, state_of: Callable[[str, str | None], str | None]
) -> list[Finding]:
    """Failures for trainings that would find their checkpoints held by a Slurm job that lives.

    A second job would wait for the first within an allocation of its own, give up, and be submitted again:
    GPUs for nothing.

    Args:
        results: folder of the experiment.
        trained: models that are to be made; None for all that are not there yet.
        state_of: Slurm's word for the state of a job, given its number and its cluster; None if it has ended.
    """
    findings = []
    for lock in sorted((results / "checkpoints").glob("*.lock")):
        name = lock.name.removesuffix(".lock")
        wanted = not (results / "models" / name).exists() if trained is None else name in trained
        holder = read_holder(lock) if wanted else None
        if holder is None or holder.job is None:
            continue
        if state := state_of(holder.job, holder.cluster):
            found = f"{lock}: Slurm job {holder.job} of an earlier run is at work there ({state})"
            remedy = f"wait until it has ended, or scancel {holder.job}; then the same command goes on"
            findings.append(failed(f"training {name}", found, remedy))
    return findings
