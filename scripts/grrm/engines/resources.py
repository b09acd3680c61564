"""Whether a training fits on this machine, before it is started."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Iterable
from pathlib import Path

import psutil

from grrm.files import UserError

_GB = 10**9
# Ray, TransferQueue and verl's processes without any model: 4.4 to 6.5 GB were measured.
_PROCESSES = 5 * _GB
_SESSION = 1 * _GB
# fp32: parameters, gradients, two moments of AdamW; a copy for the rollouts and one on its way there.
_TRAINING_BYTES = 24
_MODEL_BYTES = 4
# A checkpoint holds the parameters twice (for verl and for Hugging Face) and two moments.
_CHECKPOINT_NUMBERS = 4


def parameters(model: Path) -> int:
    """Number of parameters of a model folder, from the headers of its safetensors files."""
    return sum(
        math.prod(tensor["shape"])
        for file in model.glob("*.safetensors")
        for name, tensor in _header(file).items()
        if name != "__metadata__"
    )


def check_memory(policy: Path, judges: Iterable[Path]) -> None:
    """Raise UserError if the machine has too little memory; warn if too little of it is free."""
    needed = _PROCESSES + _TRAINING_BYTES * parameters(policy)
    needed += sum(_MODEL_BYTES * parameters(judge) for judge in judges)
    memory = psutil.virtual_memory()
    if memory.total < needed:
        raise UserError(
            f"training {policy} needs about {needed / _GB:.1f} GB of memory, this machine has "
            f"{memory.total / _GB:.1f} GB: choose a smaller model or a larger machine"
        )
    if memory.available < needed:
        print(
            f"warning: training {policy} needs about {needed / _GB:.1f} GB of memory, "
            f"{memory.available / _GB:.1f} GB are free: close other programs if it is killed",
            flush=True,
        )


def check_disk(policy: Path, working: Path, temporary: Path, *, width: int = 4) -> None:
    """Raise UserError without room for two checkpoints and the finished model, or for Ray's session.

    Args:
        policy: folder of the initial model.
        working: working folder of the training.
        temporary: where Ray's session lies.
        width: bytes of a number in a checkpoint.
    """
    room = (2 * _CHECKPOINT_NUMBERS + 1) * width * parameters(policy)
    for folder, needed, what in (
        (working, room, "two checkpoints and the finished model"),
        (temporary, _SESSION, "Ray's session"),
    ):
        free = shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(
                f"{folder}: {what} need about {needed / _GB:.1f} GB, {free / _GB:.1f} GB are free; "
                "free some space and run the same command again"
            )


def _header(file: Path) -> dict[str, dict[str, list[int]]]:
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header: dict[str, dict[str, list[int]]] = json.loads(stream.read(length))
        return header
