"""`grrm export-data`: data for the training of judges, in the published layout."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import get_args

from grrm.data.datasets import entry_named, load_datasets, load_lock, locked_entry
from grrm.data.judge_data import BadRows, Format, export_records, read_records
from grrm.data.records import Kind
from grrm.files import UserError, shipped

_CONFIG = shipped("config")

HELP = (
    "judges' training data from any published layout: converted, split by conversation, JSON lines or parquet"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    parser.add_argument(
        "input",
        type=Path,
        nargs="*",
        help="files of rows, or folders of them (JSON lines or lists, Parquet, TSV, CSV; also .gz); a layout "
        "that is not known is an error",
    )
    parser.add_argument(
        "--dataset",
        metavar="NAME",
        help="a published data set instead, or a part of it, such as helpsteer2/train.jsonl.gz or "
        "helpsteer2/preference: an entry of the table of data sets, downloaded with HF_TOKEN and HF_ENDPOINT",
    )
    parser.add_argument(
        "--datasets",
        type=Path,
        default=_CONFIG / "datasets.yaml",
        help="that table; with datasets.lock.yaml beside it, the bytes are those that it says (default: that "
        "of the checkout)",
    )
    parser.add_argument(
        "--downloads",
        type=Path,
        default=Path("results/downloads"),
        metavar="FOLDER",
        help="where downloads stay for the next time (default: results/downloads, the workflow's)",
    )
    parser.add_argument("--kind", required=True, choices=get_args(Kind), help="what is to be trained")
    parser.add_argument(
        "--output", "--output-dir", type=Path, required=True, metavar="FOLDER", help="where the files go"
    )
    parser.add_argument(
        "--format",
        choices=get_args(Format),
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
    if bool(args.input) == bool(args.dataset):
        raise UserError("expected files to read, or --dataset, and not both")
    shares = _shares(args.split)
    sources = [_downloaded(args)] if args.dataset else args.input
    written = export_records(
        read_records(sources, args.kind, args.bad_rows),
        args.output,
        args.format,
        shares,
        args.seed,
        in_both_orders=args.both_orders,
    )
    for path, rows in written.items():
        print(f"{path}: {rows} rows")


def _downloaded(args: argparse.Namespace) -> Path:
    """The file or folder of a published data set, after its download."""
    name, _, part = args.dataset.partition("/")
    entry = entry_named(load_datasets(args.datasets, _CONFIG / "schemas/datasets.schema.yaml"), name)
    if entry.kind != "dataset":
        raise UserError(f"--dataset {name}: a model, expected a data set")
    from grrm.data.hub import fetch, lock

    path = args.datasets.with_name("datasets.lock.yaml")
    locks = load_lock(path)
    locked = locked_entry(entry, locks, path) if name in locks else lock(entry)
    fetch(entry, locked, args.downloads / name)
    print(f"{args.downloads / name}: {entry.origin} at revision {locked.revision}")
    return Path(args.downloads / name / part)


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
