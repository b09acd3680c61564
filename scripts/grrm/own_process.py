"""What tells one process from all others: its machine with its boot, its number, and when it started. What it
does without."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path


def machine() -> str:
    """Boot of the machine and space of its process numbers (a container has its own); empty if unknown."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    return ""


def start_ticks(pid: int) -> int | None:
    """When a process started, in ticks since the boot, whatever the clock; None if it is gone or unknown."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        # The name, in parentheses, may hold anything.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return int(fields[19])
    return None


def do_without_torch() -> None:
    """Have torch count as not installed here: tokenizers need none, and are quicker than its import."""
    sys.modules.setdefault("torch", None)  # type: ignore[arg-type]
    os.environ["TRANSFORMERS_NO_ADVISORY_WARNINGS"] = "1"
