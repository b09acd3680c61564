"""What is to be ranked or translated, from a file or standard input.

| format | file | rows |
| --- | --- | --- |
| `jsonl` | `.jsonl`, `.ndjson`, `.json` | one JSON object per line |
| `tsv` | `.tsv` | the first line names the columns; candidates in `mt_texts.1`, `mt_texts.2`...; no quoting |
| `parquet` | `.parquet` | as the workflow's own tables |
| `text` | `.txt` | one source text per line (translation only) |

Columns: src_text, src_lang, trg_lang and, to be ranked, mt_texts; others only if the prompt names them.
"""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from grrm.files import UserError, is_text
from grrm.languages import language_code
from grrm.ranking import MAX_CANDIDATES

FORMATS = ("jsonl", "tsv", "parquet", "text")
STDIN = "-"

_BY_ENDING = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".txt": "text",
}


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
    if candidates and _format(source, file_format) == "text":
        raise UserError(f"{source}: lines of text have no candidates; expected jsonl, tsv or parquet")
    parsed = parse_rows(source, file_format)
    return check_rows(parsed, candidates=candidates, src_lang=src_lang, trg_lang=trg_lang, further=further)


def parse_rows(source: str, file_format: str | None = None) -> list[tuple[str, dict[str, Any]]]:
    """The rows of a table as they are, each with the place it comes from; arguments as of `read_rows`.

    Raises:
        UserError: the source cannot be read in this format, or has no rows.
    """
    name = "standard input" if source == STDIN else source
    parse = _PARSERS[_format(source, file_format)]
    rows = [(f"{name}, {where}", row) for where, row in parse(_content(source), name)]
    if not rows:
        raise UserError(f"{name}: no rows")
    return rows


def _format(source: str, file_format: str | None) -> str:
    ending = Path(source).suffix.lower()
    kind = file_format or ("jsonl" if source == STDIN else _BY_ENDING.get(ending))
    if kind is None:
        raise UserError(f"{source}: cannot tell its format by its ending; name one of {', '.join(FORMATS)}")
    return kind


def check_rows(
    rows: Iterable[tuple[str, dict[str, Any]]],
    *,
    candidates: int = 0,
    src_lang: str | None = None,
    trg_lang: str | None = None,
    further: Iterable[str] = (),
) -> list[dict[str, Any]]:
    """Rows, each with the place it comes from, as `read_rows` returns them; raises what it raises."""
    given = {"src_lang": src_lang, "trg_lang": trg_lang}
    return [_checked(row, where, candidates, given, sorted(further)) for where, row in rows]


def _content(source: str) -> bytes:
    if source == STDIN:
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as error:
        raise UserError(f"{source}: cannot be read ({error.strerror})") from error


def _lines(content: bytes, name: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, with their numbers from 1; ends of line are \\n or \\r\\n."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{name}: not UTF-8 text ({error})") from error
    # Not str.splitlines: a text may hold U+2028 and its kin.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _jsonl(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(content, name):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{name}, line {number}: not valid JSON ({error})") from error
        if not isinstance(row, dict):
            raise UserError(f"{name}, line {number}: {line[:80]!r}; expected a JSON object")
        yield f"line {number}", row


def _tsv(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    columns: list[str] = []
    for number, line in _lines(content, name):
        fields = line.split("\t")
        if not columns:
            columns = fields
            continue
        if len(fields) != len(columns):
            raise UserError(
                f"{name}, line {number}: {len(fields)} fields; the first line names {len(columns)} columns"
            )
        row: dict[str, Any] = dict(zip(columns, fields, strict=True))
        # Groups may differ in size: an empty field is no candidate.
        texts = [row[column] for column in columns if column.startswith("mt_texts.") and row[column].strip()]
        yield f"line {number}", {**row, "mt_texts": texts} if texts else row


def _parquet(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(io.BytesIO(content)).read().to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{name}: not a Parquet file, or a damaged one ({error})") from error
    for number, row in enumerate(rows):
        yield f"row {number} (the first is 0)", row


def _text(content: bytes, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in _lines(content, name):
        yield f"line {number}", {"src_text": line.strip()}


_PARSERS = {"jsonl": _jsonl, "tsv": _tsv, "parquet": _parquet, "text": _text}


def _checked(
    row: dict[str, Any], where: str, candidates: int, given: dict[str, str | None], further: list[str]
) -> dict[str, Any]:
    checked: dict[str, Any] = {"src_text": _filled(row, "src_text", where, row)}
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
    return value
