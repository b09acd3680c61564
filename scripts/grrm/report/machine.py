"""The machine this runs on: in a few words, and as far as digits depend on it."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from grrm.catalogue.trainings import STAGES
from grrm.preflight.probes import usable_cores

# Of a processor, what libraries of linear algebra choose their kernels by; the names of Linux.
_EXTENSIONS = {
    *("avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq", "avx512vl"),
    *("avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_bf16", "amx_int8"),
}
HELD_TO_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "MKL_CBWR": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
"""Variables that hold torch, MKL and oneDNN to kernels that other processors have, too."""

# As torch sees it (aten/src/ATen/native/DispatchStub.cpp).
_CAPABILITIES = {"AVX512": {"avx512vl", "avx512bw", "avx512dq", "fma"}, "AVX2": {"avx2", "fma"}}


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory and system."""
    return {
        "cpu": _processor(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def processor(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the last digits of sums depend on: another of these may train other weights from the same seed.

    Args:
        settings: the configuration of the experiment.

    Returns:
        architecture, vendor, torch's name for its capability, the sorted extensions by which kernels are
        chosen (none if all libraries are held to AVX2), variables that hold them if any do, the threads of
        each stage, no more than there are cores.
    """
    flags = set(_line("flags").split())
    capabilities = [name for name, needed in _CAPABILITIES.items() if needed <= flags]
    stages = [stage for stage in STAGES if "threads" in (settings.get(stage) or {})]
    held = {name: os.environ[name] for name in HELD_TO_AVX2 if os.environ.get(name)}
    return {
        "architecture": platform.machine(),
        "vendor": _line("vendor_id"),
        "capability": os.environ.get("ATEN_CPU_CAPABILITY", "").upper()
        or next(iter(capabilities), "DEFAULT"),
        "extensions": [] if held == HELD_TO_AVX2 else sorted(flags & _EXTENSIONS),
        **({"held": held} if held else {}),
        "threads": {stage: min(settings[stage]["threads"], usable_cores()) for stage in stages},
    }


def _processor() -> str:
    return _line("model name") or platform.processor() or platform.machine()


def _line(name: str) -> str:
    """What /proc/cpuinfo says of the first processor; empty without it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
