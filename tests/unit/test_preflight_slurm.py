"""Jobs against what Slurm's commands said (tests/data/slurm: recorded from Slurm 22.05.8 with accounts)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grrm.cluster import Request
from grrm.files import UserError
from grrm.preflight import probes
from grrm.preflight.findings import Finding
from grrm.preflight.jobs import (
    Job,
    check_jobs,
    check_memory_of_jobs,
    check_time,
    job,
    sbatch_arguments,
    verdict,
)
from grrm.preflight.partitions import UNLIMITED, Cluster, parse_cluster

RECORDED = Path(__file__).parents[1] / "data/slurm"
ASKED = Request(nodes=2, gpus=8, threads=64, mem_mb=720_000, runtime=720, disk_mb=0, resumable=True)

UNNAMED = dict.fromkeys(("partition", "qos", "constraint", "model", "max_runtime", "extra"))


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    return parse_cluster(*map(recorded, ("partition", "node", "config", "associations")))


def training(asked: Request = ASKED, **names: Any) -> Job:
    gpu = UNNAMED | {"partition": "h100", "model": "h100"} | names
    account = gpu.pop("account", "mt")
    return job("train_mt_grpo", asked, {"account": account, "gpu": gpu, "cpu": gpu})


def only_failure(one: Job, cluster: Cluster) -> Finding:
    (finding,) = check_jobs([one], cluster)
    assert finding.status == "failed"
    assert finding.check == "slurm train_mt_grpo"
    return finding


def test_the_cluster_is_read(cluster: Cluster) -> None:
    assert list(cluster.partitions) == ["cpu", "h100", "old", "closed"]
    h100 = cluster.partitions["h100"]
    assert (h100.max_minutes, h100.max_nodes, h100.allowed_qos) == (720, 2, {"normal", "long"})
    assert cluster.partitions["cpu"].default and cluster.partitions["cpu"].max_minutes == 2880
    assert cluster.partitions["closed"].max_minutes == UNLIMITED
    assert cluster.partitions["old"].denied_accounts == {"mt"}
    nodes = {node.name: node for node in cluster.nodes}
    assert nodes["g1"].gpus == {"h100": 8} and nodes["c1"].gpus == {}
    assert (nodes["g2"].cpus, nodes["g2"].memory) == (128, 1_000_000)
    assert nodes["g1"].features == {"ib", "nvlink"} and nodes["g1"].partitions == {"h100", "closed"}
    assert not any(node.away for node in cluster.nodes)
    assert "associations" in cluster.enforced
    assert cluster.associations is not None and {one.account for one in cluster.associations} == {
        "mt",
        "root",
    }


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [
        ("gpu:8", {"": 8}),
        ("gpu:h100:8(S:0-1)", {"h100": 8}),
        ("gpu:a100:4,gpu:v100:2,shard:12", {"a100": 4, "v100": 2}),
        ("craynetwork:1,gpu:mi300:4(S:0),lustre:1", {"mi300": 4}),
        ("(null)", {}),
    ],
)
def test_gpus_are_read_in_every_form(gres: str, gpus: dict[str, int]) -> None:
    text = f"NodeName=n CPUTot=1 RealMemory=1 Gres={gres} State=IDLE Partitions=p"
    assert parse_cluster(recorded("partition"), text, "", None).nodes[0].gpus == gpus


def test_what_fits_is_one_line(cluster: Cluster) -> None:
    cpu = replace(ASKED, nodes=1, gpus=0, threads=4, mem_mb=8000, runtime=60)
    small = [job(rule, cpu, {"account": None, "cpu": UNNAMED, "gpu": UNNAMED}) for rule in ("a", "b")]
    findings = check_jobs([training(), *small], cluster)
    assert [finding.status for finding in findings] == ["ok", "ok"]
    assert findings[0].found == "h100: 2 nodes of 8 x h100, 64 cores, 720 GB, 720 min"
    assert "2 rules fit" in findings[1].found


@pytest.mark.parametrize(
    ("names", "asked", "found", "key"),
    [
        ({"partition": "nope"}, {}, "partition 'nope' does not exist; there are cpu, h100, old, closed",
         "cluster.gpu.partition"),
        ({"partition": None}, {}, "asks for GPUs, the nodes of partition cpu have none",
         "cluster.gpu.partition"),
        ({"model": "a100"}, {}, "asks for GPU model 'a100', partition h100 has h100", "cluster.gpu.model"),
        ({}, {"gpus": 9}, "asks for 9 GPUs a node, the nodes of partition h100 have 8 at most",
         "hardware.gpus_per_node"),
        ({}, {"gpus": 9, "resumable": False}, "asks for 9 GPUs a node", "evaluate.gpus"),
        ({}, {"nodes": 3}, "asks for 3 nodes, partition h100 allows 0 to 2", "hardware.nodes"),
        ({}, {"runtime": 1440}, "asks for 1440 min, partition h100 allows 720", "cluster.gpu.max_runtime"),
        ({}, {"threads": 200}, "asks for 200 cores a node, partition h100 has 128 at most",
         "threads of train_mt_grpo"),
        ({}, {"mem_mb": 2_000_000}, "asks for 2000000 MB a node, partition h100 has 1000000 at most",
         "mem_gb_per_gpu of train_mt_grpo"),
        ({"constraint": "ib&rome"}, {}, "asks for nodes with ib&rome, partition h100 has ib, nvlink",
         "cluster.gpu.constraint"),
        ({"account": "nobody"}, {}, "account 'nobody' is not yours here; yours: mt, root", "cluster.account"),
        ({"qos": "express"}, {}, "partition h100 does not admit qos 'express'; it admits long, normal",
         "cluster.gpu.qos"),
    ],
)  # fmt: skip
def test_what_the_cluster_would_refuse_names_the_key(
    cluster: Cluster, names: dict[str, Any], asked: dict[str, Any], found: str, key: str
) -> None:
    findings = check_jobs([training(replace(ASKED, **asked), **names)], cluster)
    assert findings[0].status == "failed" and found in findings[0].found
    assert key in findings[0].remedy


@pytest.mark.parametrize(
    ("partition", "found"),
    [
        ("h100,old", []),
        ("old,h100", []),
        ("closed,cpu", ["partition closed is DOWN", "the nodes of partition cpu have none"]),
        ("h100,nope", ["partition 'nope' does not exist; there are cpu, h100, old, closed"]),
    ],
)
def test_of_several_partitions_one_will_do(cluster: Cluster, partition: str, found: list[str]) -> None:
    findings = check_jobs([training(partition=partition)], cluster)
    broken = [finding.found for finding in findings if finding.status == "failed"]
    assert bool(broken) == bool(found)
    assert all(any(words in one for one in broken) for words in found)
    if not found:
        assert findings[0].found.startswith(f"{partition}: 2 nodes of 8 x h100")


@pytest.mark.parametrize(
    ("asked", "names", "found", "remedy"),
    [
        ({"runtime": 300}, {}, "asks for up to 900 min, partition h100 allows 720: it would never start",
         "set cluster.gpu.max_runtime (config/cluster.yaml) to 720"),
        ({"runtime": 300}, {"max_runtime": 720}, None, None),
        ({"runtime": 240}, {}, None, None),
        ({"mem_mb": 400_000}, {}, "asks for up to 1200000 MB a node, partition h100 has 1000000",
         "lower mem_gb_per_gpu of train_mt_grpo"),
        ({"mem_mb": 300_000}, {}, None, None),
        ({"mem_mb": 400_000, "resumable": True}, {}, None, None),
        ({"runtime": 300}, {"partition": "h100,closed"}, "partition h100 allows 720", "max_runtime"),
    ],
)  # fmt: skip
def test_what_only_a_later_attempt_asks_for_is_a_warning(
    cluster: Cluster, asked: dict[str, Any], names: dict[str, Any], found: str | None, remedy: str | None
) -> None:
    modest = replace(ASKED, nodes=1, gpus=1, mem_mb=8000, runtime=60, resumable=False)
    findings = check_jobs([training(replace(modest, **asked), **names)], cluster)
    assert [one.status for one in findings] == ([] if found is None else ["warning"]) + ["ok"]
    if found is not None and remedy is not None:
        assert findings[0].found.startswith("tried again, it ") and found in findings[0].found
        assert remedy in findings[0].remedy


def test_an_account_of_one_partition_goes_with_a_list(cluster: Cluster) -> None:
    assert cluster.associations is not None
    mine = [replace(one, partition="h100") for one in cluster.associations]
    findings = check_jobs([training(partition="old,h100")], replace(cluster, associations=mine))
    assert [one.status for one in findings] == ["ok"]


def test_qos_must_go_with_the_account(cluster: Cluster) -> None:
    finding = only_failure(training(qos="long"), cluster)
    assert finding.found == "qos 'long' does not go with account 'mt'; these do: normal"


def test_too_few_nodes_and_too_few_large_ones(cluster: Cluster) -> None:
    asked = replace(ASKED, gpus=4, runtime=60)
    finding = only_failure(training(asked, partition="old", model=None, account="root"), cluster)
    assert finding.found == "asks for 2 nodes, partition old has 1 with GPUs"
    assert "hardware.nodes" in finding.remedy
    smaller = [replace(node, cpus=32) if node.name == "g2" else node for node in cluster.nodes]
    finding = only_failure(training(), replace(cluster, nodes=smaller))
    assert (
        finding.found == "asks for 64 cores a node, partition h100 has 128 at most; 1 of the 2 nodes would do"
    )


def test_a_closed_partition_and_one_for_others(cluster: Cluster) -> None:
    found = {finding.found for finding in check_jobs([training(partition="closed")], cluster)}
    assert "partition closed is DOWN" in found
    assert "partition closed does not admit account 'mt'; it admits admins" in found


def test_nobody_without_an_account_gets_in(cluster: Cluster) -> None:
    (finding,) = check_jobs([training(account=None)], replace(cluster, associations=[]))
    assert (
        finding.status == "failed"
        and "you have none" in finding.found
        and "cluster.account" in finding.remedy
    )
    silent = check_jobs([training(account=None)], replace(cluster, associations=None))
    assert [one.status for one in silent] == ["unknown", "ok"]
    # Where nothing is enforced, a name that Slurm would pass over is no failure.
    free = replace(cluster, enforced=frozenset(), associations=None)
    assert [one.status for one in check_jobs([training(account="nobody")], free)] == ["ok"]


def test_a_drained_node_is_waited_for() -> None:
    nodes = "".join(line for line in recorded("node").splitlines(True) if not line.startswith("NodeName=g2"))
    drained = parse_cluster(recorded("partition"), nodes + recorded("node_drained"), recorded("config"), None)
    findings = check_jobs([training()], drained)
    (warning,) = [finding for finding in findings if finding.status == "warning"]
    assert "g2 is DRAIN (memory errors" in warning.found


@pytest.mark.parametrize(("age", "status"), [(300, "ok"), (20, "warning")])
def test_a_cluster_that_keeps_no_accounts_is_seen(cluster: Cluster, age: int, status: str) -> None:
    assert check_memory_of_jobs(cluster) == []
    config = f"AccountingStorageType   = accounting_storage/none\nMinJobAge               = {age} sec\n"
    silent = parse_cluster(recorded("partition"), recorded("node"), config, None)
    (finding,) = check_memory_of_jobs(silent)
    assert finding.status == status
    assert finding.found == f"none are kept: squeue tells how jobs end, for {age} s after it"


def test_no_cluster_is_said() -> None:
    with pytest.raises(UserError, match="names no partition"):
        parse_cluster("", "", "", None)


# What sbatch --test-only of Slurm 22.05.8 printed.
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "allocation failure: Invalid partition name specified\n",
            "Invalid partition name specified",
        ),
        (
            "allocation failure: Invalid account or account/partition combination specified\n",
            "Invalid account or account/partition combination specified",
        ),
        ("", "no reason"),
    ],
)
def test_slurms_own_word_is_passed_on(words: str, said: str) -> None:
    (finding,) = verdict(training(), 1, words)
    assert finding.found == f"Slurm refuses it: {said}"
    assert "config/cluster.yaml" in finding.remedy
    accepted = "sbatch: Job 3 to start at 2026-11-20T12:55:10 using 128 processors on nodes g[1-2]\n"
    assert verdict(training(), 0, accepted) == []


def test_slurm_is_asked_in_its_own_words() -> None:
    assert sbatch_arguments(training(qos="long")) == [
        *("--partition=h100", "--account=mt", "--qos=long", "--nodes=2", "--ntasks=2", "--cpus-per-task=64"),
        *("--gres=gpu:h100:8", "--mem=720000", "--time=720"),
    ]


@pytest.mark.parametrize(
    ("runtime", "status", "words"),
    [
        (30, "failed", "end before its first checkpoint (forecast: after up to 36 min)"),
        (120, "warning", "20 h, which is 12 jobs of 120 min"),
        (1440, None, ""),
    ],
)
def test_a_training_must_get_somewhere_in_one_job(runtime: int, status: str | None, words: str) -> None:
    asked = training(replace(ASKED, runtime=runtime))
    # Steps of six minutes; told to stop a quarter of an hour before the end.
    findings = check_time(asked, 1200, step=6, save_steps=5, stop_before=900)
    assert [finding.status for finding in findings] == ([status] if status else [])
    assert all(words in finding.found for finding in findings)


@pytest.fixture
def slurm_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands, answering as they were recorded; sbatch says what is in the file `sbatch`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    commands = {
        "scontrol": f'for last; do :; done; cat {RECORDED}/"$last".txt',
        "sacctmgr": f"cat {RECORDED}/associations.txt",
        "sbatch": f'echo "$@" >> {tmp_path}/asked; cat {tmp_path}/sbatch; exit $(cat {tmp_path}/status)',
    }
    for name, script in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    (tmp_path / "status").write_text("0")
    (tmp_path / "sbatch").touch()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return tmp_path


def test_slurm_is_asked_once_for_what_is_alike(slurm_commands: Path) -> None:
    jobs = [replace(training(), rule=rule) for rule in ("train_grrm_rlvr", "train_mt_grpo")]
    findings = probes.ask_slurm([*jobs, training(partition="nope")])
    assert [finding.status for finding in findings] == ["ok", "ok", "failed"]
    (asked,) = (slurm_commands / "asked").read_text().splitlines()
    assert asked.startswith("--test-only --partition=h100 --account=mt --nodes=2")


def test_limits_that_only_slurm_knows(slurm_commands: Path) -> None:
    (slurm_commands / "status").write_text("1")
    (slurm_commands / "sbatch").write_text("allocation failure: Job violates accounting/QOS policy\n")
    findings = probes.ask_slurm([training()])
    assert [finding.status for finding in findings] == ["ok", "failed"]
    assert "Job violates accounting/QOS policy" in findings[1].found


def test_without_slurm_there_is_one_failure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (finding,) = probes.ask_slurm([training()])
    assert finding.status == "failed" and "scontrol is not on this machine" in finding.found
