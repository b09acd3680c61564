"""verl's trainer writes checkpoints by the clock too, and stops after one when it is asked to.

verl 0.9.1 counts steps only. It saves before an announced expiry in its old trainer only, and goes on
training then.
"""

from __future__ import annotations

import functools
import time
from typing import Any

from grrm.engines.stop import acknowledge, is_requested
from grrm.verl_plugin.compatibility import check_signature

_FILE = "verl/trainer/ppo/v1/trainer_sync.py"


class SaveClock:
    """When a checkpoint is due, so that no more than some minutes of training can be lost.

    Args:
        minutes: that may be lost at most.
        now: seconds of a monotonic clock, at the start of the first step.
    """

    def __init__(self, minutes: float, now: float) -> None:
        self._seconds = 60 * minutes
        self._saved = self._ended = now
        self._longest = 0.0

    def is_due(self, now: float, *, saved: bool) -> bool:
        """Whether the end of the next step, were it the longest so far, would be too late.

        Args:
            now: end of a step.
            saved: whether it was saved anyway.
        """
        self._longest = max(self._longest, now - self._ended)
        self._ended = now
        if not saved and now - self._saved + self._longest <= self._seconds:
            return False
        self._saved = now
        return not saved


def checkpoint_in_time() -> None:
    """Hook into verl's `on_step_end`, which follows a step and its checkpoint, if any.

    A checkpoint is written at the latest `trainer.save_minutes` after the one before (or the start), and
    when the training is asked to stop (`grrm.engines.stop`), which it then does.
    """
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    start, end = PPOTrainerSync.on_init_end, PPOTrainerSync.on_step_end
    if hasattr(end, "__wrapped__"):
        return
    for original in (start, end):
        check_signature(original, ["self"], _FILE)

    @functools.wraps(start)
    def on_init_end(self: Any) -> None:
        start(self)
        self.save_clock = SaveClock(self.config.trainer.get("save_minutes", float("inf")), time.monotonic())

    @functools.wraps(end)
    def on_step_end(self: Any) -> None:
        step, settings = self.global_steps, self.config.trainer
        if step < self.total_training_steps:
            stops = is_requested(settings.default_local_dir)
            saved = settings.save_freq > 0 and step % settings.save_freq == 0
            due = self.save_clock.is_due(time.monotonic(), saved=saved)
            if due or (stops and not saved):
                self._save_checkpoint()
            if stops:
                acknowledge(settings.default_local_dir, step)
                self.total_training_steps = step  # the loop ends here
        end(self)

    PPOTrainerSync.on_init_end, PPOTrainerSync.on_step_end = on_init_end, on_step_end
