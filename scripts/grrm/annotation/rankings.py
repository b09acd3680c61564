"""Groups of candidates as a teacher ranks them: asked in several orders, kept where the orders agree."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grrm.annotation.agreement import Decision, decide, seeded_orders
from grrm.annotation.asked import Asked, chunks, in_order
from grrm.asking.failures import in_words
from grrm.data.sft_rows import strip_verdict
from grrm.files import UserError, is_text
from grrm.inference.answers import RankedGroup, rank_each
from grrm.inference.attempts import seed_of
from grrm.inference.backends import BUDGET
from grrm.inference.runs import SERVER_FAILURES
from grrm.prompts import RankingPrompt
from grrm.ranking import InvalidAnswer
from grrm.texts import unmark

Row = dict[str, Any]

# Groups that are asked about together: their prompts and calls stand in memory.
_TOGETHER = 1024

DISAGREEMENT = "disagreement"
NO_ANALYSIS = "no_analysis"


@dataclass(frozen=True)
class Judged:
    """A group and what became of it.

    Attributes:
        row: of the candidates' table.
        orders: in which it was shown.
        answers: one for each order.
        dropped: why it is no row, in one word; None if it is one.
        decision: what the answers come to; None without an answer in every order.
        analysis: of the chosen answer; empty if the group is dropped.
    """

    row: Row
    orders: list[list[int]]
    answers: list[RankedGroup]
    dropped: str | None
    decision: Decision | None = None
    analysis: str = ""


def judge_groups(
    asked: Asked, rows: Sequence[Row], prompt: RankingPrompt, orders: int, agreement: float, seed: int
) -> Iterator[Judged]:
    """Ask a teacher about groups; they come in their sequence.

    Args:
        asked: the teacher.
        rows: with src_text, src_lang, trg_lang, mt_texts and the columns that the prompt names.
        prompt: what it is asked.
        orders: how many, see `seeded_orders`.
        agreement: share of pairs that the orders must agree on, 0 to 1.
        seed: of orders and sampling. Both depend on the group's texts besides, not on its place in the table.
    """
    shown = [seeded_orders(len(row["mt_texts"]), orders, _random(row, seed)) for row in rows]
    with asked.progress(sum(map(len, shown))) as progress:
        for together in chunks(list(zip(rows, shown, strict=True)), _TOGETHER):
            questions = [(row, order, k) for row, tried in together for k, order in enumerate(tried)]
            found = rank_each(
                asked.backend,
                [row for row, _, _ in questions],
                prompt,
                asked.decoding,
                orders=[order for _, order, _ in questions],
                retries=asked.retries,
                keys=[(seed, key_of(row), k) for row, _, k in questions],
            )
            answers = iter(in_order(found, asked.tally, progress))
            for row, tried in together:
                judged = [next(answers) for _ in tried]
                yield judge_of(row, tried, judged, prompt, agreement)


def judge_of(
    row: Row,
    orders: list[list[int]],
    answers: list[RankedGroup],
    prompt: RankingPrompt,
    agreement: float,
) -> Judged:
    """What becomes of a group by the answers about it."""
    failures = [answer.failure for answer in answers if answer.failure]
    if failures:
        return Judged(row, orders, answers, BUDGET if BUDGET in failures else failures[0])
    decision = decide([answer.scores for answer in answers if answer.scores is not None])
    # Shares of few pairs are no exact numbers.
    if decision.agreement < agreement - 1e-9:
        return Judged(row, orders, answers, DISAGREEMENT, decision)
    read = prompt.read(answers[decision.chosen].answer, len(row["mt_texts"]))
    analysis = "" if isinstance(read, InvalidAnswer) else unmark(strip_verdict(read.analysis)).strip()
    if not analysis or "\0" in analysis or not is_text(analysis):
        return Judged(row, orders, answers, NO_ANALYSIS, decision)
    return Judged(row, orders, answers, None, decision, analysis)


def ranking_row(judged: Judged, made_by: Mapping[str, Any]) -> Row:
    """The row that a GRRM is trained on: candidates as the chosen answer saw them, so that its labels fit."""
    assert judged.decision is not None
    decision = judged.decision
    order = judged.orders[decision.chosen]
    row = {name: judged.row[name] for name in ("src_text", "trg_text", "src_lang", "trg_lang")}
    provenance = {
        "teacher": dict(made_by),
        "agreement": decision.agreement,
        "orders": [
            {"order": shown, "scores": answer.scores}
            for shown, answer in zip(judged.orders, judged.answers, strict=True)
        ],
        "chosen": decision.chosen,
    }
    return {
        **row,
        "mt_texts": [judged.row["mt_texts"][i] for i in order],
        "analysis": judged.analysis,
        "scores": [decision.scores[i] for i in order],
        "systems": [systems_of(judged.row)[i] for i in order],
        "provenance": json.dumps(provenance, ensure_ascii=False, sort_keys=True),
    }


def record_of(judged: Judged) -> Row:
    """All that was asked and answered about a group, for the page and for whoever looks closer."""
    return {
        **{name: judged.row[name] for name in ("src_text", "trg_text", "src_lang", "trg_lang")},
        "candidates": [
            {"text": text, "systems": systems.split(SEPARATOR)}
            for text, systems in zip(judged.row["mt_texts"], systems_of(judged.row), strict=True)
        ],
        "answers": [
            {
                "order": order,
                "scores": answer.scores,
                "failure": answer.failure,
                "detail": answer.detail,
                "answer": answer.answer,
                "attempts": answer.attempts,
            }
            for order, answer in zip(judged.orders, judged.answers, strict=True)
        ],
        "dropped": judged.dropped,
        "agreement": judged.decision and judged.decision.agreement,
        "scores": judged.decision and judged.decision.scores,
        "chosen": judged.decision and judged.decision.chosen,
    }


SEPARATOR = "+"
"""Between the names of systems that gave the same candidate."""


def systems_of(row: Mapping[str, Any]) -> list[str]:
    """Who gave each candidate of a group; ? where the table does not say."""
    return row.get("systems") or ["?"] * len(row["mt_texts"])


def check_answered(reasons: Counter[str], total: int, most: float, who: str, lost: str) -> None:
    """Stop if a server has left too much unanswered.

    Args:
        reasons: why there is nothing, those of the server and others.
        total: of all that was asked about, without what the budget did not allow.
        most: share that may be, 0 to 1.
        who: key of the configuration, for the message.
        lost: what is known of the last that was not answered.

    Raises:
        UserError: it is more.
    """
    unanswered = {reason: count for reason, count in reasons.items() if reason in SERVER_FAILURES}
    if sum(unanswered.values()) > most * total:
        raise UserError(
            f"{who}: {sum(unanswered.values())} of {total} were not answered ({in_words(unanswered)}; of the "
            f"last: {lost}), more than max_failure_share {most:g} allows; what was answered is kept: look at "
            "the server, its address and key, and run the same command again"
        )


def key_of(row: Mapping[str, Any]) -> int:
    """A number made of what a group is: its languages, source and candidates."""
    parts = [row[name] for name in ("src_lang", "trg_lang", "src_text")] + list(row.get("mt_texts", ()))
    return int.from_bytes(hashlib.blake2b(json.dumps(parts).encode(), digest_size=8).digest())


def _random(row: Mapping[str, Any], seed: int) -> random.Random:
    return random.Random(seed_of(seed, key_of(row)))
