"""Make the six source tables from the written sample of real languages, in disjoint splits."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.sample import make_tables
from grrm.process import run_main
from grrm.schemas import write_table


def main(argv: list[str] | None = None) -> None:
    """Write <output-folder>/<table>.parquet for all six tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rankings", type=Path, required=True, help="ranked groups (YAML)")
    parser.add_argument("--translations", type=Path, required=True, help="translations (YAML)")
    parser.add_argument("--output-folder", type=Path, required=True, help="where the tables go")
    parser.add_argument("--seed", type=int, default=0, help="seed of the splits")
    args = parser.parse_args(argv)

    for table, rows in make_tables(args.rankings, args.translations, args.seed).items():
        path = args.output_folder / f"{table}.parquet"
        write_table(path, rows, table)
        print(f"{path}: {len(rows)} rows")


if __name__ == "__main__":
    run_main(main)
