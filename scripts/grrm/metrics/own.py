"""A user's own metric: a Python function that scores segments.

    def ter(translations: list[str], references: list[str], sources: list[str]) -> list[float | None]

It is called once for each system and run, with all segments of the test table in its order; a translation
that failed is an empty text. It answers one number for each segment, None where it cannot tell. Further
columns of the table are handed to parameters of their name, as lists.
"""

from __future__ import annotations

import importlib.util
import inspect
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from grrm.files import UserError, sha256
from grrm.metrics.segments import Given, Scored

# What it is given by position; two of them are columns of the table.
_GIVEN = ("translations", "references", "sources")
_COLUMNS = ("src_text", "trg_text")

Function = Callable[..., Any]


def score(given: Given) -> Scored:
    """What the function says about translations.

    Raises:
        UserError: there is no such function, or see `ask`.
    """
    assert given.function
    function = load(given.function)
    path = Path(given.function.rpartition(":")[0])
    scores = [
        score
        for name, runs in given.segments.systems.items()
        for translations in runs
        for score in ask(function, given.function, given.segments.rows, translations, name)
    ]
    return Scored(scores, f"{given.function}|sha256:{sha256(path)[:12]}")


def load(name: str) -> Function:
    """The function that FILE:NAME names; the folder of the file may be imported from.

    Raises:
        UserError: the file is missing or cannot be imported, or holds no such function.
    """
    file, _, attribute = name.rpartition(":")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"metric {name}: no file {file}; expected FILE:FUNCTION, the file a Python file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"metric {name}: cannot be imported ({_said(error)})") from error
    finally:
        sys.path.pop(0)
    function = getattr(module, attribute, None)
    if not callable(function):
        raise UserError(f"metric {name}: {file} has no function {attribute!r}")
    return function  # type: ignore[no-any-return]


def ask(
    function: Function,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    translations: Sequence[str | None],
    system: str,
) -> list[float | None]:
    """One score for each row; None where the function says None.

    Args:
        function: see the module.
        name: FILE:NAME of it, for messages.
        rows: of the translation test table.
        translations: one for each row, None where there is none.
        system: whose translations they are, for messages.

    Raises:
        UserError: the function fails, answers another number of scores, or what is no finite number.
    """
    texts = [text or "" for text in translations]
    sources, references = ([row[column] for row in rows] for column in _COLUMNS)
    where = f"metric {name}, translations of {system}"
    try:
        answer = function(texts, references, sources, **_columns(function, name, rows))
        scores = list(answer)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{where}: {_said(error)}") from error
    if len(scores) != len(texts):
        raise UserError(f"{where}: {len(scores)} scores, expected {len(texts)}, one for each segment")
    return [_number(score, f"{where}, row {row}") for row, score in enumerate(scores)]


def _columns(function: Function, name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Columns that parameters after the first three are named like."""
    more = list(inspect.signature(function).parameters.values())[len(_GIVEN) :]
    columns = list(rows[0]) if rows else []
    named = [
        parameter
        for parameter in more
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]
    for parameter in named:
        if parameter.name not in columns and parameter.default is parameter.empty:
            raise UserError(
                f"metric {name}: parameter {parameter.name!r} is no column of the test table, expected "
                f"{', '.join(_GIVEN)} and, if any, columns ({', '.join(columns)})"
            )
    return {
        parameter.name: [row[parameter.name] for row in rows]
        for parameter in named
        if parameter.name in columns
    }


def _number(score: Any, where: str) -> float | None:
    if score is None:
        return None
    try:
        number = float(score)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(score, str) or not math.isfinite(number):
        raise UserError(f"{where}: {score!r}, expected a finite number, or None where there is no score")
    return number


def _said(error: Exception) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
