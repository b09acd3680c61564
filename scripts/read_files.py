"""Read a user's own files into one of our tables."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from grrm.catalogue.trainings import STAGES
from grrm.data.own_files import Files, languages_of, read_own_rows
from grrm.files import UserError
from grrm.json_text import parse_json
from grrm.process import run_main
from grrm.schemas import BATCH_ROWS, SCHEMAS, write_batches


def main(argv: list[str] | None = None) -> None:
    """Write the rows of all files, checked; nothing is written if one of them is bad."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        columns = parse_json(args.columns)
    except ValueError as error:
        raise UserError(f"--columns: not JSON ({error})") from error
    languages = languages_of(args.pair, args.source, args.to)
    given = Files(args.input, args.target, args.plain, columns, languages, args.further)
    try:
        tables = _tables(read_own_rows(given, args.table, args.bad_rows), args.table, further=args.further)
        rows = write_batches(args.output, tables)
    except UserError as error:
        raise UserError(f"{args.key}: {error}" if args.key else str(error)) from error
    print(f"{args.output}: {rows} rows")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--table",
        required=True,
        choices=[*STAGES, "ranking_test", "translation_test"],
        help="what the rows become",
    )
    parser.add_argument(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        help="files of rows (Parquet, JSON lines, TSV, CSV), with --plain of source texts; also compressed",
    )
    parser.add_argument("--plain", action="store_true", help="the files are plain text, one segment a line")
    parser.add_argument(
        "--target",
        type=Path,
        nargs="+",
        default=[],
        help="plain text: as many files of translations, or the references of a test set",
    )
    parser.add_argument(
        "--columns", default="{}", help="our columns and what the files call them (JSON), as in data.files"
    )
    parser.add_argument("--pair", help="languages such as de-hsb, if the rows do not say them")
    parser.add_argument("--from", dest="source", metavar="LANGUAGE", help="of the sources alone")
    parser.add_argument("--to", metavar="LANGUAGE", help="of the translations alone")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    parser.add_argument("--further", action="store_true", help="keep columns beside those of the table")
    parser.add_argument("--key", help="of the configuration, for messages")
    parser.add_argument("--output", type=Path, required=True, help="table (Parquet)")
    return parser


def _tables(rows: Iterator[dict[str, Any]], table: str, *, further: bool) -> Iterator[pa.Table]:
    """The rows in pieces; in one piece where columns are kept whose types only all the rows can tell."""
    first = next(rows, None)
    if first is None:
        return
    schema = pa.schema([field.remove_metadata() for field in SCHEMAS[table] if field.name in first])
    rows = chain([first], rows)
    while batch := list(rows if further else islice(rows, BATCH_ROWS)):
        made = pa.Table.from_pylist(batch, schema=schema)
        for name in dict.fromkeys(key for row in batch for key in row if key not in schema.names):
            made = made.append_column(name, _column(name, batch))
        yield made


def _column(name: str, rows: Iterable[Mapping[str, Any]]) -> pa.Array:
    try:
        column = pa.array([row.get(name) for row in rows])
    except (pa.ArrowException, OverflowError) as error:
        raise UserError(f"column {name}: its values are of several types ({error})") from error
    # Objects without a key in any row: Parquet has no type for them.
    empty = pa.types.is_struct(column.type) and not column.type.num_fields
    return pa.nulls(len(column)) if empty else column


if __name__ == "__main__":
    run_main(main)
