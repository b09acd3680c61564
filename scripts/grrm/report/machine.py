"""The machine this runs on, in a few words."""

from __future__ import annotations

import platform
import re
from pathlib import Path
from typing import Any

import psutil

from grrm.preflight.probes import usable_cores


def machine() -> dict[str, Any]:
    """Processor, usable cores, memory and system."""
    return {
        "cpu": _processor(),
        "cores": usable_cores(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    named = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else platform.processor() or platform.machine()
