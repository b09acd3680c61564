"""verl's trainer with checkpoints by the clock, and asked to stop: a checkpoint, then the end of its loop."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync

from grrm.verl_plugin.save_clock import SaveClock, checkpoint_in_time


@pytest.fixture
def trainer(tmp_path: Path) -> Any:
    """What verl's hooks touch, at step 3 of 9 with a checkpoint every second step."""
    checkpoint_in_time()
    checkpoint_in_time()  # a second replay buffer in the same process changes nothing
    calls: list[str] = []
    settings = {"default_local_dir": str(tmp_path), "save_freq": 2, "save_minutes": 30}
    trainer = SimpleNamespace(
        calls=calls,
        global_steps=0,
        total_training_steps=9,
        config=OmegaConf.create({"trainer": settings}),
        timing_raw={},
        _save_checkpoint=lambda: calls.append("save"),
        checkpoint_manager=SimpleNamespace(update_weights=lambda step: calls.append(f"weights {step}")),
    )
    PPOTrainerSync.on_init_end(trainer)
    assert calls == ["weights 0"]
    calls.clear()
    trainer.global_steps = 3
    return trainer


def test_without_a_request_nothing_changes(trainer: Any, tmp_path: Path) -> None:
    PPOTrainerSync.on_step_end(trainer)
    assert trainer.calls == ["weights 3"]
    assert trainer.total_training_steps == 9
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_written_before_too_much_could_be_lost(
    trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = time.monotonic()
    for minutes, calls in ((14, []), (28, ["save"]), (42, []), (56, ["save"])):
        monkeypatch.setattr(time, "monotonic", lambda minutes=minutes: start + 60 * minutes)
        trainer.calls.clear()
        PPOTrainerSync.on_step_end(trainer)
        assert trainer.calls == [*calls, "weights 3"]
    assert trainer.total_training_steps == 9, "it goes on"


def test_regular_checkpoints_count_and_a_slow_step_is_expected_again() -> None:
    clock = SaveClock(30, now=0)
    assert not clock.is_due(600, saved=True)
    assert not clock.is_due(1200, saved=False), "at 2400 it could still be saved"
    assert not clock.is_due(1800, saved=False), "600 + 1800 is the limit itself"
    assert clock.is_due(2400, saved=False)
    assert clock.is_due(3700, saved=False), "a step of 1300 s: the next one would end after 2600"
    assert clock.is_due(4800, saved=False), "so it is from now on"


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
