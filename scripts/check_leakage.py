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
    """Write what was found as JSON and as a table; fail if a test set shares more than its limit."""
    args = _parser().parse_args(argv)
    if min(args.words, args.characters) < 1 or args.overlap == 0:
        raise UserError("--words, --characters and --overlap must be above 0")

    settings, tests = Settings(args.words, args.characters, args.overlap), _named(args.test)
    trains = _named(args.train)
    limits, of_pairs = _limits(args.max_share, trains, tests)
    found = check(trains, tests, settings, args.examples, of_pairs.keys())
    for test in found["tests"]:
        test["limit"] = limits[test["test"]]
    for pair in found["overlaps"]:
        pair["limit"] = of_pairs.get((pair["train"], pair["test"]))
    apart = [
        pair | {"test": f"{pair['train']}:{pair['test']}"}
        for pair in found["overlaps"]
        if pair["limit"] is not None
    ]
    above = [test for test in [*found["tests"], *apart] if test["share"] > test["limit"]]
    table = "\n".join(_lines(found["overlaps"])) + "\n"
    print(table, end="")
    for example in found["examples"]:
        print(_show(example))
    write_json(args.output, found | {"passed": not above})
    write_text(args.table, table)
    if above:
        shares = ", ".join(
            f"{t['test']}: {t['leaked']} of {t['rows']} rows ({t['share']:.2%}, at most {t['limit']:.2%})"
            for t in above
        )
        raise UserError(
            f"test sets share more with training data than they may: {shares}; what it is stands above: "
            "take it out of the training data, or raise their limits (data.max_leakage)"
        )


def _parser() -> argparse.ArgumentParser:
    default = Settings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", nargs="+", required=True, metavar="NAME=PARQUET", help="training tables")
    parser.add_argument("--test", nargs="+", required=True, metavar="NAME=PARQUET", help="test sets")
    parser.add_argument("--output", type=Path, required=True, help="everything found (JSON)")
    parser.add_argument("--table", type=Path, required=True, help="one line for each pair (TSV)")
    parser.add_argument(
        "--max-share",
        nargs="+",
        default=["default=0.01"],
        metavar="NAME=SHARE",
        help="of a test set's rows that may be in training data, 0 to 1. NAME is a test set, or a training "
        "table and a test set (mt_grpo:news), whose overlap is then judged apart; `default` is for sets that "
        "are not named (default: default=0.01)",
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
    return parser


def _named(pairs: Iterable[str], what: str = "PARQUET") -> dict[str, str]:
    named: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not (name and equals and value) or name in named:
            raise UserError(f"{pair!r}: expected NAME={what}, each name once")
        named[name] = value
    return named


def _limits(
    pairs: Iterable[str], trains: Iterable[str], tests: Iterable[str]
) -> tuple[dict[str, float], dict[tuple[str, str], float]]:
    """The limit of each test set, and those of pairs of a training table and a test set."""
    try:
        limits = {name: _share(text) for name, text in _named(pairs, "SHARE").items()}
    except argparse.ArgumentTypeError as error:
        raise UserError(f"--max-share: {error}") from error
    default = limits.pop("default", 0.01)
    of_pairs = {
        (train, test): limits.pop(f"{train}:{test}")
        for train in trains
        for test in tests
        if f"{train}:{test}" in limits
    }
    if unknown := limits.keys() - set(tests):
        raise UserError(
            f"--max-share: {min(unknown)} is neither a test set ({', '.join(tests)}) nor a training table "
            f"({', '.join(trains)}), a colon and a test set"
        )
    return {test: limits.get(test, default) for test in tests}, of_pairs


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
