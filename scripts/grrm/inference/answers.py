"""Ranking groups of candidates and translating segments, with any backend.

An answer that cannot be used is a failure with a reason, never a score and never a translation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.inference.attempts import DEFAULT_RETRIES, NO_RETRIES, Answer, AnswerError, Question, Retries, ask
from grrm.inference.backends import DEFAULT_ENGINE, Backend, Decoding, Engine, fit, open_backend
from grrm.prompts import (
    PointwisePrompt,
    RankingPrompt,
    TranslationPrompt,
    find_ranking_prompt,
    find_translation_prompt,
)
from grrm.ranking import InvalidAnswer, labels

Row = Mapping[str, Any]


@dataclass(frozen=True)
class RankedGroup:
    """A judge's answer about one group.

    Attributes:
        answer: the whole text the judge wrote (of the last attempt); of a pointwise prompt, the texts about
            all candidates, each under the candidate's label.
        scores: one per candidate in the order of the row, 0..10, or levels from 0 if the prompt asks for a
            ranking only; None when the answer cannot be used.
        failure: why not, in one word for counting: `unfinished`, `prompt_too_long`, a reason of
            `grrm.ranking.InvalidAnswer` or, of a server, of `grrm.judges.questions`; None when there are
            scores.
        detail: the failure in words.
        candidate_order: `candidate_order[p]` is the candidate of the row that was shown at position p
            (label A, B...).
        attempts: how often the judge was asked; of a pointwise prompt, about the candidate asked most often.
    """

    answer: str
    scores: list[float] | None
    failure: str | None
    detail: str | None
    candidate_order: list[int]
    attempts: int


@dataclass(frozen=True)
class TranslatedSegment:
    """A model's translation of one segment.

    Attributes:
        raw: the whole text the model wrote (of the last attempt).
        translation: what the prompt's kind takes out of it; None when there is none.
        failure: why not: `unfinished`, `prompt_too_long`, `no_translation` or, of a server, a reason of
            `grrm.judges.questions`; None when there is a translation.
        detail: the failure in words.
        attempts: how often the model was asked.
    """

    raw: str
    translation: str | None
    failure: str | None
    detail: str | None
    attempts: int


def rank(
    model: Backend | str | Path,
    rows: Sequence[Row],
    prompt: RankingPrompt | PointwisePrompt | str | Path = "ranking_score",
    decoding: Decoding | None = None,
    *,
    orders: Sequence[Sequence[int]] | None = None,
    retries: Retries = DEFAULT_RETRIES,
    engine: Engine = DEFAULT_ENGINE,
) -> list[RankedGroup]:
    """Let a judge rank the candidates of each row.

    Args:
        model: the judge (GRRM): a folder, a model of the hub, a server's name for it, or a backend that has
            it loaded.
        rows: with src_text, src_lang, trg_lang, mt_texts and the columns that the prompt names.
        prompt: how a group is shown, or how each candidate alone is: by its name or file
            (`grrm.prompts.find_ranking_prompt`), or as it is.
        decoding: how the answer is generated; None: greedy and as long as published, or half of the model's
            context.
        orders: per row, the candidates in the order in which they are shown; as in the row by default.
        retries: what is done about answers that cannot be used.
        engine: what runs the model; without effect if it is loaded.

    Returns:
        one result per row, in the order of the rows.

    Raises:
        UserError: there is no such prompt, the model cannot be loaded or asked, or an order is not a
            permutation.
    """
    if isinstance(prompt, str | Path):
        prompt = find_ranking_prompt(prompt)
    if isinstance(model, str | Path):
        with closing(open_backend(model, engine)) as backend:
            return rank(backend, rows, prompt, decoding, orders=orders, retries=retries)
    decoding = decoding or fit(Decoding(), model)
    results = dict(rank_each(model, rows, prompt, decoding, orders=orders, retries=retries))
    return [results[i] for i in range(len(rows))]


def translate(
    model: Backend | str | Path,
    rows: Sequence[Row],
    prompt: TranslationPrompt | str | Path = "codeblock-think",
    decoding: Decoding | None = None,
    *,
    retries: Retries = DEFAULT_RETRIES,
    engine: Engine = DEFAULT_ENGINE,
) -> list[TranslatedSegment]:
    """Translate the source text of each row.

    Args:
        model: the translation model; as in `rank`.
        rows: with src_text, src_lang, trg_lang and the columns that the prompt names.
        prompt: how a segment is shown: by its name or file (`grrm.prompts.find_translation_prompt`), or as it
            is.
        decoding: as in `rank`.
        retries: what is done about answers without a translation.
        engine: what runs the model; without effect if it is loaded.

    Returns:
        one result per row, in the order of the rows.

    Raises:
        UserError: there is no such prompt, or the model cannot be loaded or asked.
    """
    if isinstance(prompt, str | Path):
        prompt = find_translation_prompt(prompt)
    if isinstance(model, str | Path):
        with closing(open_backend(model, engine)) as backend:
            return translate(backend, rows, prompt, decoding, retries=retries)
    results = dict(translate_each(model, rows, prompt, decoding or fit(Decoding(), model), retries=retries))
    return [results[i] for i in range(len(rows))]


def rank_each(
    backend: Backend,
    rows: Sequence[Row],
    prompt: RankingPrompt | PointwisePrompt,
    decoding: Decoding,
    *,
    orders: Sequence[Sequence[int]] | None = None,
    retries: Retries = NO_RETRIES,
    keys: Sequence[tuple[int, ...]] | None = None,
) -> Iterator[tuple[int, RankedGroup]]:
    """As `rank`, result by result as they are settled, each with its position in `rows`.

    Args:
        keys: per row, the numbers that its seeds are made from; by default the decoding's seed and the
            position.
    """
    if orders is None:
        orders = [range(len(row["mt_texts"])) for row in rows]
    check_orders(orders, rows)
    keys = _keys(keys, rows, decoding)
    if isinstance(prompt, PointwisePrompt):
        yield from _rank_pointwise(backend, rows, prompt, decoding, orders, retries, keys)
        return
    questions = [
        Question(
            prompt.render(
                src_text=row["src_text"],
                mt_texts=[row["mt_texts"][i] for i in order],
                src_lang=row["src_lang"],
                trg_lang=row["trg_lang"],
                columns=row,
            ),
            _group_reader(prompt, len(order)),
            key,
        )
        for row, order, key in zip(rows, orders, keys, strict=True)
    ]
    for position, answer in ask(backend, questions, decoding, retries):
        order = list(orders[position])
        scores: list[float] | None = None
        if answer.value is not None:
            by_candidate = dict(zip(order, answer.value, strict=True))
            scores = [by_candidate[i] for i in range(len(order))]
        yield (
            position,
            RankedGroup(answer.text, scores, answer.failure, answer.detail, order, answer.attempts),
        )


def translate_each(
    backend: Backend,
    rows: Sequence[Row],
    prompt: TranslationPrompt,
    decoding: Decoding,
    *,
    retries: Retries = NO_RETRIES,
    keys: Sequence[tuple[int, ...]] | None = None,
) -> Iterator[tuple[int, TranslatedSegment]]:
    """As `translate`, result by result as they are settled, each with its position in `rows`.

    A blank source is its own translation: nobody is asked.

    Args:
        keys: as in `rank_each`.
    """

    def read(text: str) -> str:
        translation = prompt.read(text)
        if translation is None:
            raise AnswerError("no_translation", f"the answer holds no translation as {prompt.kind} has it")
        return translation

    questions = [
        Question(
            prompt.render(
                src_text=row["src_text"], src_lang=row["src_lang"], trg_lang=row["trg_lang"], columns=row
            ),
            read,
            key,
            prompt.chat,
        )
        for row, key in zip(rows, _keys(keys, rows, decoding), strict=True)
        if row["src_text"].strip()
    ]
    asked = [position for position, row in enumerate(rows) if row["src_text"].strip()]
    for position in set(range(len(rows))).difference(asked):
        yield position, TranslatedSegment("", "", None, None, 0)
    for number, answer in ask(backend, questions, decoding, retries):
        yield (
            asked[number],
            TranslatedSegment(answer.text, answer.value, answer.failure, answer.detail, answer.attempts),
        )


def check_orders(orders: Sequence[Sequence[int]], rows: Sequence[Row]) -> None:
    """Raise UserError unless there is one order per row, each a permutation of the row's candidates."""
    if len(orders) != len(rows):
        raise UserError(f"{len(orders)} candidate orders for {len(rows)} rows: expected one for each")
    for number, (order, row) in enumerate(zip(orders, rows, strict=True)):
        if sorted(order) != list(range(len(row["mt_texts"]))):
            raise UserError(
                f"row {number}: candidate order {list(order)} is not a permutation of its "
                f"{len(row['mt_texts'])} candidates"
            )


def _group_reader(prompt: RankingPrompt, candidates: int) -> Callable[[str], list[float]]:
    """What reads the scores, by position, out of an answer."""

    def read(text: str) -> list[float]:
        parsed = prompt.read(text, candidates)
        if isinstance(parsed, InvalidAnswer):
            raise AnswerError(parsed.reason, parsed.detail)
        return [parsed.scores[label] for label in labels(candidates)]

    return read


def _rank_pointwise(
    backend: Backend,
    rows: Sequence[Row],
    prompt: PointwisePrompt,
    decoding: Decoding,
    orders: Sequence[Sequence[int]],
    retries: Retries,
    keys: Sequence[tuple[int, ...]],
) -> Iterator[tuple[int, RankedGroup]]:
    """Each candidate alone. A row is settled when all its candidates are."""

    def read(text: str) -> float:
        try:
            return prompt.read(text)
        except ValueError as error:
            raise AnswerError("scores", str(error)) from error

    asked = [(position, i) for position, row in enumerate(rows) for i in range(len(row["mt_texts"]))]
    questions = [
        Question(
            prompt.render(
                src_text=rows[position]["src_text"],
                mt_text=rows[position]["mt_texts"][i],
                src_lang=rows[position]["src_lang"],
                trg_lang=rows[position]["trg_lang"],
                columns=rows[position],
            ),
            read,
            (*keys[position], i),
        )
        for position, i in asked
    ]
    settled: dict[int, dict[int, Answer[float]]] = {}
    for number, answer in ask(backend, questions, decoding, retries):
        position, i = asked[number]
        answers = settled.setdefault(position, {})
        answers[i] = answer
        if len(answers) == len(rows[position]["mt_texts"]):
            yield position, _pointwise_group(settled.pop(position), list(orders[position]))


def _pointwise_group(answers: Mapping[int, Answer[float]], order: list[int]) -> RankedGroup:
    names = labels(len(order))
    failed = [(label, answers[i]) for label, i in zip(names, order, strict=True) if answers[i].failure]
    scores = [answer.value for _, answer in sorted(answers.items()) if answer.value is not None]
    return RankedGroup(
        "\n\n".join(f"{label}:\n{answers[i].text}" for label, i in zip(names, order, strict=True)),
        None if failed else scores,
        failed[0][1].failure if failed else None,
        "; ".join(f"candidate {label}: {answer.detail}" for label, answer in failed) or None,
        order,
        max(answer.attempts for answer in answers.values()),
    )


def _keys(
    keys: Sequence[tuple[int, ...]] | None, rows: Sequence[Row], decoding: Decoding
) -> Sequence[tuple[int, ...]]:
    return [(decoding.seed, position) for position in range(len(rows))] if keys is None else keys
