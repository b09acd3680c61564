"""Trackers: chosen at launch, on this machine unless the user says otherwise, and no part of a training."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest

from grrm.engines import trackers
from grrm.files import UserError

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("tracker", [name for name in trackers.TRACKERS if name != "none"])
def test_a_tracker_writes_to_its_folder_and_sends_nothing(tmp_path: Path, tracker: trackers.Tracker) -> None:
    folder = tmp_path / "tracking"
    variables = trackers.environment(tracker, folder, run="mt_sft", inherited={})
    assert any(str(folder) in value for value in variables.values())
    assert {variables.get(name, "offline") for name in ("WANDB_MODE", "SWANLAB_MODE")} == {"offline"}
    assert folder.is_dir()


def test_what_the_user_has_set_stays(tmp_path: Path) -> None:
    variables = trackers.environment(
        "wandb", tmp_path, run="mt_sft", inherited={"WANDB_MODE": "online", "WANDB_API_KEY": "secret"}
    )
    assert variables["WANDB_MODE"] == "online"
    assert "secret" not in variables.values()


def test_without_a_tracker_wandb_is_off_and_nothing_is_made(tmp_path: Path) -> None:
    folder = tmp_path / "tracking"
    variables = trackers.environment("none", folder, run="x", inherited={"WANDB_MODE": "online"})
    assert variables == {"WANDB_MODE": "disabled"}
    assert not folder.exists()
    assert trackers.llamafactory_arguments("none") == []
    assert trackers.verl_overrides({}, "none") == {}


def test_the_figures_for_the_curve_are_kept_beside_the_tracker() -> None:
    config = {"trainer.logger": ["console", "file"], "trainer.nnodes": 1}
    assert trackers.verl_overrides(config, "wandb") == {"trainer.logger": ["console", "file", "wandb"]}
    fork = {"trainer.logger": ["console", "wandb"]}
    assert trackers.verl_overrides(fork, "wandb") == fork


def test_a_package_that_is_missing_is_named_with_the_way_to_install_it() -> None:
    trackers.check_installed("none", "no such python")
    with pytest.raises(UserError, match=f"swanlab is not installed for {sys.executable}.*uv pip install"):
        trackers.check_installed("swanlab", sys.executable)


def test_the_workflow_tells_its_trainings_without_a_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f'{trackers.VARIABLE}=config["tracker"]' in (ROOT / "rules/common.smk").read_text()
    for value, expected in (("wandb", "wandb"), (None, "none")):
        if value:
            monkeypatch.setenv(trackers.VARIABLE, value)
        else:
            monkeypatch.delenv(trackers.VARIABLE)
        parser = argparse.ArgumentParser()
        trackers.add_option(parser)
        assert parser.parse_args([]).tracker == expected
        assert parser.parse_args(["--tracker", "mlflow"]).tracker == "mlflow"
