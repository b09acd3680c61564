"""Prepare the reinforcement learning of the GRRM from scored groups: verl rows, augmented and shuffled."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.columns import FurtherColumns
from grrm.data.named_columns import add_columns, columns_named
from grrm.data.rl_rows import RankedGroups, ranking_batches, write_rows
from grrm.process import run_main
from grrm.prompts import load_ranking_prompt
from grrm.schemas import read_batches


def main(argv: list[str] | None = None) -> None:
    """Write the augmented groups, shuffled, with a JSON object from label to score as ground truth."""
    parser = _parser()
    args = parser.parse_args(argv)

    args.output.parent.mkdir(parents=True, exist_ok=True)
    if args.table == "ranking_test" and args.semantics == "paper":
        parser.error("--semantics paper: test tables have no analysis")
    names = columns_named(args)
    if args.table == "ranking_test":
        del names["analysis"]  # it has none
    tables = read_batches(args.input, args.table, args.bad_rows, names)
    prompt = load_ranking_prompt(args.prompt)
    groups = RankedGroups(
        tables,
        args.output.parent,
        with_analyses=args.semantics == "paper",
        further=FurtherColumns(dict.fromkeys(prompt.columns, args.prompt)),
        path=args.input,
    )
    batches = ranking_batches(
        groups,
        prompt,
        seed=args.seed,
        subgroup_augment=args.subgroup_augment,
        shuffle_augment=args.shuffle_augment,
        data_source=args.data_source,
        split=args.split,
        semantics=args.semantics,
    )
    print(f"{args.output}: {write_rows(args.output, batches)} rows from {len(groups)} groups")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="grrm_rlvr table")
    parser.add_argument(
        "--table", choices=["grrm_rlvr", "ranking_test"], default="grrm_rlvr", help="kind of the input table"
    )
    parser.add_argument("--output", type=Path, required=True, help="prepared rows (Parquet, verl's layout)")
    parser.add_argument("--prompt", type=Path, required=True, help="prompt file of the ranking task")
    parser.add_argument("--seed", type=int, default=0, help="seed of augmentation and of the order of rows")
    parser.add_argument(
        "--subgroup-augment", type=_count, default=0, help="most random subsets added per group (default: 0)"
    )
    parser.add_argument(
        "--shuffle-augment",
        type=_count,
        default=0,
        help="most random orders added per group and subset (default: 0)",
    )
    parser.add_argument(
        "--data-source", default="grrm.ranking_score", help="name of the data in verl's reports"
    )
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument(
        "--semantics", choices=["strict", "paper"], default="strict", help="paper: rows as published"
    )
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    add_columns(parser, "mt_texts", "scores", "analysis")
    return parser


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


if __name__ == "__main__":
    run_main(main)
