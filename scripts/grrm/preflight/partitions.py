"""What a Slurm cluster offers, read from what its commands print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grrm.files import UserError
from grrm.slurm.queue import keeps_accounts

UNLIMITED = float("inf")
# A node in one of these comes back without anyone's changing the request.
_AWAY = {"DOWN", "DRAIN", "FAIL", "FAILING", "INVAL", "MAINT", "NO_RESPOND", "NOT_RESPONDING", "UNKNOWN"}
_PAIR = re.compile(r"(?:^|\s)([A-Za-z][\w/-]*)=(.*?)(?=\s[A-Za-z][\w/-]*=|\s*$)")


@dataclass(frozen=True)
class Partition:
    """A partition, as `scontrol show partition` describes it; limits are infinite where there is none."""

    name: str
    state: str
    default: bool
    max_minutes: float
    min_nodes: int
    max_nodes: float
    max_cpus: float
    max_memory: float
    allowed_accounts: frozenset[str] | None
    denied_accounts: frozenset[str]
    allowed_qos: frozenset[str] | None
    denied_qos: frozenset[str]


@dataclass(frozen=True)
class Node:
    """A machine, as `scontrol show node` describes it.

    Attributes:
        name: of the node.
        partitions: it belongs to.
        cpus: and memory in MB.
        memory: MB.
        gpus: number by model, "" where the cluster names none.
        features: for constraints.
        away: its states that keep jobs off.
        reason: the administrator's words for them.
    """

    name: str
    partitions: frozenset[str]
    cpus: int
    memory: int
    gpus: Mapping[str, int]
    features: frozenset[str]
    away: frozenset[str] = frozenset()
    reason: str = ""


@dataclass(frozen=True)
class Association:
    """An account that the user may charge, with its partition (empty: all) and qualities of service."""

    account: str
    partition: str
    qos: frozenset[str]


@dataclass(frozen=True)
class Cluster:
    """What the cluster offers.

    Attributes:
        partitions: by name.
        nodes: all of them.
        enforced: words of AccountingStorageEnforce; empty where accounts are not checked.
        associations: of the user; None if they could not be asked for.
        accounts: whether accounts are kept, which tell how jobs ended.
        remembers: seconds that the queue tells of a job that is over; None if that is not known.
    """

    partitions: Mapping[str, Partition]
    nodes: Sequence[Node]
    enforced: frozenset[str] = frozenset()
    associations: Sequence[Association] | None = None
    accounts: bool = True
    remembers: int | None = None


def parse_cluster(partitions: str, nodes: str, config: str, associations: str | None) -> Cluster:
    """The cluster from the output of Slurm's commands.

    Args:
        partitions: `scontrol --oneliner show partition`.
        nodes: `scontrol --oneliner show node`.
        config: `scontrol show config`.
        associations: `sacctmgr --noheader --parsable2 show associations format=Account,Partition,QOS` of the
            user; None if it failed.

    Raises:
        UserError: there is not one partition in the output.
    """
    found = {
        partition.name: partition for partition in map(_partition, _records(partitions, "PartitionName"))
    }
    if not found:
        raise UserError(f"scontrol names no partition; it printed {partitions.strip()[:200]!r}")
    enforced = re.search(r"^AccountingStorageEnforce\s*=\s*(\S+)", config, re.M)
    words = frozenset() if enforced is None else frozenset(enforced[1].lower().split(",")) - {"none"}
    return Cluster(
        found,
        [_node(record) for record in _records(nodes, "NodeName")],
        words,
        None if associations is None else _associations(associations),
        keeps_accounts(config),
        int(age[1]) if (age := re.search(r"^MinJobAge\s*=\s*(\d+)", config, re.M)) else None,
    )


def _records(text: str, first: str) -> list[dict[str, str]]:
    lines = (line for line in text.splitlines() if line.startswith(f"{first}="))
    return [{key: value.strip() for key, value in _PAIR.findall(line)} for line in lines]


def _partition(record: Mapping[str, str]) -> Partition:
    return Partition(
        name=record["PartitionName"],
        state=record.get("State", "UP"),
        default=record.get("Default") == "YES",
        max_minutes=_minutes(record.get("MaxTime", "UNLIMITED")),
        min_nodes=int(_number(record.get("MinNodes", "0"))),
        max_nodes=_number(record.get("MaxNodes", "UNLIMITED")),
        max_cpus=_number(record.get("MaxCPUsPerNode", "UNLIMITED")),
        max_memory=_number(record.get("MaxMemPerNode", "UNLIMITED")),
        allowed_accounts=_names(record.get("AllowAccounts", "ALL")),
        denied_accounts=_names(record.get("DenyAccounts", "")) or frozenset(),
        allowed_qos=_names(record.get("AllowQos", "ALL")),
        denied_qos=_names(record.get("DenyQos", "")) or frozenset(),
    )


def _node(record: Mapping[str, str]) -> Node:
    # A trailing sign stands for a passing condition (* is "does not respond").
    state = record.get("State", "UNKNOWN")
    words = {word.rstrip("*~#!%$@^-") for word in state.split("+")}
    if "*" in state:
        words.add("NOT_RESPONDING")
    return Node(
        name=record["NodeName"],
        partitions=frozenset(filter(None, record.get("Partitions", "").split(","))),
        cpus=int(record.get("CPUTot", "0")),
        memory=int(record.get("RealMemory", "0")),
        gpus=_gpus(record.get("Gres", "")),
        features=_names(record.get("AvailableFeatures", "")) or frozenset(),
        away=frozenset(words & _AWAY),
        reason=record.get("Reason", ""),
    )


def _gpus(gres: str) -> dict[str, int]:
    """GPUs by model from gpu:8, gpu:h100:8 or gpu:h100:8(S:0-1), among other resources."""
    found: dict[str, int] = {}
    for model, count in re.findall(r"(?:^|,)gpu(?::([^:,(]+))??:(\d+)", gres):
        found[model] = found.get(model, 0) + int(count)
    return found


def _associations(text: str) -> list[Association]:
    rows = [line.split("|") for line in text.splitlines() if line.strip()]
    return [
        Association(account, partition, frozenset(filter(None, qos.split(","))))
        for account, partition, qos in rows
    ]


def _names(text: str) -> frozenset[str] | None:
    """Names of a list; None for all."""
    if text in {"", "(null)", "N/A"}:
        return frozenset()
    return None if text == "ALL" else frozenset(text.split(","))


def _number(text: str) -> float:
    return float(text) if text.isdigit() else UNLIMITED


def _minutes(text: str) -> float:
    """Minutes from [days-]hours:minutes:seconds, or without limit."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if match is None:
        return UNLIMITED
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return days * 1440 + hours * 60 + minutes + seconds / 60
