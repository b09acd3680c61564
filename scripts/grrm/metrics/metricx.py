"""MetricX-24 (Juraska et al. 2024): scoring with a checkpoint folder.

MetricX is an mT5 whose score is one logit of the first decoding step: that of one token which is otherwise
unused. So transformers' own mT5 reads the published weights, and Google's code is not needed. Scores are
errors from 0 to 25: lower is better. torch and transformers are imported in functions only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError, sha256
from grrm.metrics.segments import Given, Scored

Segment = Mapping[str, Any]  # src, mt, ref: str

TOKENIZER = Path("tokenizer")
HIGHEST = 25.0
_SCORE_TOKEN = 250089  # <extra_id_10> of mT5
_MAX_TOKENS = 1536  # longer inputs are cut, as published for MetricX-24 (max_input_length)
_WEIGHTS = ("*.safetensors", "*.bin")


def check_folder(folder: Path) -> None:
    """Raise UserError unless the folder holds configuration, weights and, in tokenizer/, a tokenizer."""
    missing = [] if (folder / "config.json").is_file() else ["config.json"]
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        missing.append(f"weights ({' or '.join(_WEIGHTS)})")
    if not any((folder / TOKENIZER / name).is_file() for name in ("spiece.model", "tokenizer.json")):
        missing.append(f"{TOKENIZER}/ with the tokenizer of google/mt5-xl (spiece.model or tokenizer.json)")
    if missing:
        raise UserError(
            f"{folder}: not a MetricX folder, it lacks {', '.join(missing)}; evaluate.metricx in the "
            "configuration names both models"
        )


def score(given: Given) -> Scored:
    """MetricX of translations, with or without the reference (`reference_free`)."""
    check_folder(given.folder)
    free = given.options["reference_free"]
    scores, signature = given.segments.score_once(
        lambda segments: score_segments(given.folder, segments, reference_free=free, **given.speed)
    )
    return Scored(scores, signature, {"model": str(given.folder)})


def score_segments(
    folder: Path,
    segments: Sequence[Segment],
    *,
    reference_free: bool = False,
    batch_size: int = 32,
    threads: int = 1,
) -> tuple[list[float], str]:
    """Error score of each segment, 0 to 25, and the metric's signature.

    Raises:
        UserError: the folder is not complete, or its weights are not those of such a model.
    """
    import torch

    check_folder(folder)
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = load_model(folder)
    model.to(device)
    texts = [_input(segment, reference_free) for segment in segments]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    scores = [0.0] * len(texts)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        inputs = tokenizer.pad(
            {"input_ids": [_tokens(tokenizer, texts[i]) for i in batch]}, return_tensors="pt"
        ).to(device)
        first = torch.zeros((len(batch), 1), dtype=torch.long, device=device)
        with torch.inference_mode():
            logits = model(**inputs, decoder_input_ids=first).logits[:, 0, _SCORE_TOKEN]
        for i, score in zip(batch, logits.float().clamp(0.0, HIGHEST).tolist(), strict=True):
            scores[i] = score
    return scores, _signature(folder, reference_free)


def load_model(folder: Path) -> tuple[Any, Any]:
    """Model and tokenizer of a folder, on the CPU.

    Raises:
        UserError: weights are missing, left over or of another shape.
    """
    from transformers import AutoTokenizer, MT5ForConditionalGeneration

    try:
        model, report = MT5ForConditionalGeneration.from_pretrained(
            folder, local_files_only=True, output_loading_info=True
        )
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{folder}: its weights do not fit its config.json ({error})") from error
    if wrong := {what: sorted(map(str, found)) for what, found in report.items() if found}:
        raise UserError(f"{folder}: its weights are not those of MetricX: {wrong}")
    if model.config.vocab_size <= _SCORE_TOKEN:
        raise UserError(
            f"{folder}: vocab_size is {model.config.vocab_size}, expected more than {_SCORE_TOKEN} (mT5's)"
        )
    return model.eval(), AutoTokenizer.from_pretrained(folder / TOKENIZER, local_files_only=True)


def _input(segment: Segment, reference_free: bool) -> str:
    text = f"source: {segment['src']} candidate: {segment['mt']}"
    return text if reference_free else f"{text} reference: {segment['ref']}"


def _tokens(tokenizer: Any, text: str) -> list[int]:
    """As published: cut, then without the end token."""
    tokens: list[int] = tokenizer(text, max_length=_MAX_TOKENS, truncation=True)["input_ids"][:-1]
    return tokens


def _signature(folder: Path, reference_free: bool) -> str:
    from importlib.metadata import version

    weights = sorted(path for pattern in _WEIGHTS for path in folder.glob(pattern))
    return (
        f"MetricX|model:{folder.name}|weights:{sha256(weights[0])[:12]}"
        f"|reference:{'no' if reference_free else 'yes'}"
        f"|lower is better|transformers:{version('transformers')}"
    )
