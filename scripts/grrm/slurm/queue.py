"""What Slurm says about jobs: which of this workflow's are in the queue, and what its words come to."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grrm.files import PassingError

AGAIN = (0.5, 5.0, 15.0, 40.0)
"""Seconds after which Slurm is asked again by whoever has nothing better to do than to wait."""
_SECONDS = 60
# Reasons for which a job waits until somebody does something about it, as squeue says them.
_STUCK = re.compile(
    r"held|BadConstraints|PartitionTimeLimit|PartitionNodeLimit|DependencyNeverSatisfied"
    r"|(Account|QOS)NotAllowed|Invalid(Account|QOS)",
    re.I,
)
# What sbatch says when the same request may be taken later: nobody answers, or the queue is full.
_PASSING = re.compile(
    r"Unable to contact|timed? ?out|Connection (refused|reset)|Communication connection failure|Zero Bytes"
    r"|temporarily|Socket|MaxSubmit|inactive or drain|not available now|Slurm backup controller|try again",
    re.I,
)
# One text for a full queue and for a request that is too large for its account.
_POLICY, _LIMIT = "job submit limit", re.compile(r"\b(Assoc|QOS)\w*Limit\b")


@dataclass(frozen=True)
class Queued:
    """A job in the queue.

    Attributes:
        number: Slurm's.
        state: such as PENDING.
        reason: why it waits.
        name: see `job_name`.
        folder: it was submitted from.
    """

    number: str
    state: str
    reason: str
    name: str
    folder: str

    def is_stuck(self) -> bool:
        """Whether it waits for somebody to do something about it."""
        return self.state in ("PENDING", "REQUEUE_HOLD", "SPECIAL_EXIT") and bool(_STUCK.search(self.reason))


def job_name(experiment: str, rule: str, wildcards: Iterable[str], prefix: str = "") -> str:
    """The name of a job in the queue: experiment, rule, and of which of its files."""
    parts = [prefix, experiment, rule, *wildcards]
    return ".".join(re.sub(r"[^\w+-]", "_", part) for part in parts if part)


def parse_queue(text: str) -> list[Queued]:
    """Jobs from `squeue --noheader --format=%i|%T|%r|%j|%Z`."""
    return [Queued(*line.strip().split("|", 4)) for line in text.splitlines() if line.count("|") >= 4]


def ask(*command: str, variables: Mapping[str, str] | None = None, again: Sequence[float] = ()) -> str:
    """What a command of Slurm's prints.

    An answer is lost when the controller is busy or restarted, and when a job is suspended while it asks.

    Args:
        command: program and arguments.
        variables: its environment; that of this process by default.
        again: seconds to wait before each further try, where what Slurm said may be over by itself.

    Raises:
        PassingError: Slurm does not answer.
    """
    try:
        done = subprocess.run(
            command,
            env=variables,
            capture_output=True,
            text=True,
            errors="replace",  # of comments on machines, which may be in any encoding
            timeout=_SECONDS,
            check=True,
        )
        return done.stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        said = why_unanswered(error)
        if not again or not is_passing(said):
            raise PassingError(f"Slurm does not answer `{' '.join(command)}`: {said}") from error
    time.sleep(again[0])
    return ask(*command, variables=variables, again=again[1:])


def why_unanswered(error: Exception) -> str:
    """Why a command gave no answer: what it printed, else what happened to it."""
    if isinstance(error, FileNotFoundError):
        return f"{error.filename} is not on this machine"
    # What a command printed that was out of time is bytes.
    printed = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else ""
    return printed or str(error)


def own_jobs(again: Sequence[float] = ()) -> list[Queued]:
    """This user's jobs that wait or run.

    Args:
        again: see `ask`.

    Raises:
        PassingError: Slurm does not answer.
    """
    return parse_queue(ask("squeue", "--me", "--noheader", "--format=%i|%T|%r|%j|%Z", again=again))


def check_queue(names: Collection[str], folder: Path, queue: Iterable[Queued]) -> str:
    """What an earlier run in this folder has left in the queue of what is to be submitted, in words.

    Args:
        names: of the jobs that are to be submitted.
        folder: of the workflow.
        queue: the user's jobs.

    Returns:
        What is there and what to do; empty if nothing is.
    """
    here = os.path.realpath(folder)
    left = [job for job in queue if job.name in names and os.path.realpath(job.folder) == here]
    if not left:
        return ""
    jobs = ", ".join(f"{job.number} ({job.name}, {job.state})" for job in left)
    numbers = " ".join(job.number for job in left)
    return (
        f"Slurm has jobs of an earlier run in this folder: {jobs}. Wait until they have ended, or `scancel "
        f"{numbers}`; then the same command goes on. Nothing was submitted"
    )


def is_passing(words: str) -> bool:
    """Whether what sbatch said against a job may be over by itself."""
    if _POLICY in words:  # said of several things; newer versions name the limit
        named = [match[0] for match in _LIMIT.finditer(words)]
        return all("MaxSubmit" in name for name in named)
    return bool(_PASSING.search(words))


def keeps_accounts(config: str) -> bool:
    """Whether a cluster keeps accounts, so that sacct says something, from `scontrol show config`."""
    kept = re.search(r"^AccountingStorageType\s*=\s*(\S+)", config, re.M)
    return kept is None or not kept[1].endswith(("none", "(null)"))


def why_not_again(state: str, status: int | None, attempt: int) -> str:
    """Why a job that failed is not tried again, in words; empty if it is.

    Args:
        state: Slurm's word for how it ended.
        status: exit status of its script; None if that ended otherwise (killed, or lost with its machine).
        attempt: how often it has been tried.
    """
    if state == "CANCELLED":
        return "it was cancelled (scancel)"
    if state != "FAILED":
        return ""
    if status == 2:
        return "its error would be the same (exit status 2)"
    if status == os.EX_SOFTWARE and attempt > 1:
        return "it has failed in this way before (exit status 70)"
    return ""


def describe_plan(jobs: Iterable[tuple[str, bool]]) -> str:
    """How many jobs of a plan go to Slurm's queue, in words.

    Args:
        jobs: rule of each, and whether it runs where Snakemake runs.
    """
    all_jobs = list(jobs)
    queued = Counter(rule for rule, here in all_jobs if not here)
    rules = ", ".join(f"{count} {rule}" if count > 1 else rule for rule, count in queued.items())
    named = f" ({rules})" if rules else ""
    return f"Slurm: {queued.total()} of {len(all_jobs)} jobs go to the queue{named}; the others run here."
