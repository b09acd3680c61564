"""A model from elsewhere becomes one of the experiment's, whole, with its origin."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import take_model
from grrm.engines import checkpoints
from grrm.files import UserError


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "source", config__json="{}", model__safetensors="w", tokenizer__json="{}")


def take(source: Path, output: Path, *arguments: str) -> None:
    flags = ["--source", str(source), "--reference", "someone/model", "--output", str(output)]
    take_model.main([*flags, *arguments])


def test_its_files_are_linked_not_copied(model: Path, tmp_path: Path) -> None:
    take(model, tmp_path / "models/grrm_base")
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (tmp_path / "models/grrm_base" / name).samefile(model / name)


def test_its_origin_travels_with_it(model: Path, tmp_path: Path) -> None:
    take(model, tmp_path / "taken")
    identity = json.loads((tmp_path / "taken" / checkpoints.IDENTITY).read_text())
    assert identity["taken"] == "someone/model"


def test_other_weights_make_another_model_for_the_stages_after(model: Path, tmp_path: Path) -> None:
    take(model, tmp_path / "one")
    other = write(tmp_path / "b", config__json="{}", model__safetensors="other", tokenizer__json="{}")
    take(other, tmp_path / "two")
    assert checkpoints.fingerprint(tmp_path / "one") != checkpoints.fingerprint(tmp_path / "two")


def test_a_model_of_another_experiment_keeps_its_own_history(model: Path, tmp_path: Path) -> None:
    (model / checkpoints.IDENTITY).write_text('{"config": "its own"}')
    take(model, tmp_path / "taken")
    assert (model / checkpoints.IDENTITY).read_text() == '{"config": "its own"}'


def test_an_incomplete_model_is_named_with_what_it_lacks(model: Path, tmp_path: Path) -> None:
    (model / "tokenizer.json").unlink()
    with pytest.raises(UserError, match=r"source: .* it lacks a tokenizer"):
        take(model, tmp_path / "taken")
    assert not (tmp_path / "taken").exists()


def test_a_comet_checkpoint_takes_its_encoder_with_it(tmp_path: Path) -> None:
    comet = write(tmp_path / "comet", hparams__yaml="x")
    write(comet / "checkpoints", model__ckpt="w")
    encoder = write(tmp_path / "xlmr", config__json="{}", sentencepiece__bpe__model="s")
    take(comet, tmp_path / "taken", "--encoder", str(encoder))
    files = {
        str(path.relative_to(tmp_path / "taken"))
        for path in (tmp_path / "taken").rglob("*")
        if path.is_file()
    }
    assert files == {
        "hparams.yaml",
        "checkpoints/model.ckpt",
        "encoder/config.json",
        "encoder/sentencepiece.bpe.model",
        checkpoints.IDENTITY,
    }


def test_a_comet_checkpoint_without_weights_is_refused(tmp_path: Path) -> None:
    comet = write(tmp_path / "comet", hparams__yaml="x")
    with pytest.raises(UserError, match=r"lacks checkpoints/model\.ckpt"):
        take(comet, tmp_path / "taken")


def test_a_metrics_model_comes_with_its_tokenizer(tmp_path: Path) -> None:
    metric = write(tmp_path / "metric", config__json="{}", pytorch_model__bin="w")
    tokenizer = write(tmp_path / "mt5", spiece__model="v")
    take(metric, tmp_path / "taken", "--metric", "--tokenizer", str(tokenizer))
    assert (tmp_path / "taken/tokenizer/spiece.model").read_text() == "v"
    assert (tmp_path / "taken/pytorch_model.bin").read_text() == "w"


def test_an_incomplete_metrics_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"neither hparams\.yaml .* nor config"):
        take(write(tmp_path / "metric", config__json="{}"), tmp_path / "taken", "--metric")


def test_a_checkpoint_that_was_made_here_brings_its_own_encoder(tmp_path: Path) -> None:
    comet = write(tmp_path / "comet", hparams__yaml="x")
    write(comet / "checkpoints", model__ckpt="w")
    write(comet / "encoder", config__json="own")
    take(comet, tmp_path / "taken")
    assert (tmp_path / "taken/encoder/config.json").read_text() == "own"
    other = write(tmp_path / "xlmr", config__json="other")
    take(comet, tmp_path / "again", "--encoder", str(other))
    assert (tmp_path / "again/encoder/config.json").read_text() == "other"
