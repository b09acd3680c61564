"""Download one data set or model of config/datasets.yaml, byte for byte as config/datasets.lock.yaml says."""

from __future__ import annotations

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

from grrm.data.datasets import entry_named, load_datasets, load_lock, locked_entry
from grrm.files import write_json
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Fetch the files of one entry into a folder; what is there and right is not fetched again."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="environment: HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, HF_HOME"
    )
    parser.add_argument("--name", required=True, help="key in the table of data sets")
    parser.add_argument("--output", type=Path, required=True, help="folder of the files; replaced as a whole")
    parser.add_argument("--record", type=Path, help="what was downloaded, with its licence (JSON)")
    parser.add_argument("--datasets", type=Path, default=Path("config/datasets.yaml"))
    parser.add_argument("--schema", type=Path, default=Path("config/schemas/datasets.schema.yaml"))
    parser.add_argument("--lock", type=Path, default=Path("config/datasets.lock.yaml"))
    parser.add_argument("--retries", type=int, default=5, help="of a request that failed (default: 5)")
    parser.add_argument("--backoff", type=float, default=1.0, help="seconds before the first (default: 1)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)

    entry = entry_named(load_datasets(args.datasets, args.schema), args.name)
    locked = locked_entry(entry, load_lock(args.lock), args.lock)
    from grrm.data.hub import Patience, fetch

    fetch(entry, locked, args.output, Patience(args.retries, args.backoff))
    if args.record is not None:
        licence = {"name": entry.name, "licence": entry.settings["licence"]}
        write_json(args.record, licence | asdict(locked))
    print(f"{args.output}: {len(locked.files)} files of {entry.origin} at revision {locked.revision}")


if __name__ == "__main__":
    run_main(main)
