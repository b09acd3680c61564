"""The card that is written beside every trained model, and the upload of a model on request."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import HfApi

from grrm.engines import checkpoints
from grrm.engines.model_card import Metric, base_model, read_licence
from grrm.files import PassingError, UserError, read_json, write_json
from grrm.report.upload import model_files, upload
from hub_server import TOKEN, HubServer, serve

ROOT = Path(__file__).parents[2]
WEIGHTS = b"weights of the model"


def write_model(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    for name, content in {
        "config.json": b"{}",
        "tokenizer.json": b"{}",
        "model.safetensors": WEIGHTS,
    }.items():
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An experiment whose SFT model was taken from the hub and trained on with verl."""
    monkeypatch.chdir(tmp_path)
    base = Path("results/x/models/mt_base")
    write_model(base)
    write_json(
        base / checkpoints.IDENTITY, {"taken": "Qwen/Qwen2.5-7B", "inputs": {"Qwen/Qwen2.5-7B": "1" * 64}}
    )
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n\n# Base\n")
    rows = Path("results/x/prepared/mt_sft.jsonl")
    rows.parent.mkdir(parents=True)
    rows.write_text("{}\n")
    publish("mt_sft", {"model_name_or_path": str(base), "learning_rate": 1e-5, "bf16": True}, [rows, base])
    sft = Path("results/x/models/mt_sft")
    config = {"actor_rollout_ref.model.path": str(sft), "+reward.reward_kwargs.seed": 7}
    publish("mt_grpo", config, [rows, sft])
    return tmp_path


def publish(stage: str, config: dict[str, Any], inputs: list[Path]) -> None:
    path = Path(f"results/x/configs/{stage}.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config))
    files = write_model(Path("working") / stage)
    checkpoints.publish(files, Path("results/x/models") / stage, checkpoints.identity(path, inputs))


def metadata(card: str) -> dict[str, Any]:
    front: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return front


def test_a_published_model_says_where_it_comes_from(experiment: Path) -> None:
    card = Path("results/x/models/mt_grpo/README.md").read_text()
    front = metadata(card)
    assert front["base_model"] == "Qwen/Qwen2.5-7B"
    assert front["license"] == "apache-2.0"
    assert (front["library_name"], front["pipeline_tag"]) == ("transformers", "text-generation")
    assert "| `reward.reward_kwargs.seed` | 7 |" in card
    assert "from elsewhere: `Qwen/Qwen2.5-7B`" in card
    digest = hashlib.sha256(b"{}\n").hexdigest()[:12]
    assert f"`results/x/prepared/mt_sft.jsonl` ({digest})" in card


def test_a_card_changes_neither_the_identity_nor_the_fingerprint(experiment: Path) -> None:
    model = Path("results/x/models/mt_grpo")
    before = checkpoints.fingerprint(model)
    (model / "README.md").write_text("other words")
    assert checkpoints.fingerprint(model) == before
    assert "README" not in json.dumps(read_json(model / checkpoints.IDENTITY))


def test_a_model_that_began_with_random_weights_names_no_base_and_no_licence(experiment: Path) -> None:
    write_model(Path("results/x/models/grrm_base"))
    config = {"model_name_or_path": "results/x/models/grrm_base"}
    publish("grrm_sft", config, [Path("results/x/models/grrm_base")])
    front = metadata(Path("results/x/models/grrm_sft/README.md").read_text())
    assert not {"base_model", "license"} & front.keys()


def test_folders_of_a_machine_are_not_told() -> None:
    card = checkpoints.card(
        "judge_pointwise",
        {"config": {"model_name_or_path": "/home/me/base"}, "inputs": {"/home/me/rows.parquet": "a" * 64}},
    )
    assert "/home/me" not in card
    assert "rows.parquet" in card
    assert base_model({"config": {"model_name_or_path": "/home/me/base"}}, []) is None


@pytest.mark.parametrize("text", ["", "# no metadata", "---\n: :\n---\n", "---\n- a\n---\n"])
def test_a_base_model_without_metadata_has_no_known_licence(tmp_path: Path, text: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_licence(tmp_path) is None


def test_metrics_are_a_table_and_metadata() -> None:
    metric = Metric("ranking", "held_out", "ranking_accuracy", 0.65667, 0.61, 0.7, 300, "acc|ties:strict")
    card = checkpoints.card("grrm_rlvr", {"config": {}, "inputs": {}}, [metric])
    assert "| ranking | held_out | ranking_accuracy | 0.6567 [0.61, 0.7] | 300 | acc\\|ties:strict |" in card
    (result,) = metadata(card)["model-index"][0]["results"]
    assert result["metrics"][0]["value"] == 0.6567


# ---------------------------------------------------------------- grrm push


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with serve() as server:
        yield server


def push(folder: Path, hub: HubServer, *flags: str, **env: str) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-m", "grrm.cli", "push", "results/x/models/mt_grpo", *flags],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "PYTHONPATH": str(ROOT / "scripts"),
            "HF_ENDPOINT": hub.endpoint,
            "HF_HUB_DISABLE_XET": "1",
            "NO_PROXY": "*",
            **env,
        },
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert TOKEN not in result.stdout + result.stderr
    return result


def test_a_push_uploads_model_card_with_metrics_and_provenance(experiment: Path, hub: HubServer) -> None:
    digest = hashlib.sha256(hashlib.sha256(WEIGHTS).hexdigest().encode()).hexdigest()
    score = {
        "task": "translation",
        "data": "results/x/data/translation_test.parquet",
        "data_sha256": "c" * 64,
        "metric": "bleu",
        "value": 31.5,
        "low": 30.0,
        "high": 33.0,
        "n": 200,
        "signature": "nrefs:1|tok:13a",
    }
    others = {**score, "metric": "chrf", "weights": "of another model"}
    write_json(Path("results/x/summary.json"), {"scores": [{**score, "weights": digest}, others]})
    write_json(Path("results/x/provenance/provenance.json"), {"code": {}})
    result = push(experiment, hub, "me/mt", "--private", HF_TOKEN=TOKEN)
    assert result.returncode == 0, result.stderr
    repository = hub.repositories["me/mt"]
    assert repository.private
    files = repository.commits[repository.branches["main"]]
    assert files["model.safetensors"] == WEIGHTS
    assert json.loads(files["training.json"]) == read_json(Path("results/x/models/mt_grpo/training.json"))
    assert set(files) == {
        *("model.safetensors", "config.json", "tokenizer.json", "training.json", "README.md"),
        "provenance/provenance.json",
    }
    card = files["README.md"].decode()
    assert "| bleu | 31.5 [30, 33] | 200 |" in card
    assert "chrf" not in card
    assert (
        "Not measured" in Path("results/x/models/mt_grpo/README.md").read_text()
    )  # the workflow's own stays


def test_a_dry_run_sends_nothing_and_needs_no_token(experiment: Path, hub: HubServer) -> None:
    result = push(experiment, hub, "me/mt", "--dry-run")
    assert result.returncode == 0, result.stderr
    assert "model.safetensors: 20 bytes" in result.stdout
    assert hub.requests == []


@pytest.mark.parametrize(
    ("token", "writable", "words"),
    [("", True, "HF_TOKEN is not set"), ("hf_wrong", True, "not accepted"), (TOKEN, False, "may not write")],
)
def test_what_is_wrong_with_the_token_is_said(
    experiment: Path, hub: HubServer, token: str, writable: bool, words: str
) -> None:
    hub.writable = writable
    result = push(experiment, hub, "me/mt", HF_TOKEN=token)
    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_hub_that_is_not_there_is_named(experiment: Path, hub: HubServer) -> None:
    result = push(experiment, hub, "me/mt", HF_TOKEN=TOKEN, HF_ENDPOINT="http://127.0.0.1:9")
    assert result.returncode == 2
    assert "http://127.0.0.1:9 cannot be reached" in result.stderr


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Error while uploading 'model.safetensors'"),
        ConnectionError("reset"),
        PermissionError(13),
    ],
)
def test_an_upload_of_large_files_that_fails_is_one_line(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(HfApi, "create_repo", lambda *_, **__: None)
    monkeypatch.setattr(HfApi, "create_commit", fails)
    with pytest.raises(PassingError, match=r"me/mt: the upload failed .*run the same command again"):
        upload("me/mt", {"README.md": b"x"}, private=True)


def test_only_models_that_were_trained_here_are_pushed(experiment: Path) -> None:
    write_model(Path("foreign"))
    with pytest.raises(UserError, match=r"foreign/training\.json: no such file"):
        model_files(Path("foreign"))
