"""Make the six source tables of the toy world, a synthetic language pair that small models can learn."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.toy_world import DEFAULT_ROWS, make_tables
from grrm.process import run_main
from grrm.schemas import write_table


def main(argv: list[str] | None = None) -> None:
    """Write <output-folder>/<table>.parquet for all six tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-folder", type=Path, required=True, help="where the tables go")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data; the language stays the same")
    for table, count in DEFAULT_ROWS.items():
        flag = f"--{table.replace('_', '-')}"
        parser.add_argument(
            flag, type=_positive, default=count, metavar="ROWS", help=f"rows of the table (default: {count})"
        )
    args = parser.parse_args(argv)
    tables = make_tables(args.seed, {table: getattr(args, table) for table in DEFAULT_ROWS})
    for table, rows in tables.items():
        path = args.output_folder / f"{table}.parquet"
        write_table(path, rows, table)
        print(f"{path}: {len(rows)} rows")


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive whole number")
    return int(text)


if __name__ == "__main__":
    run_main(main)
