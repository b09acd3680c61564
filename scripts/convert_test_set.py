"""Convert a published test set to the table that evaluation reads."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from grrm.data.test_sets import Row, is_of, read_flores, read_seedx, read_wmt23, read_wmt24pp
from grrm.files import UserError
from grrm.languages import language_pair
from grrm.process import run_main
from grrm.schemas import read_table, write_table

_INPUTS = {
    "wmt23": "sacrebleu's archive",
    "wmt24pp": "one or more JSON-lines files",
    "seedx": "a JSON-lines file",
    "flores": "the source's file, then the target's",
    "ranking": "a Parquet file",
    "translation": "a Parquet file",
}


def main(argv: list[str] | None = None) -> None:
    """Write a translation_test table, or with --format ranking a ranking_test table.

    Files that are such tables already (ranking, translation) are checked, and keep their further columns.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--format", required=True, choices=_INPUTS)
    parser.add_argument(
        "--input",
        type=Path,
        nargs="+",
        required=True,
        help="; ".join(f"{name}: {files}" for name, files in _INPUTS.items()),
    )
    parser.add_argument("--pair", help="languages, such as zh-en (wmt23, seedx, flores)")
    parser.add_argument("--output", type=Path, required=True, help="table (Parquet)")
    parser.add_argument("--any-archive", action="store_true", help="wmt23: whatever its checksum")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    args = parser.parse_args(argv)

    dropped: Counter[str] = Counter()
    if args.format in ("ranking", "translation"):
        schema = "ranking_test" if args.format == "ranking" else "referenced"
        table = read_table(_only(args.input), schema, args.bad_rows)
        write_table(args.output, table, schema)
        print(f"{args.output}: {table.num_rows} {'groups' if args.format == 'ranking' else 'segments'}")
        return
    rows: list[Row] = []
    if args.format == "wmt24pp":
        for path in args.input:
            found, left_out = read_wmt24pp(path, args.bad_rows)
            rows += found
            dropped += left_out
    elif args.pair is None:
        raise UserError(f"--format {args.format} needs --pair, such as --pair zh-en")
    elif args.format == "wmt23":
        rows, dropped = read_wmt23(_only(args.input), args.pair, args.any_archive, args.bad_rows)
    elif args.format == "seedx":
        rows, dropped = read_seedx(_only(args.input), args.pair, args.bad_rows)
    elif len(args.input) != 2:
        raise UserError(f"--format flores needs two files, source and target; found {len(args.input)}")
    else:
        rows, dropped = read_flores(args.input[0], args.input[1], args.pair, args.bad_rows)
    if args.pair is not None:
        rows = _check_pair(rows, args.pair)
    write_table(args.output, rows, "referenced")
    reasons = "".join(f", {count} left out ({reason})" for reason, count in sorted(dropped.items()))
    print(f"{args.output}: {len(rows)} segments{reasons}")


def _only(paths: list[Path]) -> Path:
    if len(paths) != 1:
        raise UserError(f"expected one input, found {len(paths)}: {', '.join(map(str, paths))}")
    return paths[0]


def _check_pair(rows: list[Row], pair: str) -> list[Row]:
    """The rows with the languages as the pair has them; a row says its own, perhaps with a region besides."""
    declared = dict(zip(("src_lang", "trg_lang"), language_pair(pair), strict=True))
    for number, row in enumerate(rows):
        if not all(is_of(str(row[column]), code) for column, code in declared.items()):
            raise UserError(f"segment {number} is {row['src_lang']}-{row['trg_lang']}, expected {pair}")
    return [{**row, **declared} for row in rows]


if __name__ == "__main__":
    run_main(main)
