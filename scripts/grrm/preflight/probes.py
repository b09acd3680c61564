"""Asking the tools of this machine: Slurm's commands and nvidia-smi."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.preflight.compiler import check_compiler
from grrm.preflight.findings import Finding, failed, failures
from grrm.preflight.gpus import (
    QUERY,
    USE_QUERY,
    Gpu,
    GpuUse,
    check_gpus,
    chosen_gpus,
    cuda_of_environment,
    parse_gpus,
    parse_use,
)
from grrm.preflight.jobs import Job, check_jobs, check_memory_of_jobs, sbatch_arguments, verdict
from grrm.preflight.machine import LOOK, Asked, check_machine, check_quota
from grrm.preflight.partitions import Cluster, parse_cluster
from grrm.slurm.queue import AGAIN, ask

_SECONDS = 30
_NOT_FOUND = 127
# States of a job that has processes, or will have them again: one that was requeued is pending.
_ALIVE = {"PENDING", "CONFIGURING", "RUNNING", "SUSPENDED", "STOPPED", "REQUEUED", "REQUEUE_HOLD"}


def ask_slurm(jobs: Sequence[Job]) -> list[Finding]:
    """Findings about jobs on the cluster whose commands are here; nothing is submitted."""
    try:
        cluster = _cluster()
        findings = [*check_jobs(jobs, cluster), *check_memory_of_jobs(cluster)]
    except UserError as error:
        return [
            failed("slurm", str(error), "run it on a login node of the cluster, or without --profile slurm")
        ]
    # Slurm's own word on those that nothing is known against: limits of accounts, rules of the site.
    refused = {finding.check for finding in findings if finding.status == "failed"}
    alike = {tuple(sbatch_arguments(job)): job for job in jobs if f"slurm {job.rule}" not in refused}
    for arguments, job in alike.items():
        findings += verdict(job, *_run("sbatch", "--test-only", *arguments, "--wrap=true"))
    return findings


def ask_for_compiler(python: str) -> Finding:
    """Whether this machine, which runs a GPU job, has what Triton compiles with."""
    return check_compiler(*_run(python, "-c", LOOK), "this machine")


def look_at_machine(
    python: str, cuda: Mapping[str, str | None], job: Job | None, *, compiles: bool
) -> list[Finding]:
    """Findings about a machine that runs jobs.

    Args:
        python: interpreter of an environment of theirs.
        cuda: of each environment that runs on GPUs.
        job: whose compute nodes are asked, if one is free at once; None for this machine.
        compiles: whether such a job needs a compiler.
    """
    where = "this machine" if job is None else "a compute node"
    asked = Asked(where, python, str(Path.cwd()), cuda)
    answer = _run(*([] if job is None else _on_a_node(job)), python, "-c", LOOK, sys.executable)
    findings = check_machine(asked, *answer)
    if compiles and not failures(findings):
        findings.append(check_compiler(*answer, where))
    return findings


def home_quota() -> list[Finding]:
    """Findings about the user's quota, where it can be asked for."""
    return check_quota(_run("quota", "-w", "-p")[1], str(Path.home()))


def _on_a_node(job: Job) -> list[str]:
    """The beginning of a command that runs on a compute node of a job's, with little of it."""
    chosen = {
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "constraint": job.constraint,
    }
    options = [f"--{name}={value}" for name, value in chosen.items() if value is not None]
    small = ["--immediate=20", "--nodes=1", "--ntasks=1", "--cpus-per-task=1", "--time=1", "--quiet"]
    return ["srun", *small, *options]


def living_state(job: str, cluster: str | None) -> str | None:
    """The state of a Slurm job, such as RUNNING; None if it has ended, or if Slurm here does not know it.

    Args:
        job: its number.
        cluster: the name of the cluster that it was given on; None if that is not known.
    """
    own = re.search(r"^ClusterName\s*=\s*(\S+)", _run("scontrol", "show", "config")[1], re.M)
    if cluster and own and own[1] != cluster:
        return None  # the number is another job's here
    status, words = _run("squeue", "--noheader", "--states", "all", "--jobs", job, "--format", "%T")
    return next((state for state in words.split() if state in _ALIVE), None) if status == 0 else None


def visible_gpus() -> tuple[list[Gpu] | None, str]:
    """The GPUs that a program of this machine sees (None without nvidia-smi), and what nvidia-smi printed.

    nvidia-smi shows all of them, whatever CUDA_VISIBLE_DEVICES says; if that leaves none, it is what is said.
    """
    status, words = _run("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits")
    if status == _NOT_FOUND:
        return None, words
    there, devices = parse_gpus(words), os.environ.get("CUDA_VISIBLE_DEVICES")
    chosen = chosen_gpus(there, devices)
    return chosen, f"CUDA_VISIBLE_DEVICES is {devices!r}" if there and not chosen else words


def used_memory() -> list[GpuUse]:
    """What the GPUs that a program of this machine sees have in use now; none without nvidia-smi."""
    status, words = _run("nvidia-smi", f"--query-gpu={USE_QUERY}", "--format=csv,noheader,nounits")
    return parse_use(words, os.environ.get("CUDA_VISIBLE_DEVICES")) if status == 0 else []


def require_gpus(wanted: int, python: str) -> None:
    """Before a training, on the machine that has its GPUs: stop if they are too few, or their driver too old.

    Does nothing where nvidia-smi is missing, as in some containers.

    Args:
        wanted: GPUs of this machine.
        python: interpreter of the training's environment.

    Raises:
        UserError: see there.
    """
    gpus, said = visible_gpus()
    if gpus is None:
        return
    cuda = _cuda_of(python)
    for finding in failures([ask_for_compiler(python)]):
        # Not every training compiles.
        print(f"warning: {finding.found}; {finding.remedy}", flush=True)
    if broken := failures(check_gpus(gpus, wanted, said, {"this environment": cuda})):
        raise UserError(f"{broken[0].check}: {broken[0].found}; {broken[0].remedy}")


def _cuda_of(python: str) -> str | None:
    """The version of CUDA of an interpreter's torch; None without it."""
    # With conda or a container it is `python`, whatever that is there.
    found = shutil.which(python) or python
    return cuda_of_environment(Path(found).absolute().parent.parent)


def training_hardware(machines: int, gpus: int) -> dict[str, Any]:
    """What a training that starts here runs on; nothing in it names a machine.

    Args:
        machines: their number.
        gpus: that the training uses of each; 0 on CPUs.

    Returns:
        `machines`; of each, this one standing for all, `gpus` (their number by name, none on CPUs) and
        `cores` (usable ones).
    """
    return {"machines": machines, "gpus": dict(Counter(_names(gpus))), "cores": usable_cores()}


def _names(gpus: int) -> list[str]:
    """The first GPUs that CUDA may use here."""
    if not gpus:
        return []
    found = visible_gpus()[0] or []
    return [gpu.name for gpu in found][:gpus] or ["GPU of unknown name"] * gpus


def usable_cores() -> int:
    """Cores of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def image_labels(image: Path) -> str:
    """The labels of a container image, or why they cannot be read."""
    return _run("apptainer", "inspect", "--labels", str(image))[1]


def _cluster() -> Cluster:
    answers = {}
    for what in ("partition", "node", "config"):
        oneliner = [] if what == "config" else ["--oneliner"]
        answers[what] = ask("scontrol", *oneliner, "show", what, again=AGAIN)
    columns = "format=Account,Partition,QOS"
    status, words = _run(
        *("sacctmgr", "--noheader", "--parsable2", "show", "associations"),
        *(f"user={getpass.getuser()}", columns),
    )
    associations = words if status == 0 else None
    return parse_cluster(answers["partition"], answers["node"], answers["config"], associations)


def _run(*command: str) -> tuple[int, str]:
    """Exit status and output of a command; 127 if it is not there, 124 if it does not answer."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=_SECONDS,
        )
    except FileNotFoundError:
        return _NOT_FOUND, f"{command[0]} is not on this machine"
    except subprocess.TimeoutExpired:
        return 124, f"{command[0]} did not answer within {_SECONDS} s"
    return done.returncode, done.stdout
