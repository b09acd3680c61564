"""Grading responses with a trained judge, asked as it was trained: prompt and parser come from its folder.

An answer that cannot be used is a failure with a reason, never a score and never a rank.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from grrm.data.layouts import parse_row
from grrm.data.records import Candidates
from grrm.files import UserError, is_text
from grrm.inference.agreement import Agreement
from grrm.inference.answers import Row
from grrm.inference.attempts import NO_RETRIES, AnswerError, Question, Retries, ask
from grrm.inference.backends import (
    DEFAULT_ENGINE,
    Backend,
    Decoding,
    Engine,
)
from grrm.inference.journal import FILES, Journal, Printer, rows_digest
from grrm.inference.judge_backend import Classifier, Use, open_judge
from grrm.inference.runs import SERVER_FAILURES, Tally, Watch, keep
from grrm.judges.card import BradleyTerry, Mode, Pairwise, Pointwise, read_card, use
from grrm.judges.comparisons import Shown, agreed, orders_of, tournament_scores
from grrm.judges.conversation import question_text, with_response
from grrm.prompts import check_columns
from grrm.tournament import Method
from grrm.verdicts import Preference

# Rows that a Bradley-Terry model scores before they are written.
_ROWS = 64


@dataclass(frozen=True)
class Judgement:
    """One answer of the judge.

    Attributes:
        responses: which were shown, in this order; indices from 0.
        verdict: the score of the one response; or of two A (the first), B or tie; None if there is none.
        reason: the whole text the judge wrote; empty of a Bradley-Terry model.
        failure: why there is no verdict, in one word; None if there is one.
        detail: the failure in words.
    """

    responses: tuple[int, ...]
    verdict: float | Preference | None
    reason: str
    failure: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Grade:
    """What a judge says about the responses to one request.

    Attributes:
        scores: one per response, higher is better: pointwise, the judge's own (0 to 4 as trained here);
            bradley_terry, the logit; pairwise, from -1 to 1 by `grrm.tournament`. None if there is none.
        ranks: the place of each response, 1 is best, equal scores share a place; None without a score.
        judgements: what was asked and answered.
        failure: of an answer that could not be used, in one word, a server's failure before others; None if
            all could.
    """

    scores: list[float | None]
    ranks: list[int | None]
    judgements: list[Judgement]
    failure: str | None

    @property
    def detail(self) -> str | None:
        """The failure in words, of the first judgement that has it."""
        found = (judgement.detail for judgement in self.judgements if judgement.failure == self.failure)
        return next(found, None)


def grade(
    model: str | Path,
    rows: Sequence[Mapping[str, Any]],
    mode: Mode | None = None,
    *,
    method: Method = "dgr",
    reference: bool = False,
    decoding: Decoding | None = None,
    retries: Retries = NO_RETRIES,
    engine: Engine = DEFAULT_ENGINE,
    card: str | Path | None = None,
) -> list[Grade]:
    """Let a trained judge grade responses.

    Args:
        model: folder of the judge, or a server's name for it.
        rows: see `read_row`.
        mode: pointwise, pairwise or bradley_terry; None: what it was trained for.
        method: how comparisons become scores (pairwise), see `grrm.tournament`.
        reference: show the judge the reference of a row, if there is one.
        decoding: how answers are generated; None: greedy, as long as in its training.
        retries: what is done about answers that cannot be used.
        engine: what runs the model.
        card: folder that holds its judge.json; None: the model's. Needed where a server has the model.

    Returns:
        one result per row, in the order of the rows.

    Raises:
        UserError: the judge cannot be loaded or asked, was not trained for this, or a row cannot be graded.
    """
    used = judge_use(card or model, mode)
    asked = columns_of(used)
    table = [read_row(row, f"row {number}", asked) for number, row in enumerate(rows)]
    with closing(open_judge(model, engine, used)) as judge:
        results = dict(
            grade_each(
                judge,
                table,
                used,
                decoding or default_decoding(used),
                method=method,
                reference=reference,
                retries=retries,
            )
        )
    return [results[number] for number in range(len(table))]


def judge_use(model: str | Path, mode: Mode | None) -> Use:
    """How a judge is used, by the file in its folder.

    Raises:
        UserError: there is no such file; it was not trained for the mode, or for several and none is named.
    """
    card = read_card(model)
    if mode is None:
        if len(card.modes) > 1:
            raise UserError(f"{model}: trained for {' and '.join(card.modes)}; say which (--mode)")
        mode = card.modes[0]
    return use(card, mode, model)


def default_decoding(used: Use) -> Decoding:
    """Greedy, and as long as in its training."""
    return Decoding(1 if isinstance(used, BradleyTerry) else used.max_new_tokens)


# ---------------------------------------------------------------- rows


def columns_of(used: Use) -> frozenset[str]:
    """Columns of a row that the judge's prompt names."""
    return frozenset() if isinstance(used, BradleyTerry) else used.asks.columns


def read_row(row: Mapping[str, Any], where: str, asked: Collection[str] = ()) -> dict[str, Any]:
    """A row to grade, of any layout (`grrm.data.layouts`).

    Returns:
        id, messages (none where the row does not say what is answered), responses and reference; columns, if
        some are asked for.

    Raises:
        UserError: the layout is not known, a value is of another type, or a column is missing; `where` says
            in which row.
    """
    return asked_about(row, read_candidates(row, where), where, asked)


def read_candidates(row: Mapping[str, Any], where: str) -> Candidates:
    """The responses of a row to grade and what is annotated about them; raises what `read_row` raises."""
    try:
        candidates: Candidates = parse_row(row, "grade")
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    if not is_text(json.dumps(asdict(candidates), ensure_ascii=False)):
        raise UserError(
            f"{where}: a text holds half of a character (\\ud800 to \\udfff) alone; expected texts that "
            "UTF-8 can hold"
        )
    return candidates


def asked_about(
    row: Mapping[str, Any], candidates: Candidates, where: str, asked: Collection[str] = ()
) -> dict[str, Any]:
    """What a judge is asked about a row, as `read_row` returns it."""
    check_columns(f"{where}: the judge's prompt", asked, row)
    about = {
        "id": row.get("id"),
        "messages": [dict(turn) for turn in candidates.conversation],
        "responses": list(candidates.responses),
        "reference": candidates.reference,
    }
    return about | ({"columns": {name: row[name] for name in sorted(asked)}} if asked else {})


# ---------------------------------------------------------------- grading


def grade_rows(
    backend: Backend,
    rows: Sequence[Row],
    decoding: Decoding,
    journal: Journal | Printer,
    *,
    used: Use,
    method: Method = "dgr",
    reference: bool = False,
    retries: Retries = NO_RETRIES,
    watch: Watch | None = None,
    annotated: Sequence[Candidates] = (),
) -> Tally:
    """Grade what is missing in a journal; arguments as of `grade`, rows as `read_row` returns them.

    Args:
        annotated: the rows with their labels; the tally says how far the grades agree with them.

    Raises:
        UserError: a server has not answered everything; the journal keeps what there is.
    """
    todo = journal.missing()
    results = grade_each(
        backend,
        [rows[index] for _, index in todo],
        used,
        decoding,
        method=method,
        reference=reference,
        retries=retries,
        keys=[(decoding.seed + run, index) for run, index in todo],
    )
    agreement = Agreement(annotated, used)
    for row in journal.results() if annotated else ():
        agreement.add(row["index"], row["scores"])
    seen: Iterator[tuple[int, Grade]] = (
        agreement.watching(results, [index for _, index in todo]) if annotated else results
    )
    tally = keep(journal, todo, seen, rows, ("id",), backend, decoding, watch)
    tally.remark = str(agreement)
    return tally


def settings(
    backend: Backend,
    rows: Sequence[Row],
    decoding: Decoding,
    retries: Retries,
    *,
    used: Use,
    method: Method,
    reference: bool,
    runs: int,
) -> dict[str, Any]:
    """What grades depend on, for the journal."""
    return {
        "task": "grade",
        **backend.origin(),
        FILES: backend.other_files(),
        "judge": asdict(used),
        "method": method,
        "reference": reference,
        "decoding": asdict(decoding),
        "retries": asdict(retries),
        "runs": runs,
        "rows": len(rows),
        "rows_sha256": rows_digest(rows),
    }


def grade_each(
    backend: Backend,
    rows: Sequence[Row],
    used: Use,
    decoding: Decoding,
    *,
    method: Method = "dgr",
    reference: bool = False,
    retries: Retries = NO_RETRIES,
    keys: Sequence[tuple[int, ...]] | None = None,
) -> Iterator[tuple[int, Grade]]:
    """As `grade`, result by result as they are settled, each with its position in `rows`.

    Args:
        keys: per row, the numbers that its seeds are made from; by default the decoding's seed and the
            position.
    """
    if isinstance(used, BradleyTerry):
        assert isinstance(backend, Classifier)
        yield from _score_each(backend, rows)
        return
    shown = [_shown(row, used, f"row {number}") for number, row in enumerate(rows)]
    if keys is None:
        keys = [(decoding.seed, number) for number in range(len(rows))]
    places = [(number, place) for number, orders in enumerate(shown) for place in range(len(orders))]
    questions = [
        Question(
            _render(rows[number], shown[number][place], used, reference),
            _reader(used),
            (*keys[number], place),
        )
        for number, place in places
    ]
    found: list[dict[int, Judgement]] = [{} for _ in rows]
    for position, answer in ask(backend, questions, decoding, retries):
        number, place = places[position]
        found[number][place] = Judgement(
            shown[number][place], answer.value, answer.text, answer.failure, answer.detail
        )
        if len(found[number]) == len(shown[number]):
            judgements = [found[number][i] for i in range(len(shown[number]))]
            found[number] = {}
            if isinstance(used, Pointwise):
                yield number, _graded(_verdicts(judgements), judgements)
            else:
                yield (
                    number,
                    _graded(tournament(len(rows[number]["responses"]), judgements, method), judgements),
                )


def _score_each(judge: Classifier, rows: Sequence[Row]) -> Iterator[tuple[int, Grade]]:
    for start in range(0, len(rows), _ROWS):
        batch = rows[start : start + _ROWS]
        scored = iter(
            judge.score([with_response(row["messages"], text) for row in batch for text in row["responses"]])
        )
        for number, row in enumerate(batch, start):
            judgements = [_logit(index, next(scored)) for index in range(len(row["responses"]))]
            yield number, _graded(_verdicts(judgements), judgements)


def _logit(index: int, value: float) -> Judgement:
    if math.isfinite(value):
        return Judgement((index,), value, "")
    return Judgement((index,), None, "", "not_a_number", f"the model's score is {value}")


def _shown(row: Row, used: Pointwise | Pairwise, where: str) -> list[tuple[int, ...]]:
    """The responses that each question shows, in their order."""
    responses = row["responses"]
    if isinstance(used, Pointwise):
        return [(i,) for i in range(len(responses))]
    if len(responses) < 2:
        raise UserError(f"{where}: one response; a pairwise judge compares at least two")
    question, pairs = question_text(row["messages"]), combinations(range(len(responses)), 2)
    return [order for pair in pairs for order in orders_of(question, responses, pair, used.both_orders)]


def _render(row: Row, responses: tuple[int, ...], used: Pointwise | Pairwise, reference: bool) -> str:
    names = ("response",) if isinstance(used, Pointwise) else ("first", "second")
    return used.asks.render(
        question=question_text(row["messages"]),
        reference=row["reference"] if reference else None,
        columns=row.get("columns", {}),
        **{name: row["responses"][i] for name, i in zip(names, responses, strict=True)},
    )


def _reader(used: Pointwise | Pairwise) -> Callable[[str], float | Preference]:
    def read(text: str) -> float | Preference:
        try:
            return used.read(text)
        except ValueError as error:
            raise AnswerError("unparsable", str(error)) from error

    return read


def _verdicts(judgements: Sequence[Judgement]) -> list[float | None]:
    return [None if judgement.verdict is None else float(judgement.verdict) for judgement in judgements]


def _graded(scores: list[float | None], judgements: list[Judgement]) -> Grade:
    failures = [judgement.failure for judgement in judgements if judgement.failure]
    # A server's first: the row is not recorded then, and asked about again.
    failures.sort(key=lambda failure: failure not in SERVER_FAILURES)
    return Grade(scores, ranks(scores), judgements, failures[0] if failures else None)


def tournament(n: int, judgements: Sequence[Judgement], method: Method) -> list[float | None]:
    """Scores of `n` responses from comparisons of two.

    A pair is compared if every answer about it is there; two orders that disagree are a tie. A response of
    which fewer than half of the pairs were compared has no score.
    """
    said: dict[Shown, list[tuple[Shown, Any]]] = {}
    for judgement in judgements:
        i, j = judgement.responses
        said.setdefault((min(i, j), max(i, j)), []).append(((i, j), judgement.verdict))
    complete = {pair: answers for pair, answers in said.items() if all(verdict for _, verdict in answers)}
    results = [agreed(answers, pair) for pair, answers in complete.items()]
    return tournament_scores(n, results, method)


def ranks(scores: Sequence[float | None]) -> list[int | None]:
    """Places from 1, the highest score; equal scores share the better place: [3, 1, 3] -> [1, 3, 1]."""
    known = [value for value in scores if value is not None]
    return [None if value is None else 1 + sum(other > value for other in known) for value in scores]
