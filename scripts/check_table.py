"""Check a published table row by row and write it as the table of a stage."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from grrm.process import run_main
from grrm.schemas import SCHEMAS, read_batches, write_batches


def main(argv: list[str] | None = None) -> None:
    """Write the rows of all inputs, checked; nothing is written if one of them is bad."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, nargs="+", required=True, help="Parquet files of the table")
    parser.add_argument("--schema", required=True, choices=SCHEMAS, help="what its rows have to be")
    parser.add_argument("--output", type=Path, required=True, help="checked table (Parquet)")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    tables = (
        table.select(SCHEMAS[args.schema].names)
        for path in args.input
        for table in read_batches(path, args.schema, args.bad_rows)
    )
    print(f"{args.output}: {write_batches(args.output, tables)} rows")


if __name__ == "__main__":
    run_main(main)
