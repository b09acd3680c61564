"""verl's trainer stops after a checkpoint when it is asked to (`grrm.engines.stop`).

verl 0.9.1 saves before an announced expiry in its old trainer only, and goes on training then.
"""

from __future__ import annotations

import functools
from typing import Any

from grrm.engines.stop import acknowledge, is_requested
from grrm.verl_plugin.compatibility import check_signature


def stop_when_asked() -> None:
    """verl/trainer/ppo/v1/trainer_sync.py, `on_step_end`, which follows a step and its checkpoint, if any."""
    from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

    original = PPOTrainerSync.on_step_end
    if hasattr(original, "__wrapped__"):
        return
    check_signature(original, ["self"], "verl/trainer/ppo/v1/trainer_sync.py")

    @functools.wraps(original)
    def on_step_end(self: Any) -> None:
        step, settings = self.global_steps, self.config.trainer
        if step < self.total_training_steps and is_requested(settings.default_local_dir):
            if step % settings.save_freq:
                self._save_checkpoint()
            acknowledge(settings.default_local_dir, step)
            self.total_training_steps = step  # the loop ends here
        original(self)

    PPOTrainerSync.on_step_end = on_step_end
