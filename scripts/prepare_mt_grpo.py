"""Prepare the reinforcement learning of the MT model from sentence pairs: verl rows, shuffled."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.columns import FurtherColumns
from grrm.data.rl_rows import SentencePairs, translation_batches, write_rows
from grrm.judges.configured_prompts import columns_of_rewards
from grrm.process import run_main
from grrm.prompts import REWARDED_KINDS, load_translation_prompt
from grrm.schemas import read_batches


def main(argv: list[str] | None = None) -> None:
    """Write one row for each pair; the reference is kept for reports, not as ground truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="mt_grpo table")
    parser.add_argument("--output", type=Path, required=True, help="prepared rows (Parquet, verl's layout)")
    parser.add_argument("--prompt", type=Path, required=True, help="prompt file of the translation task")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order of rows")
    parser.add_argument(
        "--data-source", default="grrm.translation", help="name of the data in verl's reports"
    )
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument(
        "--cross-lingual-augmentation",
        action="store_true",
        help="every source once more, for a random other language of the paper",
    )
    parser.add_argument(
        "--semantics", choices=["strict", "paper"], default="strict", help="paper: rows as published"
    )
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    parser.add_argument(
        "--carry",
        nargs="+",
        default=[],
        metavar="KIND=PROMPT",
        help="rewards that need columns of the table, which then stand in the rows: those that a prompt "
        "names; all of function=FILE:NAME",
    )
    args = parser.parse_args(argv)

    args.output.parent.mkdir(parents=True, exist_ok=True)
    prompt = load_translation_prompt(args.prompt, *REWARDED_KINDS)
    needed, carried = columns_of_rewards(args.carry)
    further = FurtherColumns({**needed, **dict.fromkeys(prompt.columns, args.prompt)}, carried)
    pairs = SentencePairs(read_batches(args.input, "mt_grpo", args.bad_rows), args.output.parent, further)
    batches = translation_batches(
        pairs,
        prompt,
        seed=args.seed,
        data_source=args.data_source,
        split=args.split,
        cross_lingual=args.cross_lingual_augmentation,
        semantics=args.semantics,
        carried=carried,
    )
    print(f"{args.output}: {write_rows(args.output, batches)} rows from {len(pairs)} pairs")


if __name__ == "__main__":
    run_main(main)
