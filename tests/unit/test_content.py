"""Content by hash: what was replaced is noticed whatever its size and time, and nothing is read twice."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from grrm import content
from grrm.asking.client import JudgeClient
from grrm.asking.options import JudgeOptions
from grrm.engines import checkpoints
from grrm.files import UserError, sha256

OLD = time.time_ns() - 3600 * 10**9


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model folder in a checkout that Snakemake works in."""
    (tmp_path / ".snakemake").mkdir()
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "model"
    folder.mkdir()
    write(folder / "model.safetensors", b"a")
    for name in ("config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    return folder


def write(file: Path, byte: bytes) -> None:
    """Weights of always the same size and time."""
    file.write_bytes(byte * 2**21)
    os.utime(file, ns=(OLD, OLD))


def replace(file: Path, byte: bytes) -> None:
    other = file.with_name("other")
    write(other, byte)
    other.replace(file)


@pytest.mark.parametrize("change", [write, replace], ids=["written over", "replaced"])
def test_weights_of_the_same_size_and_time_are_others(
    model: Path, change: Callable[[Path, bytes], None]
) -> None:
    before = checkpoints.fingerprint(model)
    change(model / "model.safetensors", b"b")
    assert checkpoints.fingerprint(model) != before
    change(model / "model.safetensors", b"a")
    assert checkpoints.fingerprint(model) == before


def test_weights_that_stay_are_read_once(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "_TICK", -1.0)
    before = checkpoints.fingerprint(model)
    read: list[str] = []

    def reading(path: Path) -> str:
        read.append(path.name)
        return sha256(path)

    monkeypatch.setattr(content, "sha256", reading)
    assert checkpoints.fingerprint(model) == before
    assert "model.safetensors" not in read


@pytest.mark.parametrize("torn", ["", "abc", "0" * 63, "\n", "ä" * 64])
def test_a_torn_hash_is_made_again(model: Path, monkeypatch: pytest.MonkeyPatch, torn: str) -> None:
    monkeypatch.setattr(content, "_TICK", -1.0)
    before = checkpoints.fingerprint(model)
    (known,) = content.CACHE.iterdir()
    known.write_text(torn)
    assert checkpoints.fingerprint(model) == before
    assert len(known.read_text()) == 65


def test_nothing_is_kept_where_snakemake_does_not_work(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model)
    checkpoints.fingerprint(model)
    assert not (model / ".snakemake").exists()


def test_weights_of_a_finished_model_that_were_replaced_are_no_longer_its_training(model: Path) -> None:
    published = model.with_name("published")
    checkpoints.publish(sorted(model.iterdir()), published, {"config": {}, "inputs": {}})
    before = checkpoints.fingerprint(published)
    (published / ".snakemake_timestamp").touch()
    (published / "README.md").write_text("a card with other metrics")
    assert checkpoints.fingerprint(published) == before
    write(published / "model.safetensors", b"b")
    assert checkpoints.fingerprint(published) != before


def test_a_finished_model_of_before_is_known_by_its_training(model: Path) -> None:
    before = checkpoints.fingerprint(model)
    (model / checkpoints.IDENTITY).write_text('{"config": {}}')
    of_training = checkpoints.fingerprint(model)
    assert of_training != before
    write(model / "model.safetensors", b"b")
    assert checkpoints.fingerprint(model) == of_training


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing: cannot be read"):
        content.file_hash(tmp_path / "nothing")


@pytest.mark.parametrize("name", ["Qwen/Qwen2.5-7B", "gpt", "", "a\nb", "a\0b", "x" * 5000])
def test_a_name_is_no_folder(name: str) -> None:
    assert content.model_hash(name) is None


def test_answers_of_a_local_judge_are_those_of_its_files(model: Path) -> None:
    def keys() -> set[str]:
        options = JudgeOptions(model=str(model), url="http://127.0.0.1:1/v1", cache="answers.sqlite")
        return {JudgeClient(options, {}).key({"model": str(model)}, 0)}

    before = keys()
    assert keys() == before
    write(model / "model.safetensors", b"b")
    assert keys() != before
