"""Split rows for the training of judges; rows about one conversation stay together."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.judge_data import read_records, write_records
from grrm.data.splits import split_records
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Read rows of any known layout; write what is trained on and what is held out, in one layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["pointwise", "pairwise", "bradley_terry"], required=True)
    parser.add_argument("--input", nargs="+", type=Path, required=True, help="files, or folders of files")
    parser.add_argument("--test-share", type=float, default=0.1, help="held-out share (default: 0.1)")
    parser.add_argument("--seed", type=int, default=0, help="of the split (default: 0)")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    parser.add_argument("--train", type=Path, required=True, help="rows to write (JSON lines)")
    parser.add_argument("--test", type=Path, required=True, help="held-out rows to write (JSON lines)")
    args = parser.parse_args(argv)

    records = read_records(args.input, args.kind, args.bad_rows)
    shares = {"train": round(1 - args.test_share, 10), "test": args.test_share}
    parts = split_records(records, shares, args.seed)
    for path, part in ((args.train, parts["train"]), (args.test, parts["test"])):
        print(f"{path}: {write_records(path, part)} rows")


if __name__ == "__main__":
    run_main(main)
