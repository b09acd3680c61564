"""Asking models: ranking groups of candidates, translating segments.

An answer that cannot be used is a failure with a reason, never a score and never a translation.
"""

from __future__ import annotations

import hashlib
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from grrm.engines.checkpoints import check_model
from grrm.files import UserError, sha256
from grrm.prompts import RankingPrompt, TranslationPrompt
from grrm.ranking import InvalidAnswer, labels

Row = Mapping[str, Any]

# A backend is a module with `generate(model, prompts, decoding, **options) -> list[Completion]`.
_BACKENDS = {"transformers": "grrm.inference.transformers_backend"}


@dataclass(frozen=True)
class Decoding:
    """How text is generated.

    Attributes:
        max_new_tokens: longest completion in tokens.
        temperature: 0 is greedy; above 0 samples from the whole distribution.
        seed: of the sampling; without effect when greedy.
    """

    max_new_tokens: int
    temperature: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise UserError(f"max_new_tokens: {self.max_new_tokens}, expected 1 or more")
        if not self.temperature >= 0:
            raise UserError(f"temperature: {self.temperature}, expected 0 (greedy) or more")


@dataclass(frozen=True)
class Completion:
    """What a model wrote.

    Attributes:
        text: without special tokens.
        finish: `stop`: the model ended it; `length`: cut at the longest completion; `prompt`: nothing was
            generated, because prompt and longest completion do not fit into the model's context.
    """

    text: str
    finish: Literal["stop", "length", "prompt"]


@dataclass(frozen=True)
class RankedGroup:
    """A judge's answer about one group.

    Attributes:
        answer: the whole text the judge wrote.
        scores: one per candidate in the order of the row, 0..10, or levels from 0 if the prompt asks for a
            ranking only; None when the answer cannot be used.
        failure: why not, in one word for counting (`unfinished`, `prompt_too_long`, or a reason of
            `grrm.ranking.InvalidAnswer`); None when there are scores.
        detail: the failure in words.
        candidate_order: `candidate_order[p]` is the candidate of the row that was shown at position p
            (label A, B...).
    """

    answer: str
    scores: list[int] | None
    failure: str | None
    detail: str | None
    candidate_order: list[int]


@dataclass(frozen=True)
class TranslatedSegment:
    """A model's translation of one segment.

    Attributes:
        raw: the whole text the model wrote.
        translation: what its code block holds, or the whole text for a plain prompt; None when there is none.
        failure: why not: `unfinished`, `prompt_too_long` or `no_translation`; None when there is a
            translation.
    """

    raw: str
    translation: str | None
    failure: str | None


def rank(
    model: str | Path,
    rows: Sequence[Row],
    prompt: RankingPrompt,
    decoding: Decoding,
    *,
    orders: Sequence[Sequence[int]] | None = None,
    backend: str = "transformers",
    **options: Any,
) -> list[RankedGroup]:
    """Let a judge rank the candidates of each row.

    Args:
        model: folder of the judge (GRRM).
        rows: with src_text, src_lang, trg_lang and mt_texts.
        prompt: how a group is shown.
        decoding: how the answer is generated.
        orders: per row, the candidates in the order in which they are shown; as in the row by default.
        backend: what runs the model.
        **options: of the backend; transformers: `batch_size`, `threads`.

    Returns:
        one result per row, in the order of the rows.

    Raises:
        UserError: the model folder is not complete, the backend is unknown, or an order is not a permutation.
    """
    if orders is None:
        orders = [range(len(row["mt_texts"])) for row in rows]
    shown = [
        [row["mt_texts"][i] for i in order] for row, order in zip(rows, _checked(orders, rows), strict=True)
    ]
    prompts = [
        prompt.render(
            src_text=row["src_text"], mt_texts=candidates, src_lang=row["src_lang"], trg_lang=row["trg_lang"]
        )
        for row, candidates in zip(rows, shown, strict=True)
    ]
    completions = generate(model, prompts, decoding, backend=backend, **options)
    return [
        _ranked(prompt, completion, list(order))
        for completion, order in zip(completions, orders, strict=True)
    ]


def translate(
    model: str | Path,
    rows: Sequence[Row],
    prompt: TranslationPrompt,
    decoding: Decoding,
    *,
    backend: str = "transformers",
    **options: Any,
) -> list[TranslatedSegment]:
    """Translate the source text of each row.

    Args:
        model: folder of the translation model.
        rows: with src_text, src_lang and trg_lang.
        prompt: how a segment is shown.
        decoding: how the answer is generated.
        backend: what runs the model.
        **options: of the backend; transformers: `batch_size`, `threads`.

    Returns:
        one result per row, in the order of the rows.

    Raises:
        UserError: the model folder is not complete, or the backend is unknown.
    """
    prompts = [
        prompt.render(src_text=row["src_text"], src_lang=row["src_lang"], trg_lang=row["trg_lang"])
        for row in rows
    ]
    return [
        _translated(prompt, completion)
        for completion in generate(model, prompts, decoding, backend=backend, **options)
    ]


def generate(
    model: str | Path,
    prompts: Sequence[str],
    decoding: Decoding,
    *,
    backend: str = "transformers",
    **options: Any,
) -> list[Completion]:
    """Complete each prompt, sent as the user's turn of a chat; one completion per prompt, in their order.

    Raises:
        UserError: the model folder is not complete, or the backend is unknown.
    """
    if backend not in _BACKENDS:
        raise UserError(f"backend {backend!r}: expected one of {', '.join(sorted(_BACKENDS))}")
    check_model(Path(model))
    completions: list[Completion] = importlib.import_module(_BACKENDS[backend]).generate(
        Path(model), prompts, decoding, **options
    )
    return completions


def origin(model: str | Path, decoding: Decoding) -> dict[str, Any]:
    """What made an answer: the model's folder, the hash of its weights, and the decoding."""
    shards = sorted(Path(model).glob("*.safetensors"))
    digests = "".join(sha256(shard) for shard in shards)
    return {
        "model": str(model),
        "weights": hashlib.sha256(digests.encode()).hexdigest(),
        "decoding": asdict(decoding),
    }


def _ranked(prompt: RankingPrompt, completion: Completion, order: list[int]) -> RankedGroup:
    if failure := _incomplete(completion):
        return RankedGroup(completion.text, None, *failure, order)
    parsed = prompt.read(completion.text, len(order))
    if isinstance(parsed, InvalidAnswer):
        return RankedGroup(completion.text, None, parsed.reason, parsed.detail, order)
    scores = [0] * len(order)
    for candidate, label in zip(order, labels(len(order)), strict=True):
        scores[candidate] = parsed.scores[label]
    return RankedGroup(completion.text, scores, None, None, order)


def _translated(prompt: TranslationPrompt, completion: Completion) -> TranslatedSegment:
    if failure := _incomplete(completion):
        return TranslatedSegment(completion.text, None, failure[0])
    translation = prompt.read(completion.text)
    if translation is None:
        return TranslatedSegment(completion.text, None, "no_translation")
    return TranslatedSegment(completion.text, translation, None)


def _incomplete(completion: Completion) -> tuple[str, str] | None:
    """Reason and detail. A cut answer may still parse ("A: 10" cut to "A: 1"), so it is never used."""
    if completion.finish == "length":
        return "unfinished", "cut at the longest completion (max_new_tokens)"
    if completion.finish == "prompt":
        return "prompt_too_long", "prompt and longest completion do not fit into the model's context"
    return None


def _checked(orders: Sequence[Sequence[int]], rows: Sequence[Row]) -> Sequence[Sequence[int]]:
    if len(orders) != len(rows):
        raise UserError(f"{len(orders)} candidate orders for {len(rows)} rows: expected one for each")
    for number, (order, row) in enumerate(zip(orders, rows, strict=True)):
        if sorted(order) != list(range(len(row["mt_texts"]))):
            raise UserError(
                f"row {number}: candidate order {list(order)} is not a permutation of its "
                f"{len(row['mt_texts'])} candidates"
            )
    return orders
