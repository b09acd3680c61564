"""Read the authors' own prompts out of a checkout of their repository, cloned if it is not there."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.checkout import clone, load_pin, read_sources, write_lock
from grrm.files import write_text
from grrm.process import run_main
from grrm.prompts import (
    dump_prompt,
    upstream_pointwise_prompt,
    upstream_ranking_prompt,
    upstream_translation_prompt,
)
from grrm.upstream import parse_upstream


def main(argv: list[str] | None = None) -> None:
    """Write the prompts that the paper's models are trained on, as prompt files like any other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--checkout", type=Path, required=True, help="folder of the checkout; cloned there if there is none"
    )
    parser.add_argument("--ranking", type=Path, help="prompt about a group of translations to write (YAML)")
    parser.add_argument("--translation", type=Path, help="translation prompt to write (YAML)")
    parser.add_argument("--pointwise", type=Path, help="prompt about a single translation to write (YAML)")
    parser.add_argument("--upstream", type=Path, default=Path("config/upstream.yaml"), help="commit and sums")
    parser.add_argument("--schema", type=Path, default=Path("config/schemas/upstream.schema.yaml"))
    parser.add_argument(
        "--lock", type=Path, default=Path("config/upstream.lock.yaml"), help="sums recorded on first use"
    )
    args = parser.parse_args(argv)

    pin = load_pin(args.upstream, args.schema, args.lock)
    if not args.checkout.exists():
        print(f"cloning {pin.repository} into {args.checkout}", flush=True)
        clone(pin, args.checkout)
    sources = read_sources(args.checkout, pin)
    upstream = parse_upstream(sources)
    header = f"# Read out of {pin.repository} at {pin.commit} by fetch_upstream.\n"
    for path, make in (
        (args.ranking, upstream_ranking_prompt),
        (args.translation, upstream_translation_prompt),
        (args.pointwise, upstream_pointwise_prompt),
    ):
        if path is not None:
            write_text(path, header + dump_prompt(make(upstream)))
            print(f"{path}: written")
    if None in pin.files.values():
        write_lock(args.lock, pin, sources)
        print(f"{args.lock}: SHA-256 of {len(sources)} files recorded; commit it")


if __name__ == "__main__":
    run_main(main)
