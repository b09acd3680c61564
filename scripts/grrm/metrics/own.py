"""A user's own metric: a Python function that scores segments.

    def ter(translations: list[str], references: list[str], sources: list[str]) -> list[float | None]

It may be async. It is called once for each system and run, with all segments of the test table in order; a
translation that failed is an empty text. It answers one number for each segment, None where it cannot tell.
Parameters after these three get the column of the test table that they are named like, as a list.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from grrm import event_loop
from grrm.files import UserError, sha256
from grrm.functions import Function, file_of, load_function, said
from grrm.metrics.segments import Given, Scored

_GIVEN = ("translations", "references", "sources")


def score(given: Given) -> Scored:
    """What the function says about translations.

    Raises:
        UserError: there is no such function, or see `ask`.
    """
    function, segments = load_function(given.function), given.segments
    scores = [
        score
        for name, runs in segments.systems.items()
        for translations in runs
        for score in ask(function, given.function, segments.rows, translations, name)
    ]
    return Scored(scores, f"{given.function}|sha256:{sha256(file_of(given.function))[:12]}")


def ask(
    function: Function,
    spec: str,
    rows: Sequence[Mapping[str, Any]],
    translations: Sequence[str | None],
    system: str,
) -> list[float | None]:
    """One score for each row; None where the function says None.

    Args:
        function: see the module.
        spec: FILE:NAME of it, for messages.
        rows: of the translation test table.
        translations: one for each row, None where there is none.
        system: whose translations they are, for messages.

    Raises:
        UserError: the function fails, answers another number of scores, or what is no finite number.
    """
    texts = [text or "" for text in translations]
    references, sources = ([row[column] for row in rows] for column in ("trg_text", "src_text"))
    where = f"metric {spec}, translations of {system}"
    more = _columns(function, spec, rows)
    try:
        answer = function(texts, references, sources, **more)
        scores = list(event_loop.run(_awaited(answer)) if inspect.isawaitable(answer) else answer)
    except (Exception, SystemExit) as error:
        raise UserError(f"{where}: {said(error)}") from error
    if len(scores) != len(texts):
        raise UserError(f"{where}: {len(scores)} scores, expected {len(texts)}, one for each segment")
    return [_number(score, f"{where}, row {row}") for row, score in enumerate(scores)]


async def _awaited(answer: Awaitable[Any]) -> Any:
    return await answer


def _columns(function: Function, spec: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The columns that parameters after the first three are named like."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # what is written in C may not say
        return {}
    columns = list(rows[0]) if rows else []
    more = [one for one in parameters if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)][len(_GIVEN) :]
    for parameter in more:
        if parameter.name not in columns and parameter.default is parameter.empty:
            raise UserError(
                f"metric {spec}: parameter {parameter.name!r} is no column of the test table; expected "
                f"{', '.join(_GIVEN)} and, if more, of {', '.join(columns)}"
            )
    return {one.name: [row[one.name] for row in rows] for one in more if one.name in columns}


def _number(score: Any, where: str) -> float | None:
    if score is None:
        return None
    try:
        number = math.nan if isinstance(score, str) else float(score)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: {score!r}, expected a finite number, or None where there is no score")
    return number
