"""Lock the data sets and models of config/datasets.yaml: revision, and size and SHA-256 of each file."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from grrm.data.datasets import entry_named, load_datasets, load_lock, unlisted_entry, write_lock
from grrm.files import UserError
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Resolve the entries that are not locked yet, or those named; the others stay as they are."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="environment: HF_TOKEN, HF_ENDPOINT", allow_abbrev=False
    )
    parser.add_argument("--datasets", type=Path, default=Path("config/datasets.yaml"))
    parser.add_argument("--schema", type=Path, default=Path("config/schemas/datasets.schema.yaml"))
    parser.add_argument("--lock", type=Path, default=Path("config/datasets.lock.yaml"))
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        help="lock these, if they are not locked yet; models--OWNER--NAME for a model in no table",
    )
    parser.add_argument("--update", nargs="+", metavar="NAME", default=[], help="resolve these again")
    parser.add_argument("--retries", type=int, default=5, help="of a request that failed (default: 5)")
    parser.add_argument("--backoff", type=float, default=1.0, help="seconds before the first (default: 1)")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("httpx2").setLevel(logging.WARNING)

    entries = load_datasets(args.datasets, args.schema)
    chosen = {name: entry_named(entries, name) for name in [*(args.only or []), *args.update]}
    # An entry that has left the table leaves the lock; models that never were in it stay.
    locked = {
        name: value for name, value in load_lock(args.lock).items() if name in entries or unlisted_entry(name)
    }
    problems = []
    for name, entry in {**entries, **chosen}.items():
        if name not in args.update and (name in locked or (chosen and name not in chosen)):
            continue
        from grrm.data.hub import Patience, lock

        before = locked.get(name)
        try:
            locked[name] = lock(entry, Patience(args.retries, args.backoff))
        except UserError as error:
            problems.append(str(error))
            continue
        # Kept at once: a failure further on does not lose it.
        write_lock(args.lock, locked)
        moved = f", was {before.revision}" if before and before.revision != locked[name].revision else ""
        print(f"{name}: {len(locked[name].files)} files at revision {locked[name].revision}{moved}")
    write_lock(args.lock, locked)
    if problems:
        raise UserError(f"not locked (the others are): {'; '.join(problems)}")


if __name__ == "__main__":
    run_main(main)
