"""Whole tables answered once or several times, into a journal."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

from grrm.asking.failures import in_words
from grrm.files import PassingError
from grrm.inference.answers import Row, rank_each, translate_each
from grrm.inference.attempts import NO_RETRIES, Retries, seed_of
from grrm.inference.backends import Backend, Decoding
from grrm.inference.journal import FILES, Journal, Key, Printer, rows_digest
from grrm.prompts import PointwisePrompt, RankingPrompt, TranslationPrompt

CandidateOrder: TypeAlias = Literal["row", "shuffled"]

# The server's failures, not the model's: nothing is recorded, so that a later run asks again.
SERVER_FAILURES = frozenset(
    {"timeout", "connection", "rate_limit", "server", "malformed", "circuit_open", "deadline"}
)
_LONGEST = 300  # characters of what a server said


@dataclass
class Tally:
    """What became of a run.

    Attributes:
        usable: answers with scores or a translation.
        failures: reason -> answers that cannot be used.
        unanswered: reason -> rows that the server did not answer.
        lost: what is known of the last of these, in one line.
        remark: what else there is to say about all answers, for the reader.
    """

    usable: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    unanswered: Counter[str] = field(default_factory=Counter)
    lost: str = ""
    remark: str = ""

    def count(self, failure: str | None, detail: str | None = None) -> None:
        """Count an answer."""
        if failure is None:
            self.usable += 1
        elif failure in SERVER_FAILURES:
            self.unanswered[failure] += 1
            self.lost = " ".join((detail or "nothing is known").split())[:_LONGEST]
        else:
            self.failures[failure] += 1

    def __str__(self) -> str:
        failed = self.failures.total()
        text = f"{self.usable} of {self.usable + failed} answers are usable"
        return text + (f"; failed: {in_words(self.failures)}" if failed else "")


class Result(Protocol):
    """What became of a row: a data class."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def failure(self) -> str | None:
        """Why it cannot be used, in one word; None if it can."""

    @property
    def detail(self) -> str | None:
        """The failure in words."""


Watch: TypeAlias = Callable[[Tally], None]


def settings(
    task: str,
    backend: Backend,
    rows: Sequence[Row],
    prompt: RankingPrompt | PointwisePrompt | TranslationPrompt,
    decoding: Decoding,
    retries: Retries,
    runs: int,
    **more: Any,
) -> dict[str, Any]:
    """What the answers of a run depend on, for the journal."""
    return {
        "task": task,
        **backend.origin(),
        FILES: backend.other_files(),
        "prompt": asdict(prompt),
        "decoding": asdict(decoding),
        "retries": asdict(retries),
        "runs": runs,
        "rows": len(rows),
        "rows_sha256": rows_digest(rows),
        **more,
    }


def rank_rows(
    backend: Backend,
    rows: Sequence[Row],
    prompt: RankingPrompt | PointwisePrompt,
    decoding: Decoding,
    journal: Journal | Printer,
    *,
    retries: Retries = NO_RETRIES,
    candidate_order: CandidateOrder = "row",
    watch: Watch | None = None,
) -> Tally:
    """Rank what is missing in a journal.

    Args:
        rows: with src_text, src_lang, trg_lang and mt_texts.
        candidate_order: show candidates as the row has them, or shuffled by the seed of the run.
        watch: called after every answer with the tally of the whole journal so far.

    Raises:
        UserError: a server has not answered everything; the journal keeps what there is.
    """
    todo = journal.missing()
    orders = [
        shuffled_order(len(rows[index]["mt_texts"]), decoding.seed + run, index)
        if candidate_order == "shuffled"
        else list(range(len(rows[index]["mt_texts"])))
        for run, index in todo
    ]
    results = rank_each(
        backend,
        [rows[index] for _, index in todo],
        prompt,
        decoding,
        orders=orders,
        retries=retries,
        keys=_keys(todo, decoding),
    )
    return keep(journal, todo, results, rows, ("src_text",), backend, decoding, watch)


def translate_rows(
    backend: Backend,
    rows: Sequence[Row],
    prompt: TranslationPrompt,
    decoding: Decoding,
    journal: Journal | Printer,
    *,
    retries: Retries = NO_RETRIES,
    watch: Watch | None = None,
) -> Tally:
    """Translate what is missing in a journal, else as `rank_rows`; rows have src_text, src_lang, trg_lang."""
    todo = journal.missing()
    results = translate_each(
        backend,
        [rows[index] for _, index in todo],
        prompt,
        decoding,
        retries=retries,
        keys=_keys(todo, decoding),
    )
    return keep(journal, todo, results, rows, ("src_text", "src_lang", "trg_lang"), backend, decoding, watch)


def shuffled_order(candidates: int, seed: int, index: int) -> list[int]:
    """An order of candidates that depends on the seed of the run and the number of the row alone."""
    return random.Random(seed_of(seed, index)).sample(range(candidates), candidates)


def provenance(backend: Backend, decoding: Decoding) -> dict[str, Any]:
    """What made an answer: model, weights and decoding."""
    return {**backend.origin(), "decoding": asdict(decoding)}


def _keys(todo: Sequence[Key], decoding: Decoding) -> list[tuple[int, ...]]:
    """Run r of seed s is run 0 of seed s + r."""
    return [(decoding.seed + run, index) for run, index in todo]


def keep(
    journal: Journal | Printer,
    todo: Sequence[Key],
    results: Iterator[tuple[int, Result]],
    rows: Sequence[Row],
    shown: Sequence[str],
    backend: Backend,
    decoding: Decoding,
    watch: Watch | None,
) -> Tally:
    """Write results into a journal as they come, and count them.

    Args:
        journal: takes them.
        todo: run and row number of each position.
        results: positions and results.
        rows: what was asked about.
        shown: columns of the rows that are written beside the results.
        backend: what gives the results.
        decoding: how.
        watch: called after every result.

    Raises:
        UserError: a server has not answered everything.
    """
    tally = Tally()
    for row in journal.results():
        tally.count(row["failure"])
    made_by = provenance(backend, decoding) if todo else {}
    for position, result in results:
        run, index = todo[position]
        tally.count(result.failure, result.detail)
        if result.failure not in SERVER_FAILURES:
            journal.add(
                run,
                index,
                {
                    **{name: rows[index][name] for name in shown},
                    **asdict(result),
                    "seed": decoding.seed + run,
                    **made_by,
                },
            )
        if watch:
            watch(tally)
    if tally.unanswered:
        raise PassingError(
            f"{tally.unanswered.total()} of {journal.total} rows were not answered "
            f"({in_words(tally.unanswered)}; of the last: {tally.lost}); {journal.hint}"
        )
    return tally
