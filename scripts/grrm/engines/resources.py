"""Whether a training fits on this machine, before it is started; and what to say if it did not."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from grrm.engines.memory import memory
from grrm.files import UserError
from grrm.model_folder import parameters

_GB = 10**9
# Ray, TransferQueue and verl's processes without any model: 4.4 to 6.5 GB were measured.
_PROCESSES = 5 * _GB
# A process of LLaMA-Factory or TRL without a model: 0.9 GB were measured.
_PROCESS = 1 * _GB
_SESSION = 1 * _GB
# fp32: parameters; for RL a copy for the rollouts, and one on its way there.
_SFT_BYTES = 4
_RL_BYTES = 12
_TRAINED_BYTES = 12  # gradients and two moments of AdamW
_MODEL_BYTES = 4
# verl's checkpoint holds the parameters for Hugging Face; what is trained for itself, with two moments.
_RL_CHECKPOINT_NUMBERS = 1
_RL_TRAINED_NUMBERS = 3
# Hugging Face's: parameters and two moments in fp32; or bf16 parameters, and a copy and two moments in fp32.
_SFT_CHECKPOINT_BYTES = {"cpu": 12, "cuda": 14}
# Of exit statuses: ended by SIGKILL, as Python and as a shell (or srun) says it.
_KILLED = (-9, 137)


def check_rl_memory(policy: Path, judges: Iterable[Path], adapters: int = 0) -> None:
    """Raise UserError if there is too little memory for verl without GPUs; warn if too little is free.

    Args:
        policy: folder of the initial model.
        judges: folders of those that verl serves.
        adapters: parameters of what alone is trained; 0 if all are.
    """
    needed = _PROCESSES + _model_bytes(policy, adapters, _RL_BYTES)
    _check_memory(policy, needed + sum(_MODEL_BYTES * parameters(judge) for judge in judges))


def check_sft_memory(model: Path, processes: int = 1, adapters: int = 0) -> None:
    """Raise UserError if there is too little memory to finetune without GPUs; warn if too little is free.

    Args:
        model: folder of the initial model.
        processes: on this machine, each of which holds it.
        adapters: parameters of what alone is trained; 0 if all are.
    """
    _check_memory(model, processes * (_PROCESS + _model_bytes(model, adapters, _SFT_BYTES)))


def _model_bytes(model: Path, adapters: int, width: int) -> int:
    """Of a model with `width` bytes a parameter, and gradients and moments of what is trained."""
    held = parameters(model) + adapters
    return width * held + _TRAINED_BYTES * (adapters or held)


def _check_memory(model: Path, needed: int) -> None:
    found = memory()
    if found.total < needed:
        raise UserError(
            f"training {model} needs about {needed / _GB:.1f} GB of memory, {found.where} has "
            f"{found.total / _GB:.1f} GB: {found.remedy}, or choose a smaller model"
        )
    if found.available < needed:
        print(
            f"warning: training {model} needs about {needed / _GB:.1f} GB of memory, "
            f"{found.available / _GB:.1f} GB are free: close other programs if it is killed",
            flush=True,
        )


def check_rl_disk(policy: Path, working: Path, temporary: Path, *, width: int = 4, adapters: int = 0) -> None:
    """Raise UserError without room for two checkpoints and the finished model, or for Ray's session.

    Args:
        policy: folder of the initial model.
        working: working folder of the training.
        temporary: where Ray's session lies.
        width: bytes of a number in a checkpoint.
        adapters: parameters of what alone is trained; 0 if all are.
    """
    model = parameters(policy)
    checkpoint = _RL_CHECKPOINT_NUMBERS * model + _RL_TRAINED_NUMBERS * (adapters or model)
    room = (2 * checkpoint + model) * width
    _check_disk(working, room - _size(working), "two checkpoints and the finished model")
    _check_disk(temporary, _SESSION, "Ray's session")


def check_sft_disk(model: Path, working: Path, *, device: str, saves: int | None, adapters: int = 0) -> None:
    """Raise UserError without room for the checkpoints of a finetuning, its result and the finished model.

    Args:
        model: folder of the initial model.
        working: working folder of the training; two checkpoints are kept in it while a third is written.
        device: cpu or cuda.
        saves: how often a checkpoint is written; None if that is not known.
        adapters: parameters of what alone is trained; 0 if all are.
    """
    count = 3 if saves is None else min(saves, 3)
    width = _MODEL_BYTES if device == "cpu" else _MODEL_BYTES // 2
    trained = adapters or parameters(model)
    room = count * _SFT_CHECKPOINT_BYTES[device] * trained + 2 * width * parameters(model)
    _check_disk(working, room - _size(working), "checkpoints and the finished model")


def _check_disk(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{folder}: {what} need about {needed / _GB:.1f} GB more, {free / _GB:.1f} GB are free; "
            "free some space and run the same command again"
        )


def _size(folder: Path) -> int:
    """Bytes of what an interrupted training has left: its checkpoints make room for later ones."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def end_of_engine(engine: str, status: int, otherwise: str) -> str:
    """What to say about an engine that ended with an error.

    Args:
        engine: its name.
        status: its exit status.
        otherwise: what to say unless it was killed, when it could not say anything itself.
    """
    if status not in _KILLED:
        return f"{engine} ended with status {status}; {otherwise}"
    found = memory()
    return (
        f"{engine} was killed from outside (status {status}), probably for want of memory: {found.where} has "
        f"{found.total / _GB:.1f} GB, of which {found.available / _GB:.1f} GB are free now. Close other "
        f"programs, {found.remedy}, or choose a smaller model or batch"
    )
