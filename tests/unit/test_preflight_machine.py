"""What a machine that runs jobs says about itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from grrm.preflight import probes
from grrm.preflight.findings import Finding
from grrm.preflight.machine import LOOK, Asked, check_machine, check_quota

ASKED = Asked("a compute node", "/shared/.venv/bin/python", "/shared/grrm", {"rl_cuda": "13.0"})
SEEN = {
    "missing": [],
    "processor": "x86_64",
    "driver": "580.95.05",
    "folder": "/shared/grrm",
    "temporary": "/tmp",
    "named": None,
    "temporary_free": 9e11,
    "home": "/home/me",
    "home_free": 5e10,
}


def said(**changes: Any) -> list[Finding]:
    return check_machine(ASKED, 0, "a module was loaded\nthis machine: " + json.dumps(SEEN | changes))


def test_what_is_well() -> None:
    assert [(one.check, one.status) for one in said()] == [("TMPDIR", "ok"), ("driver for rl_cuda", "ok")]


@pytest.mark.parametrize(
    ("changes", "status", "found"),
    [
        ({"processor": "aarch64"}, "failed", "a compute node is aarch64: for rl_cuda"),
        ({"missing": ["/home/me/.venv/bin/python"]}, "failed", "does not have /home/me/.venv/bin/python"),
        ({"driver": "550.54.15"}, "failed", "driver 550.54.15 is too old for CUDA 13.0"),
        ({"temporary_free": 1e9}, "warning", "/tmp has 1 GB free"),
        ({"named": "/scratch/me"}, "warning", "TMPDIR is /scratch/me, which cannot be written"),
        ({"home_free": 5e8}, "warning", "/home/me has 0.5 GB free"),
    ],
)
def test_what_is_wrong(changes: dict[str, Any], status: str, found: str) -> None:
    (wrong,) = [one for one in said(**changes) if one.status != "ok" and found in one.found]
    assert wrong.status == status and wrong.remedy


# What srun of Slurm 22.05.8 prints.
CHDIR = "slurmstepd: error: couldn't chdir to `/shared/grrm': No such file or directory: going to /tmp\n"


@pytest.mark.parametrize(
    ("words", "status", "found"),
    [
        (
            "slurmstepd: error: execve(): /shared/.venv/bin/python: No such file or directory\n",
            *("failed", "does not have /shared/.venv/bin/python"),
        ),
        (CHDIR, "failed", "does not have the folder /shared/grrm"),
        (
            "srun: error: Unable to allocate: Immediate execution impossible\n",
            "unknown",
            "Immediate",
        ),
        ("", "unknown", "no answer"),
    ],
)
def test_what_only_srun_says(words: str, status: str, found: str) -> None:
    (finding,) = check_machine(ASKED, 2, words)
    assert finding.status == status and found in finding.found


def test_this_machine_can_say_it() -> None:
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, check=True)
    assert {one.status for one in check_machine(ASKED, 0, done.stdout)} <= {"ok", "warning"}


def test_a_compute_node_is_asked_through_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    srun = tmp_path / "srun"
    answer = f"/node/gcc\n\nlooked\nthis machine: {json.dumps(SEEN)}\n"
    (tmp_path / "answer").write_text(answer)
    srun.write_text('#!/bin/sh\necho "$@" > "$0.asked"\ncat "$(dirname "$0")/answer"\n')
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job: Any = type("Job", (), {"partition": "gpu", "account": "us", "qos": None, "constraint": None})()
    findings = probes.look_at_machine("/environment/bin/python", {"rl_cuda": "13.0"}, job, compiles=True)
    assert findings[-1].found == "a compute node has no Python.h, which Triton needs"
    assert [one.status for one in findings] == ["ok", "ok", "failed"]
    asked = srun.with_name("srun.asked").read_text()
    assert "--immediate=20" in asked and "--partition=gpu --account=us /environment/bin/python -c" in asked


def test_a_quota_that_is_used_up() -> None:
    # quota 4.06
    header = "Disk quotas for user me (uid 1000): \n Filesystem blocks quota limit grace files quota limit\n"
    full = "server:/home 20971000* 20000000 20971520 6days 100 0 0\n"
    (finding,) = check_quota(header + full, "/home/me")
    assert finding.status == "warning" and "21.0 of 21.0 GB used" in finding.found
    assert check_quota(f"{header}server:/home 1000 20000000 20971520 100 0 0\n", "/home/me") == []
    assert check_quota(f"{header}server:/home 1000 0 0 100 0 0\n", "/home/me") == []
    assert check_quota("quota is not on this machine", "/home/me") == []
