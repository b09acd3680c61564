"""Prepare the reinforcement learning of a judge: verl rows with the whole prompt and what is annotated."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.judge_data import read_records
from grrm.data.prepare_judges import judge_rows, write_judge_rows
from grrm.judges.prompts import load_judge_prompt
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write one row per graded response, or one per comparison and order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["pointwise", "pairwise"], required=True)
    parser.add_argument("--input", type=Path, required=True, help="rows of any known layout")
    parser.add_argument("--prompt", required=True, help="prompt of the judge (YAML)")
    parser.add_argument("--both-orders", action="store_true", help="compare every pair in both orders")
    parser.add_argument("--split", default="train", help="name of the split (default: train)")
    parser.add_argument("--seed", type=int, default=0, help="of the order of rows (default: 0)")
    parser.add_argument("--output", type=Path, required=True, help="prepared rows (Parquet, verl's layout)")
    args = parser.parse_args(argv)

    prompt = load_judge_prompt(args.prompt, f"judge_{args.kind}")  # type: ignore[arg-type]
    records = read_records([args.input], args.kind)
    rows = judge_rows(records, prompt, both=args.both_orders, split=args.split, seed=args.seed)
    print(f"{args.output}: {write_judge_rows(args.output, rows)} rows")


if __name__ == "__main__":
    run_main(main)
