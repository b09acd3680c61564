"""Whether this machine's GPUs and their driver carry the environments' CUDA."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from grrm.preflight.findings import Finding, failed, ok, unknown, warning

QUERY = "index,name,memory.total,driver_version,uuid,compute_mode"
"""What `nvidia-smi --query-gpu=... --format=csv,noheader,nounits` is asked for."""

# Oldest Linux driver for each major version of CUDA (NVIDIA, CUDA compatibility: minor versions).
_DRIVERS = {11: (450, 80, 2), 12: (525, 60, 13), 13: (580, 65, 6)}
# The experiment was published on GPUs of 80 GB; 24 GB carry the smallest overlay.
_SMALLEST_MB = 22_000
_MIB = 2**20


@dataclass(frozen=True)
class Gpu:
    """A GPU, as nvidia-smi shows it; memory in MB, and whether several processes may use it."""

    index: int
    name: str
    memory: int
    driver: str
    uuid: str
    mode: str = "Default"


def parse_gpus(text: str) -> list[Gpu]:
    """The GPUs from nvidia-smi's CSV (see `QUERY`); lines of another form, such as errors, are none."""
    found = []
    for row in csv.reader(text.splitlines(), skipinitialspace=True):
        if len(row) >= 5 and row[0].isdigit() and row[2].isdigit():
            found.append(Gpu(int(row[0]), row[1], int(row[2]), *(field.strip() for field in row[3:6])))
    return found


@dataclass(frozen=True)
class GpuUse:
    """Memory of a GPU that is in use, in bytes; others' is counted too."""

    gpu: Gpu
    used: int


USE_QUERY = f"{QUERY},memory.used"
"""As `QUERY`, with what is in use."""


def parse_use(text: str, devices: str | None) -> list[GpuUse]:
    """Use of the GPUs that CUDA lets a program see.

    Args:
        text: nvidia-smi's CSV (see `USE_QUERY`).
        devices: CUDA_VISIBLE_DEVICES, see `chosen_gpus`.
    """
    rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if len(row) == 6]
    used = {row[0].strip(): int(row[5]) * _MIB for row in rows if row[5].strip().isdigit()}
    gpus = parse_gpus("\n".join(", ".join(row[:5]) for row in rows))
    return [GpuUse(gpu, used[str(gpu.index)]) for gpu in chosen_gpus(gpus, devices) if str(gpu.index) in used]


def chosen_gpus(gpus: Sequence[Gpu], devices: str | None) -> list[Gpu]:
    """Those that CUDA lets a program see.

    Args:
        gpus: of the machine.
        devices: CUDA_VISIBLE_DEVICES, numbers or beginnings of UUIDs; None if it is not set, for all. As for
            CUDA, the list ends before the first that is not there. Parts of a GPU (MIG) are not told apart.
    """
    if devices is None or "MIG-" in devices:
        return list(gpus)
    chosen: list[Gpu] = []
    for name in map(str.strip, devices.split(",")):
        meant = [
            gpu
            for gpu in gpus
            if name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name))
        ]
        if len(meant) != 1:
            break
        chosen += meant
    return chosen


def cuda_of_lock(lock: str) -> str | None:
    """The version of CUDA that an environment's lock brings, such as 13.0; None without CUDA."""
    match = re.search(r"^nvidia-cuda-runtime(?:-cu\d+)?==(\d+\.\d+)", lock, re.M)
    return match[1] if match else None


def cuda_of_environment(folder: Path) -> str | None:
    """The version of CUDA that an environment's torch was built for; None without it."""
    for version in folder.glob("lib/python3*/site-packages/torch/version.py"):
        if match := re.search(r"^cuda\b[^=]*=\s*'([\d.]+)'", version.read_text(encoding="utf-8"), re.M):
            return match[1]
    return None


def check_gpus(
    gpus: Sequence[Gpu] | None,
    wanted: int,
    said: str,
    environments: Mapping[str, str | None],
    key: str = "hardware.gpus_per_node",
) -> list[Finding]:
    """Findings about the GPUs of this machine.

    Args:
        gpus: those that are visible; None if there is no nvidia-smi.
        wanted: GPUs a machine that the configuration asks for.
        said: what nvidia-smi printed, or why none of them is visible.
        environments: the version of CUDA of each.
        key: of the configuration that says how many are wanted.
    """
    check = "gpus"
    if gpus is None:
        found = "nvidia-smi is not there: no NVIDIA driver on this machine"
        return [
            failed(check, found, "run it where the GPUs are (--profile slurm), or set hardware.device to cpu")
        ]
    if not gpus:
        words = said.strip().splitlines()
        found = f"none is visible{f': {words[0]}' if words else ''}"
        return [
            failed(check, found, "check the driver and CUDA_VISIBLE_DEVICES, or set hardware.device to cpu")
        ]
    findings = []
    names = sorted({gpu.name for gpu in gpus})
    if len(gpus) < wanted:
        found = f"{len(gpus)} visible ({', '.join(names)}), the configuration asks for {wanted}"
        findings.append(failed(check, found, f"set {key} to {len(gpus)}, or check CUDA_VISIBLE_DEVICES"))
    else:
        findings.append(ok(check, f"{len(gpus)} x {', '.join(names)}, driver {gpus[0].driver}"))
    if alone := [gpu for gpu in gpus if gpu.mode in ("Exclusive_Process", "Exclusive_Thread", "Prohibited")]:
        found = f"GPU {alone[0].index} is in the compute mode {alone[0].mode}: trainer and vLLM share a GPU"
        remedy = "have it set to Default (nvidia-smi --compute-mode=0), or ask for others (constraint)"
        findings.append(failed(check, found, remedy))
    if small := [gpu for gpu in gpus if gpu.memory < _SMALLEST_MB]:
        found = f"GPU {small[0].index} has {small[0].memory / 1000:.0f} GB of memory"
        findings.append(
            warning(check, found, "the smallest overlay, config/one_gpu.yaml, was made for 24 GB")
        )
    return findings + [
        check_driver(name, cuda, gpus[0].driver) for name, cuda in environments.items() if cuda is not None
    ]


def check_driver(environment: str, cuda: str, driver: str) -> Finding:
    """Whether a driver carries an environment's CUDA."""
    check = f"driver for {environment}"
    needed = _DRIVERS.get(int(cuda.split(".")[0]))
    there = tuple(map(int, re.findall(r"\d+", driver)))
    if needed is None or not there:
        return unknown(check, f"driver {driver or '?'} and CUDA {cuda}: no rule is known for them")
    oldest = ".".join(map(str, needed))
    if there < needed:
        found = f"driver {driver} is too old for CUDA {cuda}, which needs {oldest}"
        return failed(check, found, "update the driver, or run on machines with a newer one (constraint)")
    return ok(check, f"driver {driver} carries CUDA {cuda} (from {oldest})")
