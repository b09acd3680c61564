"""What is to be ranked or translated, from a file or standard input: rows in a format of `grrm.data.rows`, or
`text`, one source text per line (`.txt`; translation only).

Columns: src_text, src_lang, trg_lang and, to be ranked, mt_texts, which are mt_texts.1, mt_texts.2... in TSV
and CSV; others only if the prompt names them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from grrm.data import rows as files
from grrm.data.rows import STDIN, TEXT
from grrm.files import UserError, is_text
from grrm.languages import language_code
from grrm.ranking import MAX_CANDIDATES

FORMATS = (*files.FORMATS, TEXT)


def read_rows(
    source: str,
    *,
    candidates: int = 0,
    file_format: str | None = None,
    src_lang: str | None = None,
    trg_lang: str | None = None,
    further: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Read rows and check every one.

    Args:
        source: a file, or `-` for standard input.
        candidates: least number of candidates of a row; 0: rows have none.
        file_format: one of `FORMATS`; by default by the file's ending, and `jsonl` for standard input.
        src_lang: of rows that do not say.
        trg_lang: likewise.
        further: other columns that are kept.

    Returns:
        rows with src_text, src_lang, trg_lang, if there are candidates mt_texts, and the further columns.

    Raises:
        UserError: the source cannot be read in this format, or a row is not complete; says which.
    """
    if candidates and _is_text(source, file_format):
        raise UserError(f"{source}: lines of text have no candidates; expected {', '.join(files.FORMATS)}")
    parsed = parse_rows(source, file_format)
    # As many lines of text come out as go in.
    blank = _is_text(source, file_format)
    given = {"src_lang": src_lang, "trg_lang": trg_lang}
    return check_rows(parsed, candidates=candidates, further=further, blank=blank, **given)


def parse_rows(source: str, file_format: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a table as they are, each with the place it comes from; arguments as of `read_rows`.

    Raises:
        UserError: the source cannot be read in this format, or has no rows.
    """
    name = "standard input" if source == STDIN else source
    kind = TEXT if _is_text(source, file_format) else file_format
    rows = [(f"{name}, {place}", _with_candidates(row)) for place, row in files.numbered_rows(source, kind)]
    if not rows:
        raise UserError(f"{name}: no rows")
    return rows


def _is_text(source: str, file_format: str | None) -> bool:
    return file_format == TEXT or (file_format is None and Path(source).suffix.lower() == ".txt")


def _with_candidates(row: dict[str, Any]) -> dict[str, Any]:
    # Groups may differ in size: an empty field is no candidate.
    texts = [text for column, text in row.items() if column.startswith("mt_texts.") and text is not None]
    return {**row, "mt_texts": texts} if texts else row


def check_rows(
    rows: Iterable[tuple[str, dict[str, Any]]],
    *,
    candidates: int = 0,
    src_lang: str | None = None,
    trg_lang: str | None = None,
    further: Iterable[str] = (),
    blank: bool = False,
) -> list[dict[str, Any]]:
    """Rows, each with the place it comes from, as `read_rows` returns them; sources may be `blank`.

    Raises:
        UserError: as `read_rows`.
    """
    given = {"src_lang": src_lang, "trg_lang": trg_lang}
    return [_checked(row, where, candidates, given, sorted(further), blank) for where, row in rows]


def _checked(
    row: dict[str, Any],
    where: str,
    candidates: int,
    given: dict[str, str | None],
    further: list[str],
    blank: bool,
) -> dict[str, Any]:
    is_blank = blank and row.get("src_text") == ""
    checked: dict[str, Any] = {"src_text": "" if is_blank else _filled(row, "src_text", where, row)}
    for column in ("src_lang", "trg_lang"):
        code = row.get(column) or given[column]
        if code is None:
            option = {"src_lang": "--from", "trg_lang": "--to"}[column]
            raise UserError(f"{where}: no {column}; add the column, or give {option}")
        try:
            language_code(str(code))
        except UserError as error:
            raise UserError(f"{where}: {column}: {error}") from error
        checked[column] = str(code)
    if candidates:
        texts = row.get("mt_texts")
        if not isinstance(texts, list) or not candidates <= len(texts) <= MAX_CANDIDATES:
            found = f"{len(texts)} candidates" if isinstance(texts, list) else f"mt_texts is {texts!r}"
            raise UserError(f"{where}: {found}; expected {candidates} to {MAX_CANDIDATES} texts in mt_texts")
        checked["mt_texts"] = [
            _filled(dict(enumerate(texts)), number, f"{where}, mt_texts", row) for number in range(len(texts))
        ]
    for column in further:
        if column not in row:
            raise UserError(
                f"{where}: no {column}, which the prompt names; the columns are {', '.join(map(str, row))}"
            )
        checked.setdefault(column, row[column])
    return checked


def _filled(values: dict[Any, Any], key: Any, where: str, row: dict[str, Any]) -> str:
    value = values.get(key)
    if not isinstance(value, str) or not value.strip():
        found = f"is {value!r}" if key in values else f"is missing; found {', '.join(map(str, row))}"
        raise UserError(f"{where}: {key} {found}; expected a text that is not empty")
    if not is_text(value):
        raise UserError(
            f"{where}: {key} is {value!r}, with half of a character (\\ud800 to \\udfff) alone; expected a "
            "text that UTF-8 can hold"
        )
    if "\0" in value:
        raise UserError(f"{where}: {key} is {value!r}; expected a text without the character NUL")
    return value
