"""Checkpoints are resumed only by the training that made them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from grrm.engines import checkpoints
from grrm.files import UserError, temporary_sibling


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"learning_rate": 0.1, "steps": 5}))
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("{}\n")
    return path


def make_model(folder: Path) -> list[Path]:
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (folder / name).write_text(name)
    return sorted(folder.iterdir())


def test_the_same_training_finds_its_checkpoints(tmp_path: Path, config: Path, data: Path) -> None:
    folder = tmp_path / "checkpoints"
    for _ in range(2):
        checkpoints.claim(folder, checkpoints.identity(config, [data]))
        (folder / "checkpoint-3").mkdir(exist_ok=True)
    assert (folder / "checkpoint-3").exists()


def test_another_configuration_does_not_resume_an_unfinished_training(
    tmp_path: Path, config: Path, data: Path
) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints.claim(folder, checkpoints.identity(config, [data]))
    config.write_text(yaml.safe_dump({"learning_rate": 0.2, "steps": 5}))
    with pytest.raises(UserError, match=r"learning_rate \(0\.1, now 0\.2\)"):
        checkpoints.claim(folder, checkpoints.identity(config, [data]))


def test_other_data_does_not_resume_an_unfinished_training(tmp_path: Path, config: Path, data: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints.claim(folder, checkpoints.identity(config, [data]))
    data.write_text("{}\n{}\n")
    with pytest.raises(UserError, match=r"the content of .*rows\.jsonl"):
        checkpoints.claim(folder, checkpoints.identity(config, [data]))


def test_a_finished_training_is_moved_aside_not_deleted(tmp_path: Path, config: Path, data: Path) -> None:
    folder = tmp_path / "checkpoints"
    checkpoints.claim(folder, checkpoints.identity(config, [data]))
    (folder / "weights").touch()
    checkpoints.mark_finished(folder)
    config.write_text(yaml.safe_dump({"learning_rate": 0.2}))
    checkpoints.claim(folder, checkpoints.identity(config, [data]))
    assert not checkpoints.is_finished(folder)
    assert [path.parent.name for path in tmp_path.glob("checkpoints.*/weights")]


def test_one_on_another_disk_that_was_moved_aside_before_is_left_there(
    tmp_path: Path, config: Path, data: Path
) -> None:
    folder, scratch = tmp_path / "checkpoints", tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "weights").touch()
    first = checkpoints.identity(config, [data])
    config.write_text(yaml.safe_dump({"learning_rate": 0.2}))
    second = checkpoints.identity(config, [data])
    for training in (first, second, first):
        checkpoints.claim(folder, training)
        checkpoints.mark_finished(folder)
        for aside in tmp_path.glob("checkpoints.*"):  # the user moves it to another disk
            if not aside.is_symlink():
                shutil.rmtree(aside)
                aside.symlink_to(scratch)
    checkpoints.claim(folder, second)
    assert [path.name for path in scratch.iterdir()] == ["weights"]
    assert not checkpoints.is_finished(folder)


def test_files_of_unknown_origin_are_refused(tmp_path: Path, config: Path, data: Path) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    (folder / "weights").touch()
    with pytest.raises(UserError, match="move the folder away"):
        checkpoints.claim(folder, checkpoints.identity(config, [data]))


def test_a_model_trained_anew_is_another_input(tmp_path: Path, config: Path, data: Path) -> None:
    model = tmp_path / "model"
    checkpoints.publish(make_model(tmp_path / "working"), model, checkpoints.identity(config, [data]))
    before = checkpoints.identity(config, [model])
    data.write_text("{}\n{}\n")
    checkpoints.publish(sorted((tmp_path / "working").iterdir()), model, checkpoints.identity(config, [data]))
    assert checkpoints.identity(config, [model]) != before


def test_what_a_kill_left_of_the_marker_does_not_make_the_folder_anothers(
    tmp_path: Path, config: Path, data: Path
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    temporary_sibling(folder / checkpoints.IDENTITY).write_text("{")
    checkpoints.claim(folder, checkpoints.identity(config, [data]))
    assert [path.name for path in folder.iterdir()] == [checkpoints.IDENTITY]


def test_models_of_killed_publications_are_removed(tmp_path: Path, config: Path, data: Path) -> None:
    model, another = tmp_path / "model", tmp_path / "model2"
    left, others = temporary_sibling(model), temporary_sibling(another)
    for folder in (left, others):
        folder.mkdir()
        (folder / "model.safetensors").touch()
    checkpoints.publish(make_model(tmp_path / "working"), model, checkpoints.identity(config, [data]))
    assert not left.exists()
    assert others.exists()


def write_state(folder: Path, step: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    state = folder / "trainer_state.json"
    state.write_text(json.dumps({"global_step": step, "max_steps": 10}))
    return state


def test_a_training_is_resumed_from_a_whole_checkpoint_before_its_last_step(tmp_path: Path) -> None:
    for step in (4, 8, 10):
        write_state(tmp_path / f"checkpoint-{step}", step)
    state = tmp_path / "checkpoint-8/trainer_state.json"
    state.write_text(state.read_text()[:-5])
    (tmp_path / "checkpoint-6").mkdir()
    checkpoints.remove_unusable(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-4"]


@pytest.mark.parametrize("name", ["optimizer.pt", "rng_state.pth", "model.safetensors", "training_args.bin"])
def test_a_checkpoint_with_an_empty_file_is_not_resumed(tmp_path: Path, name: str) -> None:
    for step in (4, 8):
        write_state(tmp_path / f"checkpoint-{step}", step)
    (tmp_path / "checkpoint-8" / name).touch()
    checkpoints.remove_unusable(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-4"]


def test_weights_of_an_interrupted_end_do_not_keep_a_training_from_starting_anew(tmp_path: Path) -> None:
    """LLaMA-Factory refuses a folder with weights (its CHECKPOINT_NAMES) and no checkpoint."""
    write_state(tmp_path / "checkpoint-10", 10)
    weights = ("model.safetensors", "model.safetensors.index.json", "model-00001-of-00002.safetensors")
    adapters = ("adapter_model.safetensors", "adapter_model.bin")
    pickled = ("pytorch_model.bin", "pytorch_model.bin.index.json")
    for name in (*weights, *adapters, *pickled, "training.json", "training_args.bin"):
        (tmp_path / name).touch()
    checkpoints.remove_unusable(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["training.json", "training_args.bin"]


@pytest.mark.parametrize(
    ("left_out", "words"),
    [("config.json", "config.json"), ("model.safetensors", "weights"), ("tokenizer.json", "tokenizer")],
)
def test_an_incomplete_model_is_not_published(
    tmp_path: Path, config: Path, data: Path, left_out: str, words: str
) -> None:
    files = [file for file in make_model(tmp_path / "working") if file.name != left_out]
    with pytest.raises(UserError, match=words):
        checkpoints.publish(files, tmp_path / "model", checkpoints.identity(config, [data]))
    assert not (tmp_path / "model").exists()


def test_a_missing_input_is_named(tmp_path: Path, config: Path) -> None:
    with pytest.raises(UserError, match="nowhere"):
        checkpoints.identity(config, [tmp_path / "nowhere"])
