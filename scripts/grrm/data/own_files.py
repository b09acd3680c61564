"""A user's own files as rows of our tables: plain parallel text, or rows in any format (`grrm.data.rows`) and
layout of translations (`grrm.data.layouts`).

Every fault is one line with file, place, value and what was expected. A fault of a file (it cannot be read,
it is not UTF-8, a line has other columns than the first) always stops; one of a row stops too, once all bad
rows are counted, or with `bad_rows="drop"` leaves the row out.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from grrm.catalogue.trainings import STAGES, TRAININGS
from grrm.data.layouts import TableUse, parse_table_row
from grrm.data.rows import Row, numbered_rows
from grrm.data.test_sets import is_of
from grrm.data.values import short
from grrm.files import UserError, read_lines
from grrm.languages import language_code, language_pair
from grrm.schemas import BadRows

_log = logging.getLogger(__name__)

Placed = tuple[str, Row]
"""Where a row stands (file and line), and the row."""

_OPTIONAL = ("trg_text", "references", "analysis")
_LANGUAGES = ("src_lang", "trg_lang")
_NO_CR = "a text without carriage returns: lines end with \\n or \\r\\n"


@dataclass(frozen=True)
class Files:
    """Files that make one table.

    Attributes:
        files: in order; of plain text, those of the sources.
        targets: of plain text, those of the targets, one for each of `files`; or several references of one.
        plain: whether they are plain text, one segment a line.
        columns: column of our tables -> what the files call it, or several columns that make one list.
        languages: of sources and of targets; None where the rows say it.
        further: whether columns beside those of the table are kept.
    """

    files: Sequence[str | Path]
    targets: Sequence[str | Path] = ()
    plain: bool = False
    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    languages: tuple[str | None, str | None] = (None, None)
    further: bool = False


def languages_of(pair: str | None, source: str | None, target: str | None) -> tuple[str | None, str | None]:
    """Languages of a pair, or one by one, in their usual form.

    Raises:
        UserError: one is no known language.
    """
    if pair is not None:
        return language_pair(pair)
    first, second = (code and language_code(code) for code in (source, target))
    return first, second


def read_own_rows(given: Files, table: str, bad_rows: BadRows = "error") -> Iterator[dict[str, Any]]:
    """The rows of a table that files make, one by one, all with the same columns.

    A bad row raises at the end, when the bad rows are counted; nothing more is yielded after the first.

    Args:
        given: the files.
        table: a training stage, ranking_test or translation_test.
        bad_rows: "error", or "drop": bad rows are left out, counted and logged.

    Raises:
        UserError: a file or, with "error", a row is bad; or there are no good rows.
    """
    rows = bad = 0
    first: UserError | None = None
    use: TableUse = _USES[table]
    learned = use == "ranking" and TRAININGS[table].engine == "sft"
    alike = _Alike(frozenset({"analysis"} if learned else ()))
    for where, row in _segments(given, use) if given.plain else _rows(given):
        rows += 1
        try:
            found = alike.row(_table_row(row, use, given))
        except UserError as error:
            bad += 1
            first = first or UserError(f"{where}: {error}")
            continue
        if bad_rows == "drop" or not bad:
            yield found
    if not rows:
        raise UserError(f"{', '.join(map(str, given.files))}: no rows")
    if first is not None and (bad_rows == "error" or bad == rows):
        left = (
            "; no good row is left"
            if bad_rows == "drop"
            else ", or let them be dropped (data.bad_rows: drop)"
        )
        raise UserError(f"{first}; {bad} of {rows} rows are bad: repair them{left}")
    if first is not None:
        _log.warning("dropped %d bad rows of %d; the first: %s", bad, rows, first)


_USES: dict[str, Any] = {stage: TRAININGS[stage].table for stage in STAGES} | {
    f"{task}_test": f"{task}_test" for task in ("ranking", "translation")
}


class _Alike:
    """Rows have a reference, several, or an analysis, or all have none: what a few lack is a mistake.

    Args:
        needed: columns that the table cannot do without.
    """

    def __init__(self, needed: frozenset[str]) -> None:
        self._needed = needed
        self._first: dict[str, bool] = {}

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """The row without columns that no row has; UserError where it is not as the first one."""
        has = {name: row.get(name) is not None for name in _OPTIONAL}
        for name in self._needed:
            if not has[name]:
                raise UserError(f"{name} is None; expected a text: the SFT of the GRRM learns to write it")
        self._first = self._first or has
        for name, there in has.items():
            if there != self._first[name]:
                expected = "none" if there else "a value"
                raise UserError(f"{name} is {short(row.get(name))}; expected {expected}, as in the first row")
        left_out = {name for name in ("references", "analysis") if not has[name]}
        return {name: value for name, value in row.items() if name not in left_out}


def _table_row(row: Row, use: TableUse, given: Files) -> dict[str, Any]:
    """A row of ours, from one with the columns of its file."""
    row = _renamed(row, given.columns)
    languages = zip(_LANGUAGES, given.languages, strict=True)
    row = row | {name: _language(row, name, declared) for name, declared in languages}
    found = parse_table_row(row, use)
    if given.further:
        found |= {name: value for name, value in row.items() if name not in found}
    return found


def _language(row: Row, name: str, declared: str | None) -> str:
    """The language of a row: its own, which must be of the file's, or the file's."""
    code = row.get(name)
    if code is None and declared is not None:
        return declared
    if not isinstance(code, str) or not code.strip():
        side = "from" if name == "src_lang" else "to"
        raise UserError(
            f"{name} is {short(code)}; expected the tag of a language in each row, or {side} (pair of a test "
            "set) in the configuration for the whole file"
        )
    try:
        found = language_code(code.strip())
    except UserError as error:
        raise UserError(f"{name}: {error}") from error
    if declared is not None and not is_of(found, declared):
        raise UserError(f"{name} is {code!r}; expected {declared}, which the configuration names")
    return declared or found


# ---------------------------------------------------------------- rows


def _rows(given: Files) -> Iterator[Placed]:
    for path in given.files:
        for where, row in numbered_rows(path):
            yield f"{path}, {where}", row


def _renamed(row: Row, columns: Mapping[str, str | Sequence[str]]) -> Row:
    """The row with our names of its columns."""
    theirs = {name for names in columns.values() for name in _names(names)}
    rest = {name: value for name, value in row.items() if name not in theirs}
    return rest | {ours: _value(ours, row, _names(names)) for ours, names in columns.items()}


def _value(ours: str, row: Row, names: Sequence[str]) -> Any:
    values = [_column(row, name) for name in names]
    if all(value is _MISSING for value in values):
        found = ", ".join(map(repr, row)) or "none"
        raise UserError(f"no column {' or '.join(map(repr, names))} for {ours}; found {found}")
    if len(names) == 1:
        return values[0]
    values = [None if value is _MISSING else value for value in values]
    while values and values[-1] is None:  # a smaller group than others, or fewer references
        values.pop()
    return values or None


_MISSING = object()


def _column(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or what has a name within it: translation.de is {"translation": {"de": ...}}."""
    if name in row:
        return row[name]
    column, _, key = name.partition(".")
    return _within(row.get(column), key)


def _within(value: Any, key: str) -> Any:
    """What has this name in a value; of a list of such values, that of each."""
    if isinstance(value, Mapping):
        return _column(value, key)
    found = [_within(item, key) for item in value] if isinstance(value, list) else []
    return _MISSING if not found or any(item is _MISSING for item in found) else found


def _names(names: str | Sequence[str]) -> Sequence[str]:
    return [names] if isinstance(names, str) else names


# ---------------------------------------------------------------- plain text


def _segments(given: Files, use: TableUse) -> Iterator[Placed]:
    """The lines of plain text as rows; those that are empty in all files are passed over."""
    if use == "translation_test":
        if len(given.files) != 1:
            raise UserError(
                f"{len(given.files)} files of sources; expected one, and any number of references"
            )
        yield from _parallel([given.files[0], *given.targets], use)
        return
    if len(given.files) != len(given.targets):
        raise UserError(
            f"{len(given.files)} files of sources and {len(given.targets)} of targets; expected as many: "
            f"{', '.join(map(str, [*given.files, *given.targets]))}"
        )
    for source, target in zip(given.files, given.targets, strict=True):
        yield from _parallel([source, target], use)


def _parallel(paths: Sequence[str | Path], use: TableUse) -> Iterator[Placed]:
    """The lines of files that belong together."""
    for number, lines in enumerate(zip_longest(*(read_lines(path) for path in paths)), 1):
        if None in lines:
            counts = [sum(1 for _ in read_lines(path)) for path in paths]
            found = " and ".join(
                f"{path} has {count} lines" for path, count in zip(paths, counts, strict=True)
            )
            raise UserError(f"{found}: expected as many, line by line")
        if not any(line.strip() for line in lines):
            continue
        row = dict(_columns(lines, use))
        where = f"{paths[0]}, line {number}"
        for path, line in zip(paths, lines, strict=True):
            if "\r" in line:
                raise UserError(f"{path}, line {number}: {short(line)}; expected {_NO_CR}")
            if not line.strip():
                where = f"{path}, line {number}"
        yield where, row


def _columns(lines: Iterable[str], use: TableUse) -> Iterator[tuple[str, Any]]:
    source, *targets = (line.strip() or None for line in lines)
    yield "src_text", source
    if use != "translation_test":
        yield "trg_text", targets[0]
    elif len(targets) > 1:
        yield "references", targets
    elif targets:
        yield "trg_text", targets[0]
