"""Check that no stage trains on what is tested: exact and near-duplicate texts, across all stages."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from grrm.data.leakage import Settings, check
from grrm.files import UserError, write_json, write_text
from grrm.process import run_main

_COLUMNS = (
    *("train", "test", "rows", "exact_source", "near_source", "exact_target", "near_target"),
    *("leaked", "share"),
)


def main(argv: list[str] | None = None) -> None:
    """Write what was found as JSON and as a table; fail if a test set shares more than the limit."""
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", nargs="+", required=True, metavar="NAME=PARQUET", help="training tables")
    parser.add_argument("--test", nargs="+", required=True, metavar="NAME=PARQUET", help="test sets")
    parser.add_argument("--output", type=Path, required=True, help="everything found (JSON)")
    parser.add_argument("--table", type=Path, required=True, help="one line for each pair (TSV)")
    parser.add_argument(
        "--max-share",
        type=_share,
        default=0.01,
        help="of a test set's rows that may be in training data, 0 to 1 (default: 0.01)",
    )
    parser.add_argument(
        "--words", type=int, default=default.words, help=f"in an n-gram (default: {default.words})"
    )
    parser.add_argument(
        "--characters",
        type=int,
        default=default.characters,
        help=f"in an n-gram of a language without spaces (default: {default.characters})",
    )
    parser.add_argument(
        "--overlap",
        type=_share,
        default=default.overlap,
        help=f"of a test text's n-grams that make a near duplicate (default: {default.overlap})",
    )
    parser.add_argument("--examples", type=int, default=5, help="kept for each pair (default: 5)")
    args = parser.parse_args(argv)
    if min(args.words, args.characters) < 1 or args.overlap == 0:
        raise UserError("--words, --characters and --overlap must be above 0")

    settings = Settings(args.words, args.characters, args.overlap)
    found = check(_named(args.train), _named(args.test), settings, args.examples)
    above = [test for test in found["tests"] if test["share"] > args.max_share]
    table = "\n".join(_lines(found["overlaps"])) + "\n"
    print(table, end="")
    for example in found["examples"]:
        print(_show(example))
    write_json(args.output, found | {"max_share": args.max_share, "passed": not above})
    write_text(args.table, table)
    if above:
        shares = ", ".join(
            f"{t['test']}: {t['leaked']} of {t['rows']} rows ({t['share']:.2%})" for t in above
        )
        raise UserError(
            f"test sets share more with training data than the limit of {args.max_share:.2%}: {shares}; they "
            "are shown above: take them out of the training data, or raise the limit"
        )


def _named(pairs: Iterable[str]) -> dict[str, str]:
    named: dict[str, str] = {}
    for pair in pairs:
        name, equals, path = pair.partition("=")
        if not (name and equals and path) or name in named:
            raise UserError(f"{pair!r}: expected NAME=PARQUET, each name once")
        named[name] = path
    return named


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _lines(overlaps: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    yield "\t".join(_COLUMNS)
    for overlap in overlaps:
        yield "\t".join(
            f"{overlap[name]:.4f}" if name == "share" else str(overlap[name]) for name in _COLUMNS
        )


def _show(example: Mapping[str, Any]) -> str:
    kind = "exact" if example["exact"] else f"{example['overlap']:.0%} of n-grams"
    test, train = (
        f"{example[f'{side}_row']}: {example[f'{side}_text'][:120]!r}" for side in ("test", "train")
    )
    return f"{example['side']}, {kind}: {example['test']} row {test}; {example['train']} row {train}"


if __name__ == "__main__":
    run_main(main)
