"""The one reader of files of rows: JSON lines or a list, Parquet, TSV and CSV, each compressed (.gz) or not.

| format | ending | rows |
| --- | --- | --- |
| `jsonl` | `.jsonl`, `.ndjson`, `.json` | one JSON object per line, or one list of them |
| `parquet` | `.parquet` | |
| `tsv` | `.tsv` | the first line names the columns; no quoting |
| `csv` | `.csv` | the first line names the columns; quoted as RFC 4180 has it |

A file of another ending is read by what it holds. Fields of TSV and CSV are texts; an empty one is None.
"""

from __future__ import annotations

import csv
import io
import json
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from gzip import GzipFile
from pathlib import Path
from typing import IO, Any, TypeAlias

from grrm.files import UserError, decoded, uncompressed, without_end
from grrm.json_text import parse_json

Row: TypeAlias = dict[str, Any]
Numbered: TypeAlias = tuple[str, Row]
"""Where a row stands, such as "line 3", and the row."""

STDIN = "-"
TEXT = "text"
"""A format that is never guessed: one text to translate per line, in the column src_text."""
FORMATS = ("jsonl", "parquet", "tsv", "csv")
ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".tsv": "tsv",
    ".csv": "csv",
}
_PARQUET = b"PAR1"
_PEEKED = 4096
_BATCH = 1024


def read_rows(source: str | Path, file_format: str | None = None) -> Iterator[Row]:
    """The rows of a file one by one; arguments and errors as of `numbered_rows`."""
    return (row for _, row in numbered_rows(source, file_format))


def numbered_rows(source: str | Path, file_format: str | None = None) -> Iterator[Numbered]:
    """The rows of a file one by one, each with the place where it stands in it.

    Args:
        source: a file, or `-` for standard input.
        file_format: one of `FORMATS`, or `TEXT`; None: by the ending, else by what the file holds.

    Raises:
        UserError: the file cannot be read, or not in this format; says where.
    """
    name = "standard input" if str(source) == STDIN else str(source)
    known = file_format or ENDINGS.get(_ending(source)) or ("jsonl" if str(source) == STDIN else None)
    try:
        with _opened(source) as file:
            yield from _READERS[known or _found(source, file)](file, name)
    except FileNotFoundError as error:
        raise UserError(f"{name}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def row_files(folder: Path) -> list[Path]:
    """The files of a folder that can be rows, by name.

    Raises:
        UserError: there are none.
    """
    found = sorted(path for path in folder.iterdir() if path.is_file() and _ending(path) in ENDINGS)
    if not found:
        raise UserError(f"{folder}: no file of rows in this folder; expected {', '.join(ENDINGS)}")
    return found


def _ending(path: str | Path) -> str:
    path = Path(path)
    return (path.with_suffix("") if path.suffix.lower() == ".gz" else path).suffix.lower()


@contextmanager
def _opened(source: str | Path) -> Iterator[Any]:
    """The uncompressed bytes of a file, which may be a pipe: it is opened and read once."""
    whole = io.BytesIO(sys.stdin.buffer.read()) if str(source) == STDIN else None
    with (
        io.BufferedReader(whole) if whole else Path(source).open("rb") as file,
        uncompressed(file) as content,
    ):
        yield content


def _found(source: str | Path, file: Any) -> str:
    """The format of what a file holds."""
    start = file.peek(_PEEKED)[:_PEEKED]
    if start.startswith(_PARQUET):
        return "parquet"
    if start.decode("utf-8-sig", "replace").lstrip()[:1] in ("{", "["):
        return "jsonl"
    raise _unknown(source)


def _unknown(source: str | Path) -> UserError:
    return UserError(
        f"{source}: cannot tell its format by its ending; name one of {', '.join(FORMATS)}, or let the file's"
        " name end with it (and .gz, if gzip compressed it)"
    )


# ---------------------------------------------------------------- text


def _all_lines(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Lines without their ends, with their numbers from 1.

    Raises:
        UserError: a line is not UTF-8.
    """
    for number, line in enumerate(file, 1):
        yield number, without_end(decoded(line, f"{name}, line {number}", number == 1))


def _lines(file: IO[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Those that are not blank."""
    return ((number, line) for number, line in _all_lines(file, name) if line.strip())


def _text(file: IO[bytes], name: str) -> Iterator[Numbered]:
    return ((f"line {number}", {"src_text": line.strip()}) for number, line in _all_lines(file, name))


def _jsonl(file: IO[bytes], name: str) -> Iterator[Numbered]:
    found = _lines(file, name)
    for number, line in found:
        if is_list := line.lstrip().startswith("["):
            line = "\n".join([line, *(rest for _, rest in found)])
        value = _parsed(line, f"{name}, line {number}")
        if not is_list:
            yield f"line {number}", _object(value, f"{name}, line {number}", line)
            continue
        for place, item in enumerate(value):
            yield f"row {place} (the first is 0)", _object(item, f"{name}, row {place} (the first is 0)")


def _parsed(text: str, where: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        raise UserError(f"{where}: not valid JSON ({error})") from error


def _object(value: Any, where: str, text: str | None = None) -> Row:
    if not isinstance(value, dict):
        shown = json.dumps(value, ensure_ascii=False) if text is None else text
        raise UserError(f"{where}: {shown[:80]!r}; expected a JSON object")
    return value


def _tsv(file: IO[bytes], name: str) -> Iterator[Numbered]:
    return _table(((number, line.split("\t")) for number, line in _lines(file, name)), name)


def _csv(file: IO[bytes], name: str) -> Iterator[Numbered]:
    csv.field_size_limit(sys.maxsize // 2**32)
    reader = csv.reader(_csv_lines(file, name), strict=True)

    def fields() -> Iterator[tuple[int, Sequence[str]]]:
        first = 1
        for row in reader:
            if row:
                yield first, row
            first = reader.line_num + 1

    try:
        yield from _table(fields(), name)
    except csv.Error as error:
        raise UserError(f"{name}, line {reader.line_num}: not valid CSV ({error})") from error


def _csv_lines(file: IO[bytes], name: str) -> Iterator[str]:
    """Lines with their ends, which may be \\r alone, too."""
    for number, line in enumerate(file, 1):
        yield from io.StringIO(decoded(line, f"{name}, line {number}", number == 1), newline="")


def _table(table: Iterator[tuple[int, Sequence[str]]], name: str) -> Iterator[Numbered]:
    """Rows of fields with the number of their line, the first of them the names of the columns."""
    number, columns = next(table, (0, ()))
    if len(set(columns)) < len(columns):
        raise UserError(f"{name}, line {number}: two columns have the same name: {', '.join(columns)}")
    if broken := [column for column in columns if "\r" in column]:
        raise UserError(
            f"{name}, line {number}: the name of a column is {broken[0][:80]!r}; expected lines that end "
            "with \\n or \\r\\n"
        )
    for number, values in table:
        if len(values) != len(columns):
            raise UserError(
                f"{name}, line {number}: {len(values)} fields; the first line names {len(columns)} columns"
            )
        yield (
            f"line {number}",
            {column: value if value.strip() else None for column, value in zip(columns, values, strict=True)},
        )


# ---------------------------------------------------------------- Parquet


def _parquet(file: IO[bytes], name: str) -> Iterator[Numbered]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from grrm.arrow_types import usual

    try:
        number = 0
        # Its reader begins at the end: what is compressed, or a pipe, has to be held whole.
        whole = isinstance(file, GzipFile) or not file.seekable()
        with pq.ParquetFile(io.BytesIO(file.read()) if whole else file) as table:
            names = table.schema_arrow.names
            if len(set(names)) < len(names):
                raise UserError(f"{name}: two columns have the same name: {', '.join(names)}")
            for batch in table.iter_batches(_BATCH):
                batch.validate(full=True)  # that texts are UTF-8, too
                columns = [_as_json(usual(column)) for column in batch.columns]
                for row in pa.table(columns, batch.schema.names).to_pylist():
                    yield f"row {number} (the first is 0)", row
                    number += 1
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: not a Parquet file, or a damaged one ({error})") from error


def _as_json(column: Any) -> Any:
    """Dates and times as text, which JSON has no other form for."""
    import pyarrow as pa

    return column.cast(pa.string()) if pa.types.is_temporal(column.type) else column


_READERS: dict[str, Callable[[IO[bytes], str], Iterator[Numbered]]] = {
    "jsonl": _jsonl,
    "parquet": _parquet,
    "tsv": _tsv,
    "csv": _csv,
    TEXT: _text,
}
