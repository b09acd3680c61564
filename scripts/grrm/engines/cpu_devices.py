"""Checkpoints of several processes on CPUs can be read again.

A process among several knows its CPU by a number, and transformers reads its optimizer's state "to cpu:0":
a place where torch (2.13) has tensors but to which it restores none.
"""

from __future__ import annotations

import re
from typing import Any

import torch

# After torch's own, which have 10 to 30.
_PRIORITY = 100


def restore_to_numbered_cpus() -> None:
    """From now on `torch.load` takes cpu:0, cpu:1, ... for what they are, the CPU."""
    torch.serialization.register_package(_PRIORITY, lambda storage: None, _restore)


def _restore(storage: Any, location: str) -> Any:
    return storage if re.fullmatch(r"cpu:\d+", location) else None
