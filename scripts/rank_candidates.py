"""Let a judge rank the candidates of a ranking test set."""

from __future__ import annotations

import argparse
import random
from dataclasses import asdict
from pathlib import Path

from grrm.files import write_jsonl
from grrm.inference import Decoding, origin, rank
from grrm.process import run_main
from grrm.prompts import RANKING_KINDS, load_ranking_prompt
from grrm.schemas import read_table


def main(argv: list[str] | None = None) -> None:
    """Write one answer per group, in the order of the test set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder of the judge")
    parser.add_argument("--input", type=Path, required=True, help="ranking test set (parquet)")
    parser.add_argument("--prompt", type=Path, required=True, help="ranking prompt (YAML)")
    parser.add_argument("--output", type=Path, required=True, help="answers to write (JSON lines)")
    parser.add_argument("--max-new-tokens", type=int, required=True, help="longest answer")
    parser.add_argument("--batch-size", type=int, default=32, help="groups a batch (default: 32)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling and shuffling (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    parser.add_argument(
        "--candidate-order",
        choices=["row", "shuffled"],
        default="row",
        help="show candidates as the test set has them (default), or shuffled by the seed",
    )
    args = parser.parse_args(argv)

    prompt = load_ranking_prompt(args.prompt, *RANKING_KINDS)
    columns = ["src_text", "src_lang", "trg_lang", "mt_texts"]
    rows = read_table(args.input, "ranking_test").select(columns).to_pylist()
    decoding = Decoding(args.max_new_tokens, args.temperature, args.seed)
    orders = None
    if args.candidate_order == "shuffled":
        generator = random.Random(args.seed)
        orders = [generator.sample(range(n), n) for n in (len(row["mt_texts"]) for row in rows)]
    results = rank(
        args.model, rows, prompt, decoding, orders=orders, batch_size=args.batch_size, threads=args.threads
    )
    made_by = origin(args.model, decoding)
    write_jsonl(
        args.output,
        (
            {"index": index, "src_text": row["src_text"], **asdict(result), **made_by}
            for index, (row, result) in enumerate(zip(rows, results, strict=True))
        ),
    )
    print(f"{sum(result.scores is not None for result in results)} of {len(results)} answers are valid")


if __name__ == "__main__":
    run_main(main)
