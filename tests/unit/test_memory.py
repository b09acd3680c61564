"""How much memory there is: the machine's, a control group's, a Slurm job's; the least of them counts."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from grrm.engines.memory import memory
from grrm.engines.resources import end_of_engine

GIB = 2**30
UNLIMITED = "9223372036854771712"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """/proc of a machine that limits nothing."""
    (tmp_path / "proc/self").mkdir(parents=True)
    return tmp_path / "proc"


def describe(proc: Path, mount: Path, kind: str, group: str) -> None:
    number, controllers = ("4", "memory") if kind == "cgroup" else ("0", "")
    (proc / "self/cgroup").write_text(f"9:name=systemd:/\n{number}:{controllers}:{group}\n")
    options = f"rw,{controllers or 'nsdelegate'}"
    (proc / "self/mounts").write_text(f"sysfs /sys sysfs rw 0 0\n{kind} {mount} {kind} {options} 0 0\n")


def write_group(folder: Path, kind: str, limit: str, used: int = 0, files: int = 0) -> None:
    names = {
        "cgroup2": ("memory.max", "memory.current", "inactive_file"),
        "cgroup": ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }[kind]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{names[2]} {files}\n")


@pytest.mark.parametrize(("kind", "nothing"), [("cgroup2", "max"), ("cgroup", UNLIMITED)])
def test_the_limit_of_a_group_above_counts(proc: Path, tmp_path: Path, kind: str, nothing: str) -> None:
    """As in a Slurm job, whose limit may be set to the job and not to its steps."""
    mount = tmp_path / "fs"
    write_group(mount / "slurm/job_7", kind, str(GIB), used=GIB // 2, files=GIB // 4)
    write_group(mount / "slurm/job_7/step_0", kind, nothing, used=5)
    describe(proc, mount, kind, "/slurm/job_7/step_0")
    found = memory({}, proc)
    assert (found.total, found.available) == (GIB, GIB * 3 // 4)
    assert "control group" in found.where and "mem_gb in config/resources.yaml" in found.remedy


@pytest.mark.parametrize("kind", ["cgroup2", "cgroup"])
@pytest.mark.parametrize("group", ["/", "/../../outside", "/docker/abc"])
def test_a_container_sees_its_limit_at_the_root(proc: Path, tmp_path: Path, kind: str, group: str) -> None:
    write_group(tmp_path / "fs", kind, str(GIB))
    describe(proc, tmp_path / "fs", kind, group)
    assert memory({}, proc).total == GIB


@pytest.mark.parametrize(("kind", "nothing"), [("cgroup2", "max"), ("cgroup", UNLIMITED)])
def test_without_a_limit_it_is_the_machines(proc: Path, tmp_path: Path, kind: str, nothing: str) -> None:
    write_group(tmp_path / "fs", kind, nothing)
    describe(proc, tmp_path / "fs", kind, "/")
    found = memory({}, proc)
    assert (found.total, found.where) == (psutil.virtual_memory().total, "this machine")
    assert memory({}, tmp_path / "not linux").total == found.total


@pytest.mark.parametrize(
    "environment",
    [{"SLURM_MEM_PER_NODE": "1024"}, {"SLURM_MEM_PER_CPU": "256", "SLURM_CPUS_ON_NODE": "4"}],
)
def test_a_slurm_job_has_what_it_asked_for(proc: Path, environment: dict[str, str]) -> None:
    found = memory(environment, proc)
    assert (found.total, found.where) == (GIB, "this Slurm job")
    assert found.available <= GIB


def test_a_slurm_job_that_asked_for_all_has_all(proc: Path) -> None:
    assert memory({"SLURM_MEM_PER_NODE": "0"}, proc).where == "this machine"


@pytest.mark.parametrize("status", [-9, 137])
def test_an_engine_that_was_killed_could_not_say_why(status: int) -> None:
    text = end_of_engine("An engine", status, "see above")
    assert text.startswith(
        f"An engine was killed from outside (status {status}), probably for want of memory"
    )
    assert "see above" not in text and "choose a smaller model or batch" in text
    assert end_of_engine("An engine", 1, "see above") == "An engine ended with status 1; see above"
