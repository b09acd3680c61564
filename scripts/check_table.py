"""Check a published table row by row and write it as the table of a stage."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from grrm.files import UserError
from grrm.process import run_main
from grrm.schemas import SCHEMAS, read_batches, write_batches


def main(argv: list[str] | None = None) -> None:
    """Write the rows of all inputs, checked; nothing is written if one of them is bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="Parquet files of the table")
    parser.add_argument("--schema", required=True, choices=SCHEMAS, help="what its rows have to be")
    parser.add_argument("--output", type=Path, required=True, help="checked table (Parquet)")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    parser.add_argument("--further", action="store_true", help="keep columns beside those of the schema")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    tables = (
        (path, table) for path in args.input for table in read_batches(path, args.schema, args.bad_rows)
    )
    selected = _alike(tables, [] if args.further else SCHEMAS[args.schema].names)
    print(f"{args.output}: {write_batches(args.output, selected)} rows")


def _alike(tables: Iterable[tuple[Path, pa.Table]], columns: Sequence[str]) -> Iterator[pa.Table]:
    """The tables with these columns, or those of the first, which all others must have as well."""
    schema: pa.Schema | None = None
    for path, table in tables:
        names = [name for name in columns or table.column_names if name in table.column_names]
        schema = schema or table.select(names).schema
        for field in schema:
            if field.name not in table.column_names or table.schema.field(field.name).type != field.type:
                raise UserError(
                    f"{path}: no column {field.name} of type {field.type}, which the files before have; "
                    f"found {', '.join(table.column_names)}"
                )
        yield table.select(schema.names)


if __name__ == "__main__":
    run_main(main)
