"""The machines that jobs run on, as one of them sees itself: processor, driver, folders."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from grrm.preflight import compiler
from grrm.preflight.findings import Finding, failed, ok, unknown, warning
from grrm.preflight.gpus import check_driver

_MARK = "this machine: "
# To be run by the interpreter of an environment, after the look for a compiler.
LOOK = f"""{compiler.LOOK}
import json, platform, re, shutil, sys, tempfile

def text(path):
    try:
        return open(path).read()
    except OSError:
        return ""

def free(folder):
    return shutil.disk_usage(folder).free if folder and os.path.isdir(folder) else None

missing = [path for path in sys.argv[1:] if not os.path.exists(path)]
driver = re.search(r"Kernel Module\\D*([0-9.]+)", text("/proc/driver/nvidia/version"))
temporary = tempfile.gettempdir()
print({_MARK!r} + json.dumps({{
    "missing": missing,
    "processor": platform.machine(),
    "driver": driver and driver[1],
    "folder": os.getcwd(),
    "temporary": temporary,
    "named": os.environ.get("TMPDIR"),
    "temporary_free": free(temporary),
    "home": os.path.expanduser("~"),
    "home_free": free(os.path.expanduser("~")),
}}))
"""
_GB = 10**9
# Ray's session, compiled kernels, and what a job unpacks.
_SHARED = "keep checkout, environments.folder and the Python of both on storage that all machines see"
_TEMPORARY = 5 * _GB
_HOME = 1 * _GB


@dataclass(frozen=True)
class Asked:
    """What a machine is asked for.

    Attributes:
        where: in words, such as "a compute node".
        python: interpreter that it had to run.
        folder: of the workflow.
        cuda: of each environment that runs on GPUs.
    """

    where: str
    python: str
    folder: str
    cuda: Mapping[str, str | None]


def check_machine(asked: Asked, status: int, words: str) -> list[Finding]:
    """Findings about a machine.

    Args:
        asked: what for.
        status: exit status of LOOK, run there with the paths that have to be there.
        words: what it printed.
    """
    if missing := _missing(asked, words):
        return [missing]
    found = next((line[len(_MARK) :] for line in words.splitlines() if line.startswith(_MARK)), None)
    if status != 0 or found is None:
        last = next((line for line in reversed(words.splitlines()) if line.strip()), "no answer")
        return [unknown("machine", f"{asked.where} could not be asked: {last}")]
    seen: dict[str, Any] = json.loads(found)
    lacking = [failed("machine", f"{asked.where} does not have {path}", _SHARED) for path in seen["missing"]]
    return [*lacking, *_processor(asked, seen), *_folders(asked, seen), *_drivers(asked, seen)]


def check_processor(where: str, processor: str, environments: Mapping[str, str | None]) -> list[Finding]:
    """Whether the environments can be installed on a kind of processor.

    Args:
        where: which machine.
        processor: as `uname -m` says it.
        environments: by name.
    """
    if processor in ("x86_64", "AMD64") or "rl_cuda" not in environments:
        return []
    found = f"{where} is {processor}: for rl_cuda (verl, vLLM) not all packages are there, only for x86-64"
    return [failed("processor", found, "run on x86-64 machines (cluster.gpu.partition or constraint)")]


def _missing(asked: Asked, words: str) -> Finding | None:
    """What srun says where a machine does not have what the login node has."""
    if re.search(r"execve\(\).*No such file|: No such file or directory", words) and asked.python in words:
        return failed("machine", f"{asked.where} does not have {asked.python}", _SHARED)
    if "couldn't chdir" in words:
        return failed("machine", f"{asked.where} does not have the folder {asked.folder}", _SHARED)
    return None


def _processor(asked: Asked, seen: Mapping[str, Any]) -> list[Finding]:
    return check_processor(asked.where, seen["processor"], asked.cuda)


def _folders(asked: Asked, seen: Mapping[str, Any]) -> list[Finding]:
    findings = []
    temporary, free = seen["temporary"], seen["temporary_free"]
    if seen["named"] and seen["named"] != temporary:
        found = f"TMPDIR is {seen['named']}, which cannot be written on {asked.where}: {temporary} is used"
        findings.append(warning("TMPDIR", found, "let it name a folder that is there on all machines"))
    said = f"{asked.where}: {temporary} has {free / _GB:,.0f} GB free"
    if free < _TEMPORARY:
        remedy = "let TMPDIR name a larger folder of the machine; caches go to cluster.scratch"
        findings.append(warning("TMPDIR", said, remedy))
    else:
        findings.append(ok("TMPDIR", said))
    if seen["home_free"] is not None and seen["home_free"] < _HOME:
        found = f"{asked.where}: {seen['home']} has {seen['home_free'] / _GB:.1f} GB free"
        findings.append(warning("home", found, "free some space; programs fail in odd ways without any"))
    return findings


def _drivers(asked: Asked, seen: Mapping[str, Any]) -> list[Finding]:
    if not seen["driver"]:
        return []
    return [check_driver(name, cuda, seen["driver"]) for name, cuda in asked.cuda.items() if cuda]


def check_quota(words: str, home: str) -> list[Finding]:
    """Whether the user's quota leaves something.

    Args:
        words: what `quota -w -p` printed: file systems with blocks (kB), their soft and hard limit.
        home: folder that is spoken of.
    """
    findings = []
    for line in words.splitlines():
        row = line.split()
        if len(row) < 4 or not all(field.rstrip("*").isdigit() for field in row[1:4]):
            continue
        used, soft, hard = (int(field.rstrip("*")) for field in row[1:4])
        limit = hard or soft
        if limit and limit - used < _HOME / 1024:
            found = f"{row[0]} (quota): {used / 1e6:.1f} of {limit / 1e6:.1f} GB used; {home} may be there"
            findings.append(warning("home", found, "free some space: programs fail in odd ways without any"))
    return findings
