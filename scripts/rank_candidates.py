"""Let a judge rank the candidates of a ranking test set."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from grrm.inference import open_backend
from grrm.inference.journal import Journal
from grrm.inference.options import (
    add_decoding_options,
    add_engine_options,
    add_stale_option,
    decoding_of,
    engine_of,
    retries_of,
)
from grrm.inference.progress import Progress
from grrm.inference.runs import rank_rows, settings
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
    add_decoding_options(parser)
    add_engine_options(parser)
    add_stale_option(parser)
    args = parser.parse_args(argv)

    prompt = find_ranking_prompt(args.prompt)
    columns = ["src_text", "src_lang", "trg_lang", "mt_texts"]
    rows = select_columns(args.input, "ranking_test", columns, args.prompt, prompt.columns)
    decoding, retries = decoding_of(args), retries_of(args)
    with closing(open_backend(args.model, engine_of(args))) as backend:
        made_from = settings(
            "rank", backend, rows, prompt, decoding, retries, args.runs, candidate_order=args.candidate_order
        )
        with (
            Journal(
                args.output, made_from, args.runs, len(rows), discard_stale=args.discard_stale
            ) as journal,
            Progress(journal.total) as progress,
        ):
            tally = rank_rows(
                backend, rows, prompt, decoding, journal,
                retries=retries, candidate_order=args.candidate_order, watch=progress,
            )  # fmt: skip
            journal.publish()
    print(tally)


if __name__ == "__main__":
    run_main(main)
