"""Whether Slurm would take the jobs: what each rule asks for against partitions, nodes and accounts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grrm.cluster import Request, largest
from grrm.preflight.findings import Finding, failed, failures, ok, unknown, warning
from grrm.preflight.partitions import UNLIMITED, Cluster, Node, Partition

_TABLE = "config/resources.yaml"
# Minutes from the start of a job to its first step (environments from shared storage, weights): a guess.
_START = 15
# Seconds, or a job may be forgotten between two questions.
_MEMORY = 60


@dataclass(frozen=True)
class Job:
    """What a rule's job asks of Slurm.

    Attributes:
        rule: its name.
        asked: nodes, cores, memory and time, from config/resources.yaml.
        most: the same when it has been tried several times.
        kind: cpu, gpu or network, the part of the configuration's section `cluster` that names what follows.
        partition: or several, divided by commas, of which Slurm chooses; None for the cluster's default, and
            likewise account and qos.
        account: who pays.
        qos: quality of service.
        constraint: features of the machines, as sbatch reads them.
        model: of the GPUs, as the cluster names it; None for any.
        extra: further options of sbatch.
    """

    rule: str
    asked: Request
    most: Request
    kind: str
    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    model: str | None
    extra: str | None = None


def job(rule: str, asked: Request, cluster: Mapping[str, Any]) -> Job:
    """A rule's job.

    Args:
        rule: its name.
        asked: see `grrm.cluster.request`.
        cluster: the configuration's section of that name.
    """
    kind = asked.kind
    names = cluster[kind]
    return Job(
        rule,
        asked,
        largest(asked, names["max_runtime"]),
        kind,
        names["partition"],
        cluster["account"],
        names["qos"],
        names["constraint"],
        names["model"] if asked.gpus else None,
        names["extra"],
    )


def sbatch_arguments(job: Job) -> list[str]:
    """Arguments of `sbatch --test-only` for a job."""
    asked = job.asked
    options = {
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "constraint": job.constraint,
        "nodes": asked.nodes,
        "ntasks": asked.nodes,
        "cpus-per-task": asked.threads,
        "gres": ":".join(filter(None, ["gpu", job.model, str(asked.gpus)])) if asked.gpus else None,
        "mem": asked.mem_mb,
        "time": asked.runtime,
    }
    further = shlex.split(job.extra) if job.extra else []
    return [*(f"--{name}={value}" for name, value in options.items() if value is not None), *further]


def check_jobs(jobs: Sequence[Job], cluster: Cluster) -> list[Finding]:
    """What the cluster would object to; a line for each job it would take, one for all without GPUs."""
    findings, plain = [], []
    for job in jobs:
        problems = [*_check_partition(job, cluster), *_check_account(job, cluster)]
        findings += problems
        if not any(problem.status == "failed" for problem in problems):
            if job.asked.gpus:
                findings.append(ok(_subject(job), _describe(job)))
            else:
                plain.append(job)
    if plain:
        memory = max(job.asked.mem_mb for job in plain) / 1000
        minutes = max(job.asked.runtime for job in plain)
        found = f"{len(plain)} rules fit, with up to {memory:.0f} GB and {minutes} min"
        findings.append(ok("slurm without GPUs", f"{plain[0].partition or 'the default partition'}: {found}"))
    return findings


def check_memory_of_jobs(cluster: Cluster) -> list[Finding]:
    """Whether it can be told how a job ended."""
    if cluster.accounts:
        return []
    check, age = "slurm accounts", cluster.remembers
    found = f"none are kept: squeue tells how jobs end, for {age or '?'} s after it"
    if age is not None and age < _MEMORY:
        remedy = "a job that ends unseen counts as failed, and is tried again: ask for a larger MinJobAge"
        return [warning(check, found, remedy)]
    return [ok(check, found)]


def verdict(job: Job, status: int, words: str) -> list[Finding]:
    """What Slurm's own check of a job came to.

    Args:
        job: the job.
        status: exit status of `sbatch --test-only`.
        words: what it printed.
    """
    if status == 0:
        return []
    lines = [
        line.removeprefix("sbatch: ").removeprefix("error: ") for line in words.splitlines() if line.strip()
    ]
    said = next((line for line in lines if "allocation failure" in line), lines[-1] if lines else "no reason")
    remedy = f"correct the section cluster (config/cluster.yaml) or {job.rule} in {_TABLE}"
    return [failed(_subject(job), f"Slurm refuses it: {said.removeprefix('allocation failure: ')}", remedy)]


def check_time(job: Job, minutes: float, step: float, save_steps: int, stop_before: int) -> list[Finding]:
    """Whether a training gets anywhere within the time of one job.

    Args:
        job: that of its rule.
        minutes: of the whole training, at most.
        step: minutes of one step, at most.
        save_steps: between two checkpoints.
        stop_before: seconds before its end that it is told to write one.
    """
    given = job.asked.runtime
    first = _START + min(step * save_steps, step + stop_before / 60)
    if given < first:
        found = f"{given} min end before its first checkpoint (forecast: after up to {first:.0f} min)"
        return [failed(_subject(job), found, f"raise {_runtime(job)}")]
    jobs = -(-minutes // (given - _START))
    if jobs > 1:
        found = f"forecast: up to {_time(minutes)}, which is {jobs:.0f} jobs of {_time(given)}"
        remedy = (
            f"each goes on where the last stopped; let retries in slurm/config.v8+.yaml be {jobs - 1:.0f}"
        )
        return [warning(_subject(job), found, remedy)]
    return []


def _time(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 180 else f"{minutes / 60:.0f} h"


def _check_partition(job: Job, cluster: Cluster) -> list[Finding]:
    """What is wrong with its partition; of several, with all of them unless one would take it."""
    subject, key, known = _subject(job), _named(job, "partition"), ", ".join(cluster.partitions)
    names = _partitions(job) or [name for name, one in cluster.partitions.items() if one.default][:1]
    if not names:
        found = f"names no partition, and the cluster has no default; there are {known}"
        return [failed(subject, found, f"set {key}")]
    # Slurm refuses the whole list for one of them.
    if missing := [name for name in names if name not in cluster.partitions]:
        found = f"partition {missing[0]!r} does not exist; there are {known}"
        return [failed(subject, found, f"set {key}")]
    each = [_check_limits(job, cluster.partitions[name], cluster) for name in names]
    admitting = [findings for findings in each if not failures(findings)]
    return min(admitting, key=len) if admitting else [finding for findings in each for finding in findings]


def _partitions(job: Job) -> list[str]:
    return job.partition.split(",") if job.partition else []


def _check_limits(job: Job, partition: Partition, cluster: Cluster) -> list[Finding]:
    name, asked, findings = partition.name, job.asked, []

    def refuse(found: str, remedy: str) -> None:
        findings.append(failed(_subject(job), found, remedy))

    if partition.state != "UP":
        refuse(f"partition {name} is {partition.state}", f"wait, or set {_named(job, 'partition')}")
    if asked.runtime > partition.max_minutes:
        refuse(
            f"asks for {asked.runtime} min, partition {name} allows {partition.max_minutes:.0f}",
            f"set {_named(job, 'max_runtime')} to {partition.max_minutes:.0f}"
            + (": a training goes on in its next job" if asked.resumable else f", or lower {_runtime(job)}"),
        )
    if not partition.min_nodes <= asked.nodes <= partition.max_nodes:
        most = f" to {partition.max_nodes:.0f}" if partition.max_nodes != UNLIMITED else " or more"
        refuse(
            f"asks for {asked.nodes} nodes, partition {name} allows {partition.min_nodes}{most}",
            f"change hardware.nodes, or set {_named(job, 'partition')}",
        )
    for what, value, allowed, denied in (
        ("account", job.account, partition.allowed_accounts, partition.denied_accounts),
        ("qos", job.qos, partition.allowed_qos, partition.denied_qos),
    ):
        if value is not None and (value in denied or (allowed is not None and value not in allowed)):
            admitted = f"; it admits {', '.join(sorted(allowed))}" if allowed else ""
            refuse(f"partition {name} does not admit {what} {value!r}{admitted}", f"set {_named(job, what)}")
    nodes = [node for node in cluster.nodes if name in node.partitions]
    findings += _check_nodes(job, partition, nodes)
    return findings if failures(findings) else findings + _check_retries(job, partition, nodes)


def _check_retries(job: Job, partition: Partition, nodes: Sequence[Node]) -> list[Finding]:
    """Whether it fits when it is tried again, with more memory and time; Slurm says so by then only."""
    most, name, findings = job.most, partition.name, []
    if most.runtime > partition.max_minutes:
        found = f"tried again, it asks for up to {most.runtime} min, partition {name} allows"
        remedy = f"set {_named(job, 'max_runtime')} to {partition.max_minutes:.0f}"
        findings.append(
            warning(_subject(job), f"{found} {partition.max_minutes:.0f}: it would never start", remedy)
        )
    fitting = [node for node in nodes if node.gpus or not job.asked.gpus]
    memory = min(partition.max_memory, max(node.memory for node in fitting))
    if most.mem_mb > memory:
        found = f"tried again, it asks for up to {most.mem_mb} MB a node, partition {name} has {memory:.0f}"
        remedy = f"lower {_memory_key(job)} of {job.rule} ({_TABLE}), or name a partition of larger nodes"
        findings.append(warning(_subject(job), found, remedy))
    return findings


def _memory_key(job: Job) -> str:
    return "mem_gb_per_gpu" if job.asked.gpus else "mem_gb"


def _check_nodes(job: Job, partition: Partition, nodes: Sequence[Node]) -> list[Finding]:
    """Whether enough nodes of the partition are large enough; the first thing that they lack."""
    subject, where, asked = _subject(job), f"partition {partition.name}", job.asked
    if not nodes:
        return [failed(subject, f"{where} has no nodes", f"set {_named(job, 'partition')}")]
    fitting = [node for node in nodes if node.gpus or not asked.gpus]
    if not fitting:
        found = f"asks for GPUs, the nodes of {where} have none"
        return [failed(subject, found, f"set {_named(job, 'partition')}")]
    if len(fitting) < asked.nodes:
        found = (
            f"asks for {asked.nodes} nodes, {where} has {len(fitting)}{' with GPUs' if asked.gpus else ''}"
        )
        return [failed(subject, found, f"lower hardware.nodes, or set {_named(job, 'partition')}")]
    for fits, found, remedy in [*_gpu_demands(job, nodes, where), *_demands(job, partition, nodes)]:
        fitting = [node for node in fitting if fits(node)]
        if len(fitting) < asked.nodes:
            enough = f"; {len(fitting)} of the {asked.nodes} nodes would do" if fitting else ""
            return [failed(subject, found + enough, remedy)]
    if len([node for node in fitting if not node.away]) < asked.nodes:
        away = next(node for node in fitting if node.away)
        reason = f" ({away.reason})" if away.reason else ""
        found = f"too few of its nodes are in service: {away.name} is {'+'.join(sorted(away.away))}{reason}"
        return [warning(subject, found, "the job will wait until they are back")]
    return []


# Whether a node meets a demand, and what is said and advised where too few do.
_Demand = tuple[Callable[[Node], bool], str, str]


def _gpu_demands(job: Job, nodes: Sequence[Node], where: str) -> list[_Demand]:
    """GPUs of the model asked for, and enough of them."""
    wanted = job.asked.gpus
    if not wanted:
        return []

    def gpus(node: Node) -> int:
        return sum(node.gpus.values()) if job.model is None else node.gpus.get(job.model, 0)

    models = sorted({model for node in nodes for model in node.gpus if model})
    return [
        (
            lambda node: gpus(node) > 0,
            f"asks for GPU model {job.model!r}, {where} has {', '.join(models) or 'GPUs without names'}",
            f"set {_named(job, 'model')}",
        ),
        (
            lambda node: gpus(node) >= wanted,
            f"asks for {wanted} GPUs a node, the nodes of {where} have {max(map(gpus, nodes))} at most",
            "lower hardware.gpus_per_node; more hardware.nodes give as many"
            if job.asked.resumable
            else f"lower evaluate.gpus, or gpus of {job.rule} ({_TABLE})",
        ),
    ]


def _demands(job: Job, partition: Partition, nodes: Sequence[Node]) -> list[_Demand]:
    """Features, cores and memory."""
    asked, where, wanted = job.asked, f"partition {partition.name}", _features(job.constraint)
    features = sorted({feature for node in nodes for feature in node.features})
    most_cores = min(partition.max_cpus, max(node.cpus for node in nodes))
    most_memory = min(partition.max_memory, max(node.memory for node in nodes))
    return [
        (
            lambda node: wanted <= node.features,
            f"asks for nodes with {job.constraint}, {where} has {', '.join(features) or 'no features'}",
            f"set {_named(job, 'constraint')}",
        ),
        (
            lambda node: min(partition.max_cpus, node.cpus) >= asked.threads,
            f"asks for {asked.threads} cores a node, {where} has {most_cores:.0f} at most",
            f"lower threads of {job.rule} ({_TABLE})",
        ),
        (
            lambda node: min(partition.max_memory, node.memory) >= asked.mem_mb,
            f"asks for {asked.mem_mb} MB a node, {where} has {most_memory:.0f} at most",
            f"lower {_memory_key(job)} of {job.rule} ({_TABLE})",
        ),
    ]


def _features(constraint: str | None) -> frozenset[str]:
    """The features that a node must have; none for what only Slurm understands (alternatives, counts)."""
    if constraint is None or not re.fullmatch(r"[\w.-]+(&[\w.-]+)*", constraint):
        return frozenset()
    return frozenset(constraint.split("&"))


def _check_account(job: Job, cluster: Cluster) -> list[Finding]:
    subject, key = _subject(job), _named(job, "account")
    if not cluster.enforced & {"associations", "limits", "qos", "safe", "wckeys", "all"}:
        return []
    if cluster.associations is None:
        return [unknown("slurm account", "the cluster checks accounts, and sacctmgr does not tell yours")]
    mine = sorted({association.account for association in cluster.associations})
    if not mine:
        found = "the cluster demands an account, and you have none"
        return [failed("slurm account", found, f"ask its administrators for one, then set {key}")]
    if job.account is None:
        return []  # Slurm takes the user's default
    usable = [
        association
        for association in cluster.associations
        if association.account == job.account and association.partition in {"", *_partitions(job)}
    ]
    if not usable:
        found = f"account {job.account!r} is not yours here; yours: {', '.join(mine)}"
        return [failed(subject, found, f"set {key}")]
    qualities = frozenset().union(*(association.qos for association in usable))
    if job.qos is not None and job.qos not in qualities:
        known = ", ".join(sorted(qualities))
        found = f"qos {job.qos!r} does not go with account {job.account!r}; these do: {known}"
        return [failed(subject, found, f"set {_named(job, 'qos')}")]
    return []


def _subject(job: Job) -> str:
    return f"slurm {job.rule}"


def _describe(job: Job) -> str:
    asked = job.asked
    nodes = f"{asked.nodes} node{'s' if asked.nodes > 1 else ''} of {asked.gpus} x {job.model or 'GPU'}"
    where = job.partition or "the default partition"
    return f"{where}: {nodes}, {asked.threads} cores, {asked.mem_mb / 1000:.0f} GB, {asked.runtime} min"


def _named(job: Job, what: str) -> str:
    key = "cluster.account" if what == "account" else f"cluster.{job.kind}.{what}"
    return f"{key} (config/cluster.yaml)"


def _runtime(job: Job) -> str:
    return f"runtime of {job.rule} ({_TABLE}), or {_named(job, 'max_runtime')}"
