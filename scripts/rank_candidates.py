"""Let a judge rank the candidates of a ranking test set."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.inference.runs import rank_rows
from grrm.inference.whole_sets import Further, add_common_options, answer_all
from grrm.process import run_main
from grrm.prompts import find_ranking_prompt
from grrm.schemas import select_columns


def main(argv: list[str] | None = None) -> None:
    """Write one answer per group and run, in the order of runs and of the test set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="model folder of the judge")
    parser.add_argument("--input", type=Path, required=True, help="ranking test set (parquet)")
    parser.add_argument("--prompt", required=True, help="ranking prompt (YAML)")
    parser.add_argument("--output", type=Path, required=True, help="answers to write (JSON lines)")
    parser.add_argument(
        "--candidate-order",
        choices=["row", "shuffled"],
        default="row",
        help="show candidates as the test set has them (default), or shuffled by the seed",
    )
    parser.add_argument(
        "--also-shuffled",
        nargs="+",
        type=_in_another_order,
        default=[],
        metavar="SEED=FILE",
        help="answer in these orders, too, while the model is loaded: --candidate-order shuffled --runs 1 "
        "with this --seed and --output then writes the answers down without it",
    )
    add_common_options(parser)
    args = parser.parse_args(argv)

    prompt = find_ranking_prompt(args.prompt)
    columns = ["src_text", "src_lang", "trg_lang", "mt_texts"]
    rows = select_columns(args.input, "ranking_test", columns, args.prompt, prompt.columns)
    answer_all(
        args, "rank", rows, prompt, rank_rows, args.also_shuffled, candidate_order=args.candidate_order
    )


def _in_another_order(text: str) -> Further:
    seed, _, file = text.partition("=")
    return Further(Path(file), int(seed), {"candidate_order": "shuffled"})


if __name__ == "__main__":
    run_main(main)
