"""COMET: scoring with a checkpoint folder, and training the tiny one that stands in for a published
checkpoint.

A checkpoint folder is laid out as the published ones are: hparams.yaml, checkpoints/model.ckpt. Ours also
holds its encoder's configuration and tokenizer in encoder/, so it can be moved and needs no download. torch
and comet are imported in functions only: they exist in COMET's own environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from grrm.files import UserError, read_yaml, sha256
from grrm.metrics.segments import Given, Scored
from grrm.metrics.tiny import TinyModel, check_rows, fit, write_vocabulary

CHECKPOINT = Path("checkpoints/model.ckpt")
HPARAMS = Path("hparams.yaml")
ENCODER = Path("encoder")

Segment = Mapping[str, Any]  # src, mt, ref: str; for training also score: float

_MAX_POSITIONS = 514


# ---------------------------------------------------------------- scoring


def score(given: Given) -> Scored:
    """COMET, CometKiwi or XCOMET of translations."""
    read_hparams(given.folder)
    scores, signed = given.segments.score_once(
        lambda segments: score_segments(given.folder, segments, **given.speed)
    )
    return Scored(scores, signed, {"model": str(given.folder)})


def score_segments(
    folder: Path, segments: Sequence[Segment], *, batch_size: int = 64, threads: int = 1
) -> tuple[list[float], str]:
    """COMET score of each segment (src, mt, ref) and the metric's signature.

    COMET, CometKiwi (which is not shown the reference) and XCOMET alike.

    Raises:
        UserError: the folder is not a complete checkpoint, or the checkpoint does not fit its model class.
    """
    import torch

    torch.set_num_threads(threads)
    model = load_model(folder)
    fields = input_fields(read_hparams(folder))
    output = model.predict(
        [{name: segment[name] for name in fields} for segment in segments],
        batch_size=batch_size,
        gpus=min(1, torch.cuda.device_count()),
        num_workers=0,  # none: the data is in memory, and workers outlive an interrupted run
        progress_bar=False,
    )
    return [float(score) for score in output.scores], signature(folder)


def input_fields(hparams: Mapping[str, Any]) -> list[str]:
    """What a model is shown, of src, mt and ref.

    Not the library's `requires_references`: that is false for XCOMET, which can do without but is meant to
    see the reference.
    """
    if hparams["class_identifier"] == "referenceless_regression_metric":
        return ["src", "mt"]
    known = hparams.get("input_segments", ["src", "mt", "ref"])
    return [field for field in ("src", "mt", "ref") if field in known]


def signature(folder: Path) -> str:
    """Class of the model, what it sees, hash of its weights, version of the library."""
    from importlib.metadata import version

    hparams = read_hparams(folder)
    weights = sha256(folder / CHECKPOINT)[:12]
    return (
        f"COMET|model:{folder.name}|class:{hparams['class_identifier']}|input:{'+'.join(input_fields(hparams))}"
        f"|weights:{weights}|version:{version('unbabel-comet')}"
    )


def load_model(folder: Path) -> Any:
    """Load a checkpoint folder from wherever it lies, on the CPU.

    Raises:
        UserError: files are missing, the class is unknown, or weights are missing or left over.
    """
    # Else Lightning takes a Slurm job's other tasks for processes of its own, which never come.
    os.environ["SLURM_JOB_NAME"] = "interactive"
    import torch
    from comet.models import str2model

    hparams = read_hparams(folder)
    kind = hparams["class_identifier"]
    if kind not in str2model:
        raise UserError(
            f"{folder / HPARAMS}: class_identifier {kind!r}, expected one of {', '.join(str2model)}"
        )
    checkpoint, encoder = folder / CHECKPOINT, folder / ENCODER
    # The checkpoint names the encoder by where it once lay.
    place = {"pretrained_model": str(encoder)} if encoder.is_dir() else {}
    try:
        model = str2model[kind].load_from_checkpoint(
            checkpoint,
            map_location="cpu",
            load_pretrained_weights=False,
            local_files_only=True,
            strict=False,  # compared below, passing over buffers of old transformers versions
            **place,
        )
    except OSError as error:
        name = place.get("pretrained_model", hparams.get("pretrained_model"))
        raise UserError(
            f"{folder}: cannot load the encoder {name!r} ({error}); put its config.json and tokenizer "
            f"into {encoder}"
        ) from error
    except RuntimeError as error:  # weights of another shape
        raise UserError(
            f"{checkpoint}: does not fit {kind} as {folder / HPARAMS} describes it ({error})"
        ) from error
    stored = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["state_dict"].keys()
    missing = sorted(model.state_dict().keys() - stored)
    unexpected = sorted(
        key for key in stored - model.state_dict().keys() if not key.endswith(".position_ids")
    )
    if missing or unexpected:
        raise UserError(
            f"{checkpoint}: does not fit {kind}: {len(missing)} weights missing {missing[:3]}, "
            f"{len(unexpected)} left over {unexpected[:3]}; the folder holds another model's checkpoint"
        )
    return model.eval()


def read_hparams(folder: Path) -> dict[str, Any]:
    """The hyperparameters of a checkpoint folder.

    Raises:
        UserError: the folder is not a complete checkpoint; the message names what is missing.
    """
    missing = [str(name) for name in (HPARAMS, CHECKPOINT) if not (folder / name).is_file()]
    if missing:
        raise UserError(f"{folder}: not a COMET checkpoint folder, it lacks {' and '.join(missing)}")
    hparams = read_yaml(folder / HPARAMS)
    if not isinstance(hparams, dict) or "class_identifier" not in hparams:
        raise UserError(f"{folder / HPARAMS}: no class_identifier, which says what kind of model this is")
    return hparams


# ---------------------------------------------------------------- training


def train_tiny(folder: Path, rows: Sequence[Segment], settings: TinyModel) -> None:
    """Train a small reference-based regression model of the comet library and write its folder.

    Args:
        folder: where to write; created.
        rows: translations of known quality (src, mt, ref, score).
        settings: shape and training.

    Raises:
        UserError: there are fewer rows than a batch.
    """
    _train_tiny(folder, rows, settings, "regression_metric")


def train_tiny_referenceless(folder: Path, rows: Sequence[Segment], settings: TinyModel) -> None:
    """The same without references, in the place of a CometKiwi."""
    _train_tiny(folder, rows, settings, "referenceless_regression_metric")


def _train_tiny(folder: Path, rows: Sequence[Segment], settings: TinyModel, kind: str) -> None:
    import torch
    from comet.models import str2model

    check_rows(rows, settings)
    torch.manual_seed(settings.seed)
    (folder / CHECKPOINT).parent.mkdir(parents=True)
    _make_encoder(folder / ENCODER, [text for row in rows for text in (row["src"], row["ref"])], settings)
    hparams = _hparams(str(folder / ENCODER), settings)
    model = str2model[kind](**hparams)

    def loss_of(batch: Sequence[Segment]) -> Any:
        inputs, targets = model.prepare_sample(list(batch), stage="fit")
        return model.compute_loss(model(**inputs), targets)

    fit(model, loss_of, rows, settings)
    stored = {**hparams, "pretrained_model": str(ENCODER)}
    _write_checkpoint(folder, model, stored, settings.steps, kind)
    # Loading needs configuration and tokenizer only.
    (folder / ENCODER / "model.safetensors").unlink()


def _hparams(encoder: str, settings: TinyModel) -> dict[str, Any]:
    return {
        "activations": "Tanh",
        "batch_size": settings.batch_size,
        "dropout": 0.0,
        "encoder_learning_rate": settings.learning_rate,
        "encoder_model": "XLM-RoBERTa",
        "hidden_sizes": [2 * settings.hidden_size, settings.hidden_size],
        "keep_embeddings_frozen": False,
        "layer": "mix",
        "layer_norm": False,
        "layer_transformation": "softmax",
        "layerwise_decay": 1.0,
        "learning_rate": settings.learning_rate,
        "local_files_only": True,
        "loss": "mse",
        "nr_frozen_epochs": 0,
        "pool": "avg",
        "pretrained_model": encoder,
        "train_data": [],
        "validation_data": [],
    }


def _make_encoder(folder: Path, texts: Sequence[str], settings: TinyModel) -> None:
    """An XLM-RoBERTa with random weights and a SentencePiece vocabulary of the texts."""
    from transformers import XLMRobertaConfig, XLMRobertaModel, XLMRobertaTokenizerFast

    folder.mkdir()
    spm = folder / "sentencepiece.bpe.model"
    write_vocabulary(spm, texts)
    tokenizer = XLMRobertaTokenizerFast(vocab_file=str(spm), model_max_length=_MAX_POSITIONS - 2)
    tokenizer.save_pretrained(folder)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        intermediate_size=2 * settings.hidden_size,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        max_position_embeddings=_MAX_POSITIONS,
        type_vocab_size=1,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)


def _write_checkpoint(folder: Path, model: Any, hparams: Mapping[str, Any], steps: int, kind: str) -> None:
    import pytorch_lightning
    import torch

    checkpoint = {
        "epoch": 0,
        "global_step": steps,
        "pytorch-lightning_version": pytorch_lightning.__version__,
        "state_dict": model.state_dict(),
        "hyper_parameters": dict(hparams),
    }
    torch.save(checkpoint, folder / CHECKPOINT)
    text = yaml.safe_dump({**hparams, "class_identifier": kind, "load_pretrained_weights": False})
    (folder / HPARAMS).write_text(text, encoding="utf-8")
