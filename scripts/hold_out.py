"""Hold test sets out of a user's own tables: what is tested is not trained on."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.held_out import hold_out
from grrm.metrics.scores import parse_named_files
from grrm.process import run_main
from grrm.schemas import write_table


def main(argv: list[str] | None = None) -> None:
    """Write every table without what is held out, and a test table for each task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="+", required=True, metavar="STAGE=PARQUET", help="training tables")
    parser.add_argument(
        "--tasks", nargs="+", required=True, choices=["ranking", "translation"], help="what is to be tested"
    )
    parser.add_argument("--share", type=float, required=True, help="of the rows of each task, 0 to 1")
    parser.add_argument("--seed", type=int, default=0, help="of the choice (default: 0)")
    parser.add_argument("--output-folder", type=Path, required=True, help="where the tables go")
    args = parser.parse_args(argv)

    for name, table in hold_out(
        parse_named_files(args.tables, "--tables"), args.tasks, args.share, args.seed
    ).items():
        path = args.output_folder / f"{name}.parquet"
        write_table(path, table, name)
        print(f"{path}: {table.num_rows} rows")


if __name__ == "__main__":
    run_main(main)
