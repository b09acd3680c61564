"""verl's trainer as it is asked to stop: the step's checkpoint, then the end of its loop."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from grrm.verl_plugin.stop import stop_when_asked


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    """What verl's hook touches, at step 3 of 9 with a checkpoint every second step."""
    stop_when_asked()
    stop_when_asked()  # a second replay buffer in the same process changes nothing
    calls: list[str] = []
    return SimpleNamespace(
        calls=calls,
        global_steps=3,
        total_training_steps=9,
        config=SimpleNamespace(trainer=SimpleNamespace(default_local_dir=str(tmp_path), save_freq=2)),
        timing_raw={},
        _save_checkpoint=lambda: calls.append("save"),
        checkpoint_manager=SimpleNamespace(update_weights=lambda step: calls.append(f"weights {step}")),
    )


def test_without_a_request_nothing_changes(trainer: Any, tmp_path: Path) -> None:
    PPOTrainerSync.on_step_end(trainer)
    assert trainer.calls == ["weights 3"]
    assert trainer.total_training_steps == 9
    assert list(tmp_path.iterdir()) == []


def test_asked_to_stop_it_saves_says_so_and_has_no_further_step(trainer: Any, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    PPOTrainerSync.on_step_end(trainer)
    assert trainer.calls == ["save", "weights 3"]
    assert trainer.total_training_steps == 3
    assert (tmp_path / "stopped").read_text() == "3"


def test_a_step_that_was_saved_is_not_saved_again(trainer: Any, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    trainer.global_steps = 4
    PPOTrainerSync.on_step_end(trainer)
    assert trainer.calls == ["weights 4"]


def test_the_last_step_is_the_end_anyway(trainer: Any, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    trainer.global_steps = 9
    PPOTrainerSync.on_step_end(trainer)
    assert not (tmp_path / "stopped").exists()
