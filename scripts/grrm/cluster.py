"""What each rule asks of a cluster: config/resources.yaml and the section `cluster` of the configuration.

Imported while the Snakefile is parsed, so nothing heavy is imported here.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

from grrm.catalogue.trainings import of_part
from grrm.config import grpo_runs, has_alignment_judge, is_served_apart, resolve, scoring_model_of
from grrm.config.rehearsal import RULES, rehearsed
from grrm.files import UserError, read_yaml

Attempts = Callable[[Any, int], int]
"""A resource that depends on the attempt, as Snakemake calls it: (wildcards, attempt)."""
_COMPILED = {
    "TRITON_CACHE_DIR": "triton",
    "TORCHINDUCTOR_CACHE_DIR": "inductor",
    "VLLM_CACHE_ROOT": "vllm",
    "HF_DATASETS_CACHE": "datasets",
}
_SET = "GRRM_CACHES"
_DOWNLOADED = {"UV_CACHE_DIR": "uv", "HF_HUB_CACHE": "hub", "HF_XET_CACHE": "xet"}
_MOST_TIMES = 3  # of memory and time; or the last of many tries would ask for what no machine has


@dataclass(frozen=True)
class Request:
    """What a rule asks for, at its first attempt.

    Attributes:
        nodes: machines.
        gpus: of each machine; 0 without a GPU.
        threads: cores of each machine.
        mem_mb: memory of each machine, in MB (10^6 bytes).
        runtime: minutes; with `resumable` at one time.
        disk_mb: what it writes, in MB.
        resumable: a training that writes a checkpoint before its time is over and goes on in another job.
        where: queue; here, where Snakemake runs, as it takes seconds; network, here as well unless the
            cluster has a partition with access to the internet.
    """

    nodes: int
    gpus: int
    threads: int
    mem_mb: int
    runtime: int
    disk_mb: int
    resumable: bool
    where: str = "queue"

    @property
    def kind(self) -> str:
        """The part of the configuration's section `cluster` that names partition and the like."""
        return "gpu" if self.gpus else "network" if self.where == "network" else "cpu"


def load_resources(path: str | Path, schema: str | Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The table of resources.

    Args:
        path: config/resources.yaml.
        schema: its JSON schema.
        changes: entries of rules that are laid over the table's.

    Raises:
        UserError: the file is missing, is not YAML or breaks its schema; the message names the key.
    """
    try:
        table = read_yaml(path)
        for rule, entry in changes.items():
            below = table["rules"].setdefault(rule, {})
            cuda = {**below.get("cuda", {}), **entry.get("cuda", {})}
            table["rules"][rule] = {**below, **entry, **({"cuda": cuda} if cuda else {})}
        return resolve(table, schema)
    except (AttributeError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not a table of resources ({error!r})") from error
    except UserError as error:
        raise UserError(f"{path}, or key 'resources': {error}") from error


def check_rules(changes: Iterable[str], table: Mapping[str, Any], rules: Collection[str]) -> None:
    """See that the rules exist of which the configuration changes something (`resources`).

    Args:
        changes: their names.
        table: config/resources.yaml, which also has rules that this configuration does not include.
        rules: of the workflow, the user's own too.

    Raises:
        UserError: a rule does not exist; the message has the nearest names.
    """
    known = {*table["rules"], *rules}
    wrong = [name for name in changes if name not in known]
    if wrong:
        near = difflib.get_close_matches(wrong[0], sorted(known), n=3) or sorted(known)
        raise UserError(
            f"configuration: key 'resources' names {', '.join(wrong)}, no rule of that name; expected one "
            f"such as {', '.join(near)}"
        )


def request(rule: str, table: Mapping[str, Any], config: Mapping[str, Any], run: str = "mt_grpo") -> Request:
    """What `rule` asks for.

    Args:
        rule: its name; one that the table does not name gets the default.
        table: see `load_resources`.
        config: the checked configuration.
        run: of the rule train_mt_grpo, which trains with every kind of reward that is compared
            (`grrm.config.grpo_runs`; one of the user's own counts as the experiment's); of no matter to
            other rules.

    Raises:
        UserError: the table names a key for the threads or the GPUs that the configuration does not have.
    """
    entry = _entry(rule, table, config)
    nodes, gpus = _devices(rule, entry.get("gpus", 0), config, run)
    memory = entry["mem_gb_per_gpu"] * gpus if gpus and "mem_gb_per_gpu" in entry else entry["mem_gb"]
    asked = Request(
        nodes=nodes,
        gpus=gpus,
        threads=_number(rule, "threads", entry["threads"], config),
        mem_mb=math.ceil(memory * 1000),
        runtime=entry["runtime"],
        disk_mb=math.ceil(entry["disk_gb"] * 1000),
        resumable=entry["resumable"],
        where=entry["where"],
    )
    limit = config["cluster"][asked.kind]["max_runtime"]
    return replace(asked, runtime=min(asked.runtime, limit or asked.runtime))


def local_rules(table: Mapping[str, Any], cluster: Mapping[str, Any]) -> list[str]:
    """Rules of the table whose jobs run where Snakemake runs, on the login node of a cluster.

    Args:
        table: see `load_resources`.
        cluster: the section of that name.
    """
    here = {"here"} if cluster["network"]["partition"] else {"here", "network"}
    return [rule for rule, entry in table["rules"].items() if {**table["default"], **entry}["where"] in here]


def devices(rule: str, table: Mapping[str, Any], config: Mapping[str, Any], run: str = "mt_grpo") -> int:
    """GPUs that `rule` holds on all its nodes, see `request`; nothing else is looked up.

    Raises:
        UserError: the table names a key for the GPUs that the configuration does not have.
    """
    nodes, gpus = _devices(rule, _entry(rule, table, config).get("gpus", 0), config, run)
    return nodes * gpus


def _entry(rule: str, table: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a rule in the table, as it holds for the experiment's devices."""
    entry = {**table["default"], **table["rules"].get(rule, {})}
    on_gpus = entry.pop("cuda", {})
    return entry | on_gpus if config["hardware"]["device"] == "cuda" else entry


def requests(rule: str, table: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Request]:
    """What `rule` asks for in every run of GRPO, see `request`; the same in all of them for most rules.

    A rehearsal asks for what its training does, by the training's name, but for no more time than
    `rehearsal.minutes`.
    """
    rows = [row for row in rehearsed(config) if row.engine in RULES[rule]] if rule in RULES else []
    if rows:
        asked = {row.name: request(f"train_{row.rule_name}", table, config) for row in rows}
        return {
            name: replace(one, runtime=min(one.runtime, config["rehearsal"]["minutes"]))
            for name, one in asked.items()
        }
    return {run: request(rule, table, config, run) for run in grpo_runs(config)}


def _devices(rule: str, gpus: int | str, config: Mapping[str, Any], run: str) -> tuple[int, int]:
    """Nodes and GPUs of each."""
    hardware = config["hardware"]
    if gpus != "all":
        # A training without GPUs may still be spread over machines.
        spread = rule in {f"train_{training.rule_name}" for training in of_part("")}
        return hardware["nodes"] if spread and not gpus else 1, _number(rule, "gpus", gpus, config)
    reward = _served_apart(rule, config, run)
    if reward is None:
        return hardware["nodes"], hardware["gpus_per_node"]
    per_node = max(hardware["gpus_per_node"], reward["gpus_per_node"])
    return hardware["nodes"] + reward["nodes"], per_node


def _served_apart(rule: str, config: Mapping[str, Any], run: str) -> Mapping[str, Any] | None:
    """The section reward of a training whose judge has nodes of its own; None for all others."""
    reward: Mapping[str, Any]
    if rule == "train_mt_grpo":
        runs = grpo_runs(config)
        reward = runs.get(run, next(iter(runs.values())))
        judge = scoring_model_of(reward)
    elif rule == "train_alignment_grpo" and config["alignment"] is not None:
        reward = config["alignment"]["grpo"]["reward"]
        judge = "alignment_judge" if has_alignment_judge(config["alignment"]) else None
    else:
        return None
    return reward if is_served_apart(reward, judge) else None


def _number(rule: str, what: str, said: int | str, config: Mapping[str, Any]) -> int:
    """A number of the table, or the one under the key of the configuration that the table names."""
    if isinstance(said, int):
        return said
    value: Any = config
    for key in said.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(value, int):
        raise UserError(
            f"config/resources.yaml, key rules.{rule}.{what}: the configuration has no number {said!r}"
        )
    return value


def snakemake_resources(asked: Request, cluster: Mapping[str, Any]) -> dict[str, int | str | Attempts]:
    """A request in the words of Snakemake and its Slurm executor.

    Args:
        asked: what a rule asks for.
        cluster: the section of that name.

    Returns:
        Values of the directive `resources`. Names that the cluster does not have (null) are left out.
    """
    kind = cluster[asked.kind]
    names = {
        "slurm_account": cluster["account"],
        "slurm_partition": kind["partition"],
        "qos": kind["qos"],
        "constraint": kind["constraint"],
    }
    resources: dict[str, int | str | Attempts] = {key: value for key, value in names.items() if value}
    resources["disk_mb"] = asked.disk_mb
    extra = [kind["extra"]] if kind["extra"] else []
    if asked.nodes > 1 or asked.gpus:
        resources["nodes"] = asked.nodes
    if asked.nodes > 1 and not asked.gpus:
        # Without GPUs the executor asks for one task, and Slurm gives one task one node.
        resources["tasks"] = asked.nodes
    if asked.gpus:
        # `gres` counts on each node; the executor's `gpu` is a total, and breaks on more than one.
        resources["gres"] = ":".join(filter(None, ["gpu", kind["model"], str(asked.gpus)]))
    if asked.resumable:
        # Tried again to go on, not because it was too small.
        resources["mem_mb"], resources["runtime"] = asked.mem_mb, asked.runtime
        # URG: what does not know it ignores it. At half-time at the earliest.
        seconds = min(cluster["stop_before"], asked.runtime * 30)
        extra.append(f"--signal=URG@{seconds}")
    else:
        resources["mem_mb"] = _scaled(asked.mem_mb)
        resources["runtime"] = _scaled(asked.runtime, kind["max_runtime"])
    if extra:
        resources["slurm_extra"] = " ".join(extra)
    return resources


def resources_of_runs(
    asked: Mapping[str, Request], cluster: Mapping[str, Any]
) -> dict[str, int | str | Callable[..., Any]]:
    """As `snakemake_resources`, of a rule whose jobs ask for different things.

    Args:
        asked: what it asks for in each run, the wildcard of that name; alike but for nodes and GPUs.
        cluster: the section of that name.

    Returns:
        Values of the directive `resources`: functions of the wildcards only where the runs differ. A run
        that is not among them (of the user's own) asks for what the first does.
    """
    found = {run: snakemake_resources(one, cluster) for run, one in asked.items()}
    first = next(iter(found.values()))
    if len(set(asked.values())) == 1:
        return dict(first)

    def of(name: str) -> Callable[..., Any]:
        def resource(wildcards: Any, attempt: int) -> Any:
            value = found.get(wildcards.run, first)[name]
            return value(wildcards, attempt) if callable(value) else value

        return resource

    return {name: of(name) for name in first}


def caches(
    cluster: Mapping[str, Any], device: str, environment: Mapping[str, str], temporary: str
) -> dict[str, str]:
    """Variables that put the caches of engines and downloads elsewhere than into the home folder.

    Args:
        cluster: the section of that name. Its `scratch` may name variables of the environment, which a
            compute node has and this machine need not (such as $SLURM_TMPDIR).
        device: cpu or cuda. Without `scratch` what GPU jobs compile goes to the temporary folder of the
            machine; processes of several machines in one cache on shared storage wait for each other's locks.
        environment: what a user has set there stays.
        temporary: folder for temporary files.
    """
    said = cluster["scratch"] or ""
    scratch = Template(said).safe_substitute(environment)
    named = bool(said) and "$" not in scratch
    if not named and device != "cuda":
        return {}
    folder = scratch if named else f"{temporary}/grrm-caches-{os.getuid()}"
    found = {name: f"{folder}/{part}" for name, part in _COMPILED.items()}
    if named:
        found |= {name: f"{folder}/{part}" for name, part in _DOWNLOADED.items()}
    # What was set on the login node, which a job inherits, is set anew.
    own = environment.get(_SET, "").split(",")
    found = {name: path for name, path in found.items() if name not in environment or name in own}
    return {**found, _SET: ",".join(found)}


def largest(asked: Request, max_runtime: int | None) -> Request:
    """What a rule asks for at the last of many attempts.

    Args:
        asked: at the first.
        max_runtime: minutes that a job may last (`cluster.<cpu or gpu>.max_runtime`); None for no limit.
    """
    if asked.resumable:
        return asked
    return replace(
        asked,
        mem_mb=_scaled(asked.mem_mb)(None, _MOST_TIMES),
        runtime=_scaled(asked.runtime, max_runtime)(None, _MOST_TIMES),
    )


def _scaled(first: int, limit: int | None = None) -> Attempts:
    """A multiple of `first`, as many times as the rule has been tried (thrice at most), up to `limit`."""

    def resource(wildcards: Any, attempt: int) -> int:
        wanted = first * min(attempt, _MOST_TIMES)
        return min(wanted, limit or wanted)

    return resource
