"""Prepare the supervised start of judges: conversations as JSON lines for LLaMA-Factory."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.judge_data import read_records, write_records
from grrm.data.prepare_judges import marked
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write `messages` of every row; whoever trains on them learns the assistant's turns only."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", nargs="+", type=Path, required=True, help="files, or folders of files")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    parser.add_argument("--output", type=Path, required=True, help="rows to write (JSON lines)")
    args = parser.parse_args(argv)
    records = read_records(args.input, "sft", args.bad_rows)
    print(f"{args.output}: {write_records(args.output, map(marked, records))} rows")


if __name__ == "__main__":
    run_main(main)
