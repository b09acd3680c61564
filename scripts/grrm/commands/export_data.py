"""`grrm export-data`: data for the training of judges, in the published layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from grrm.data.judge_data import BadRows, Kind, both_orders, read_records, split_records, write_records
from grrm.files import UserError

HELP = (
    "judges' training data from any published layout: converted, split by conversation, JSON lines or parquet"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "input",
        type=Path,
        nargs="+",
        help="files or folders (parquet, JSON lines, a JSON list; the last two also .gz); a layout that is "
        "not known is an error",
    )
    parser.add_argument("--kind", required=True, choices=get_args(Kind), help="what is to be trained")
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER", help="where the files go")
    parser.add_argument(
        "--format",
        choices=["jsonl", "parquet"],
        nargs="+",
        default=["parquet"],
        help="one or both (default: parquet)",
    )
    parser.add_argument(
        "--split",
        nargs="+",
        default=["train=1"],
        metavar="NAME=SHARE",
        help="parts and their shares, which add up to 1, such as train=0.9 test=0.1; rows about one "
        "conversation stay in one part (default: all in one)",
    )
    parser.add_argument("--seed", type=int, default=42, help="of the split (default: 42)")
    parser.add_argument(
        "--both-orders", action="store_true", help="every comparison in both orders (pairwise)"
    )
    parser.add_argument(
        "--bad-rows", choices=get_args(BadRows), default="error", help="drop: leave them out, and say so"
    )


def run(args: argparse.Namespace) -> None:
    """Write one file per part and format, each whole or not at all."""
    if args.both_orders and args.kind != "pairwise":
        raise UserError(f"--both-orders: of no use for kind {args.kind}, only for pairwise")
    records = read_records(args.input, args.kind, args.bad_rows)
    if args.both_orders:
        records = both_orders(records)
    parts = split_records(records, _shares(args.split), args.seed)
    for name, part in parts.items():
        for ending in dict.fromkeys(args.format):
            path = args.output / f"{name}.{ending}"
            print(f"{path}: {write_records(path, part)} rows")


def _shares(texts: list[str]) -> dict[str, float]:
    shares: dict[str, float] = {}
    for text in texts:
        name, _, share = text.partition("=")
        try:
            shares[name] = float(share)
        except ValueError:
            raise UserError(f"--split: {text!r}, expected NAME=SHARE such as test=0.1") from None
        if not name or Path(name).name != name:
            raise UserError(f"--split: {text!r}, expected the name of a file in front of '='")
    if len(shares) < len(texts):
        raise UserError(f"--split: {' '.join(texts)}: a part is named twice")
    return shares
