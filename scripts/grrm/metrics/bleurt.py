"""BLEURT through bleurt-pytorch: scoring with a checkpoint folder, and training the tiny one that stands in
for a published checkpoint.

A folder holds config.json, the weights, and the tokenizer (spm.model for BLEURT-20 and its smaller kin,
vocab.txt for older ones). torch, transformers and bleurt_pytorch are imported in functions only: they exist
in COMET's environment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError, sha256
from grrm.metrics.segments import Given, Scored
from grrm.metrics.tiny import TinyModel, check_rows, fit, write_vocabulary

Segment = Mapping[str, Any]  # ref, mt: str; for training also score: float

VOCABULARY = "spm.model"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_MAX_POSITIONS = 512  # longer pairs are cut, as published (max_seq_length of BLEURT-20)


def check_folder(folder: Path) -> Path:
    """The weights of a BLEURT folder.

    Raises:
        UserError: the folder is not complete; the message names what is missing.
    """
    weights = [path for name in _WEIGHTS if (path := folder / name).is_file()]
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    missing += [] if weights else [f"weights ({' or '.join(_WEIGHTS)})"]
    if not any((folder / name).is_file() for name in (VOCABULARY, "vocab.txt")):
        missing.append(f"a vocabulary ({VOCABULARY} or vocab.txt)")
    if missing:
        raise UserError(f"{folder}: not a BLEURT checkpoint folder, it lacks {', '.join(missing)}")
    return weights[0]


def score(given: Given) -> Scored:
    """BLEURT of translations."""
    check_folder(given.folder)
    scores, signature = given.segments.score_once(
        lambda segments: score_segments(given.folder, segments, **given.speed)
    )
    return Scored(scores, signature, {"model": str(given.folder)})


def score_segments(
    folder: Path, segments: Sequence[Segment], *, batch_size: int = 64, threads: int = 1
) -> tuple[list[float], str]:
    """BLEURT score of each segment (ref, mt), about 0 to 1, and the metric's signature.

    Raises:
        UserError: the folder is not complete, or its weights do not fit its configuration.
    """
    import torch

    weights = check_folder(folder)
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = load_model(folder)
    return score_loaded(model.to(device), tokenizer, segments, batch_size), _signature(folder, weights)


def score_loaded(model: Any, tokenizer: Any, segments: Sequence[Segment], batch_size: int) -> list[float]:
    """BLEURT score of each segment (ref, mt), by what `load_model` has loaded, where it is."""
    import torch

    # Segments of like length share a batch, so little is padded.
    order = sorted(range(len(segments)), key=lambda i: len(segments[i]["ref"]) + len(segments[i]["mt"]))
    scores = [0.0] * len(segments)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = _encode(tokenizer, [segments[i] for i in batch], model.config.max_position_embeddings)
        with torch.inference_mode():
            logits = model(**inputs.to(model.device)).logits.flatten().float().tolist()
        for i, score in zip(batch, logits, strict=True):
            scores[i] = score
    return scores


def load_model(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a folder, on the CPU.

    Raises:
        UserError: weights are missing, left over or of another shape.
    """
    from bleurt_pytorch import BleurtConfig, BleurtForSequenceClassification

    try:
        model, report = BleurtForSequenceClassification.from_pretrained(
            folder,
            config=BleurtConfig.from_pretrained(folder, local_files_only=True),
            local_files_only=True,
            output_loading_info=True,
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: its weights do not fit its config.json ({error})") from error
    # Missing, left over, or of another shape; position ids are a buffer that older versions stored.
    wrong = {
        what: names
        for what, found in report.items()
        if (names := sorted(str(name) for name in found if "position_ids" not in str(name)))
    }
    if wrong:
        raise UserError(f"{folder}: its weights do not fit its config.json: {wrong}")
    return model.eval(), _tokenizer(folder)


def _tokenizer(folder: Path) -> Any:
    # Not BleurtTokenizer: it tries the one kind first and takes the other only after an error.
    from bleurt_pytorch.bleurt.tokenization_bleurt_fast import BleurtTokenizerFast
    from bleurt_pytorch.bleurt.tokenization_bleurt_sp import BleurtSPTokenizer

    kind = BleurtSPTokenizer if (folder / VOCABULARY).is_file() else BleurtTokenizerFast
    return kind.from_pretrained(folder, local_files_only=True)


def _encode(tokenizer: Any, segments: Sequence[Segment], longest: int) -> Any:
    return tokenizer(
        [segment["ref"] for segment in segments],
        [segment["mt"] for segment in segments],
        padding="longest",
        truncation="longest_first",
        max_length=longest,
        return_tensors="pt",
    )


def _signature(folder: Path, weights: Path) -> str:
    from importlib.metadata import version

    library = version("bleurt-pytorch")
    return f"BLEURT|model:{folder.name}|weights:{sha256(weights)[:12]}|bleurt-pytorch:{library}"


# ---------------------------------------------------------------- training


def train_tiny(folder: Path, rows: Sequence[Segment], settings: TinyModel) -> None:
    """Train a small BLEURT of bleurt-pytorch's own classes and write its folder.

    Args:
        folder: where to write; created.
        rows: translations of known quality (ref, mt, score).
        settings: shape and training.

    Raises:
        UserError: there are fewer rows than a batch.
    """
    import torch
    from bleurt_pytorch import BleurtConfig, BleurtForSequenceClassification
    from bleurt_pytorch.bleurt.tokenization_bleurt_sp import BleurtSPTokenizer

    check_rows(rows, settings)
    torch.manual_seed(settings.seed)
    folder.mkdir(parents=True)
    write_vocabulary(
        folder / VOCABULARY,
        [text for row in rows for text in (row["ref"], row["mt"]) if text],
        pad_id=0,
        pad_piece="[PAD]",
        unk_id=1,
        unk_piece="[UNK]",
        bos_id=2,
        bos_piece="[CLS]",
        eos_id=3,
        eos_piece="[SEP]",
        control_symbols="[MASK]",
    )
    tokenizer = BleurtSPTokenizer(str(folder / VOCABULARY), model_max_length=_MAX_POSITIONS)
    tokenizer.save_pretrained(folder)
    model = BleurtForSequenceClassification(
        BleurtConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.hidden_size,
            embedding_size=settings.hidden_size,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            intermediate_size=2 * settings.hidden_size,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            max_position_embeddings=_MAX_POSITIONS,
            pad_token_id=tokenizer.pad_token_id,
        )
    )

    def loss_of(batch: Sequence[Segment]) -> Any:
        targets = torch.tensor([row["score"] for row in batch])
        scores = model(**_encode(tokenizer, batch, _MAX_POSITIONS)).logits.flatten()
        return torch.nn.functional.mse_loss(scores, targets)

    fit(model, loss_of, rows, settings)
    model.save_pretrained(folder)
