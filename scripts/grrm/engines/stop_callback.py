"""Hugging Face's trainers stop after a checkpoint when they are asked to (`stop.py`)."""

from __future__ import annotations

from typing import Any

import torch
from transformers import TrainerCallback

from grrm.engines.stop import acknowledge, is_requested


class StopWhenAsked(TrainerCallback):  # type: ignore[misc]
    """After each step: a checkpoint, and the end, if somebody asked for it."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask the trainer to save and to stop; the last step does both anyway."""
        if state.global_step < state.max_steps and _first_rank_sees_request(args):
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Say where it stopped, now that the checkpoint is there."""
        if state.is_world_process_zero and state.global_step < state.max_steps:
            acknowledge(args.output_dir, state.global_step)


def _first_rank_sees_request(args: Any) -> bool:
    """The same answer on all ranks, which might see the file at different steps."""
    distributed = torch.distributed.is_initialized()
    asked = torch.tensor(int(not distributed or torch.distributed.get_rank() == 0), device=args.device)
    asked *= int(is_requested(args.output_dir))
    if distributed:
        torch.distributed.broadcast(asked, src=0)
    return bool(asked)
