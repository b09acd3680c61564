"""When steps and checkpoints of Hugging Face's trainers were done, for a rehearsal."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from grrm.engines.sessions import STEP_TIMES
from grrm.json_text import json_line


class StepTimes(TrainerCallback):  # type: ignore[misc]
    """Writes a line after each step and each checkpoint, if the environment names a file."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A step is done."""
        self._note(state, "step")

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is written."""
        self._note(state, "saved")

    @staticmethod
    def _note(state: Any, what: str) -> None:
        path = os.environ.get(STEP_TIMES)
        if path and state.is_world_process_zero:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(json_line({what: state.global_step, "at": time.time()}) + "\n")
