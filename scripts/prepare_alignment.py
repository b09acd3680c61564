"""Prepare the rows of the alignment for verl, from preferences."""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from grrm.data.alignment import ROWS, verl_rows
from grrm.files import atomic_path
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the rows of training, in random order, and of validation, in the file's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--train", type=Path, required=True, help="rows to train on, of any layout of preferences"
    )
    parser.add_argument("--validation", type=Path, required=True, help="rows to validate on")
    parser.add_argument("--train-output", type=Path, required=True, help="prepared rows to write (Parquet)")
    parser.add_argument("--validation-output", type=Path, required=True, help="the same for validation")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    parser.add_argument("--seed", type=int, default=0, help="of the order of rows")
    args = parser.parse_args(argv)

    train = verl_rows(args.train, split="train", bad_rows=args.bad_rows)
    validation = verl_rows(args.validation, split="test", bad_rows=args.bad_rows)
    asked = {row["extra_info"]["question"] for row in train}
    shared = sum(row["extra_info"]["question"] in asked for row in validation)
    print(f"{len(train)} rows to train on, {len(validation)} to validate on; {shared} of these ask the same")
    random.Random(args.seed).shuffle(train)
    for path, rows in ((args.train_output, train), (args.validation_output, validation)):
        with atomic_path(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=ROWS), partial, compression="zstd")


if __name__ == "__main__":
    run_main(main)
