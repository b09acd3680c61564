"""Grading responses with a trained judge, asked as it was trained: prompt and parser come from its folder.

An answer that cannot be used is a failure with a reason, never a score and never a rank.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.inference.asking import Question, Retries, Unusable, ask
from grrm.inference.backends import Backend, Decoding, Engine, folder_origin, open_backend
from grrm.judges.card import BradleyTerry, Mode, Pairwise, Pointwise, read_card, use
from grrm.judges.conversation import question_text, with_response
from grrm.rewards.model_scores import ModelOptions, ModelScores
from grrm.tournament import Comparison, Method, score
from grrm.verdicts import Preference, swap

_ROLES = ("system", "user", "assistant")


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
        failure: why not every response has a score, in one word; None if every one has.
    """

    scores: list[float | None]
    ranks: list[int | None]
    judgements: list[Judgement]
    failure: str | None


@dataclass(frozen=True)
class GradeOptions:
    """How a judge is used.

    Attributes:
        temperature: 0 is greedy.
        seed: of sampling.
        max_new_tokens: longest answer; None: as in its training.
        method: how comparisons become scores (pairwise).
        retries: what is done about answers that cannot be used.
        reference: show the judge the reference of a row, if there is one.
    """

    temperature: float = 0.0
    seed: int = 0
    max_new_tokens: int | None = None
    method: Method = "dgr"
    retries: Retries = Retries(1)
    reference: bool = False


@dataclass(frozen=True)
class GradeRow:
    """A request with responses to it.

    Attributes:
        messages: the conversation before the responses.
        responses: at least one; to compare, at least two.
        reference: a good response, for orientation.
    """

    messages: tuple[Mapping[str, str], ...]
    responses: tuple[str, ...]
    reference: str | None = None


def read_row(row: Mapping[str, Any], where: str = "row") -> GradeRow:
    """A row to grade: `question` (a text) or `messages` (role and content); `response` or `responses`; maybe
    `reference`.

    Args:
        row: keys and values; other keys do not matter.
        where: what errors call it.

    Raises:
        UserError: a key is missing, or its value of another type.
    """
    messages = row.get("messages")
    if messages is None and isinstance(row.get("question"), str):
        messages = [{"role": "user", "content": row["question"]}]
    if not isinstance(messages, list) or not messages or not all(map(_is_message, messages)):
        raise UserError(
            f"{where}: expected question, a text, or messages, each with role ({', '.join(_ROLES)}) and content; "
            f"the keys are {sorted(row)}"
        )
    responses = row.get("responses", [row["response"]] if "response" in row else None)
    if not isinstance(responses, list) or not responses or not all(isinstance(r, str) for r in responses):
        raise UserError(
            f"{where}: expected response, a text, or responses, a list of texts; the keys are {sorted(row)}"
        )
    reference = row.get("reference")
    if reference is not None and not isinstance(reference, str):
        raise UserError(f"{where}: reference is {reference!r}, expected a text")
    return GradeRow(tuple(messages), tuple(responses), reference)


def grade(
    model: str | Path,
    rows: Sequence[Mapping[str, Any]],
    mode: Mode | None = None,
    *,
    options: GradeOptions = GradeOptions(),
    engine: Engine = Engine(),
    card: str | Path | None = None,
    python: str = "",
) -> list[Grade]:
    """Let a trained judge grade responses.

    Args:
        model: folder of the judge, or a server's name for it.
        rows: see `read_row`.
        mode: pointwise, pairwise or bradley_terry; None: what it was trained for.
        options: how it is used.
        engine: what runs it.
        card: folder that holds its judge.json; None: the model's. Needed where a server has the model.
        python: interpreter that scores with a Bradley-Terry model; empty is this one.

    Returns:
        one result per row, in the order of the rows.

    Raises:
        UserError: the judge cannot be loaded or asked, was not trained for this, or a row cannot be graded.
    """
    read = [read_row(row, f"row {i}") for i, row in enumerate(rows)]
    with closing(Judge(model, mode, options=options, engine=engine, card=card, python=python)) as judge:
        results = dict(judge.grade(read))
    return [results[i] for i in range(len(read))]


class Judge:
    """A trained judge, ready to be asked until `close`; arguments and errors as of `grade`."""

    def __init__(
        self,
        model: str | Path,
        mode: Mode | None = None,
        *,
        options: GradeOptions = GradeOptions(),
        engine: Engine = Engine(),
        card: str | Path | None = None,
        python: str = "",
    ) -> None:
        self.model, self.options = model, options
        self.use = judge_use(card or model, mode)
        self._engine, self._python = engine, python
        self._backend = None if isinstance(self.use, BradleyTerry) else open_backend(model, engine)
        if self._backend is None:
            _check_classifier(model, engine)

    def grade(
        self, rows: Sequence[GradeRow], keys: Sequence[int] | None = None
    ) -> Iterator[tuple[int, Grade]]:
        """Grade rows, result by result as they are settled, each with its position in `rows`.

        Args:
            rows: what is graded.
            keys: per row, the number that its seeds are made from; by default the position.

        Raises:
            UserError: a row has too few responses for this judge, or the judge cannot be asked.
        """
        if isinstance(self.use, BradleyTerry) or self._backend is None:
            yield from _score_each(self.model, rows, self._engine, self._python)
            return
        if isinstance(self.use, Pairwise):
            for number, row in enumerate(rows):
                if len(row.responses) < 2:
                    raise UserError(f"row {number}: one response; a pairwise judge compares at least two")
        numbers = range(len(rows)) if keys is None else keys
        yield from _ask_each(self._backend, rows, self.use, self.options, numbers)

    def origin(self) -> dict[str, Any]:
        """What gives the grades, for provenance: model, weights, and how it is asked."""
        made_by = self._backend.origin() if self._backend else folder_origin(self.model, Path(self.model))
        return {**made_by, "judge": asdict(self.use), "options": asdict(self.options)}

    def close(self) -> None:
        """Free the model."""
        if self._backend:
            self._backend.close()


def judge_use(model: str | Path, mode: Mode | None) -> Pointwise | Pairwise | BradleyTerry:
    """How a judge is used, by the file in its folder.

    Raises:
        UserError: there is no such file; it was not trained for the mode, or for several and none is named.
    """
    card = read_card(model)
    if mode is None:
        if len(card.modes) > 1:
            raise UserError(f"{model}: trained for {' and '.join(card.modes)}; say which with --mode")
        mode = card.modes[0]
    return use(card, mode, model)


# ---------------------------------------------------------------- generative judges


def _ask_each(
    backend: Backend,
    rows: Sequence[GradeRow],
    used: Pointwise | Pairwise,
    options: GradeOptions,
    keys: Sequence[int],
) -> Iterator[tuple[int, Grade]]:
    shown = [_shown(row, used) for row in rows]
    places = [(number, place) for number, orders in enumerate(shown) for place in range(len(orders))]
    questions = [
        Question(
            _render(rows[number], shown[number][place], used, options),
            _reader(used),
            (options.seed, keys[number], place),
        )
        for number, place in places
    ]
    decoding = Decoding(options.max_new_tokens or used.max_new_tokens, options.temperature, options.seed)
    waiting: list[dict[int, Judgement]] = [{} for _ in rows]
    for position, answer in ask(backend, questions, decoding, options.retries):
        number, place = places[position]
        waiting[number][place] = Judgement(
            shown[number][place], answer.value, answer.text, answer.failure, answer.detail
        )
        if len(waiting[number]) == len(shown[number]):
            judgements = [waiting[number][i] for i in range(len(shown[number]))]
            waiting[number].clear()
            yield number, _settled(rows[number], judgements, used, options.method)


def _shown(row: GradeRow, used: Pointwise | Pairwise) -> list[tuple[int, ...]]:
    """The responses that each question shows, in their order."""
    if isinstance(used, Pointwise):
        return [(i,) for i in range(len(row.responses))]
    pairs = combinations(range(len(row.responses)), 2)
    return [order for i, j in pairs for order in ([(i, j), (j, i)] if used.both_orders else [(i, j)])]


def _render(
    row: GradeRow, responses: tuple[int, ...], used: Pointwise | Pairwise, options: GradeOptions
) -> str:
    names = ("response",) if isinstance(used, Pointwise) else ("first", "second")
    return used.asks.render(
        question=question_text(row.messages),
        reference=row.reference if options.reference else None,
        **{name: row.responses[i] for name, i in zip(names, responses, strict=True)},
    )


def _reader(used: Pointwise | Pairwise) -> Any:
    def read(text: str) -> float | Preference:
        try:
            return used.read(text)
        except ValueError as error:
            raise Unusable("unparsable", str(error)) from error

    return read


def _settled(row: GradeRow, judgements: list[Judgement], used: Pointwise | Pairwise, method: Method) -> Grade:
    if isinstance(used, Pointwise):
        scores = [None if j.verdict is None else float(j.verdict) for j in judgements]
    else:
        scores = _tournament(len(row.responses), judgements, method)
    failure = next((j.failure for j in judgements if j.failure), None) if None in scores else None
    return Grade(scores, ranks(scores), judgements, failure)


def _tournament(n: int, judgements: Sequence[Judgement], method: Method) -> list[float | None]:
    """Scores from comparisons; a pair with a missing answer is not compared, and what never was has no score."""
    said: dict[tuple[int, int], list[Preference | None]] = {}
    for judgement in judgements:
        i, j = judgement.responses
        verdict: Any = judgement.verdict
        turned = verdict if verdict is None or i < j else swap(verdict)
        said.setdefault((min(i, j), max(i, j)), []).append(turned)
    compared: list[Comparison] = []
    for (i, j), preferences in said.items():
        if None in preferences:
            continue
        # Two orders that disagree: neither is better.
        agreed = preferences[0] if len(set(preferences)) == 1 else "tie"
        compared.append((i, j, {"A": i, "B": j}.get(str(agreed))))
    known = sorted({index for i, j, _ in compared for index in (i, j)})
    place = {index: position for position, index in enumerate(known)}
    local: list[Comparison] = [(place[i], place[j], None if w is None else place[w]) for i, j, w in compared]
    values = dict(zip(known, score(method, len(known), local), strict=True)) if known else {}
    return [values.get(index) for index in range(n)]


def ranks(scores: Sequence[float | None]) -> list[int | None]:
    """Places from 1, the highest score; equal scores share the better place: [3, 1, 3] -> [1, 3, 1]."""
    known = [value for value in scores if value is not None]
    return [None if value is None else 1 + sum(other > value for other in known) for value in scores]


# ---------------------------------------------------------------- Bradley-Terry


def _score_each(
    model: str | Path, rows: Sequence[GradeRow], engine: Engine, python: str
) -> Iterator[tuple[int, Grade]]:
    device = "cuda" if engine.gpus and _has_gpu(python) else "cpu"
    scorer = ModelScores(
        "bradley_terry",
        ModelOptions(str(model), python, device=device, batch_size=engine.batch_size, threads=engine.threads),
    )
    with closing(scorer), asyncio.Runner() as runner:
        for start in range(0, len(rows), engine.batch_size):
            batch = rows[start : start + engine.batch_size]
            items = [
                {"messages": with_response(row.messages, response)}
                for row in batch
                for response in row.responses
            ]
            scored = iter(runner.run(scorer.score(items)))
            for number, row in enumerate(batch, start):
                judgements = []
                for index in range(len(row.responses)):
                    value, detail = next(scored)
                    failed = {} if value is not None else {"failure": "not_scored", "detail": detail}
                    judgements.append(Judgement((index,), value, "", **failed))
                scores = [None if j.verdict is None else float(j.verdict) for j in judgements]
                failure = next((j.failure for j in judgements if j.failure), None)
                yield number, Grade(scores, ranks(scores), judgements, failure)


def _check_classifier(model: str | Path, engine: Engine) -> None:
    if engine.backend not in ("auto", "transformers") or engine.base_url:
        raise UserError(
            f"{model}: a Bradley-Terry model is a sequence classifier and writes no text; it is scored by the "
            "backend transformers only"
        )
    if not Path(model).is_dir():
        raise UserError(f"{model}: no such model folder")


def _has_gpu(python: str) -> bool:
    probe = "import sys, torch; sys.exit(not torch.cuda.is_available())"
    return subprocess.run([python or sys.executable, "-c", probe], check=False).returncode == 0


def _is_message(message: object) -> bool:
    return (
        isinstance(message, Mapping)
        and message.get("role") in _ROLES
        and isinstance(message.get("content"), str)
    )
