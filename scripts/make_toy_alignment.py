"""Make the toy data of the alignment, and the untrained model that its policy and its judge start from."""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from grrm.data import toy_manners
from grrm.data.tokenizer import ModelSize, check_round_trip, save_base_model, train_tokenizer
from grrm.files import atomic_path, write_jsonl
from grrm.judges.prompts import load_judge_prompt
from grrm.process import run_main

_POSITIONS = 256


def main(argv: list[str] | None = None) -> None:
    """Write preference rows to train and validate on, demonstrations for two SFT runs, and a base model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--judge-prompt", required=True, help="prompt of kind judge_pairwise")
    parser.add_argument("--train", type=Path, required=True, help="preference rows to write (Parquet)")
    parser.add_argument("--validation", type=Path, required=True, help="held-out rows to write (Parquet)")
    parser.add_argument("--policy", type=Path, required=True, help="the policy's chats to write (JSON lines)")
    parser.add_argument("--judge", type=Path, required=True, help="the judge's chats to write (JSON lines)")
    parser.add_argument("--model", type=Path, required=True, help="folder of the base model to write")
    for name, default in (("train", 800), ("validation", 64), ("policy", 2000), ("judge", 8000)):
        parser.add_argument(f"--{name}-rows", type=int, default=default, help=f"default: {default}")
    parser.add_argument(
        "--size",
        type=int,
        nargs=4,
        default=(64, 3, 4, 128),
        metavar=("HIDDEN", "LAYERS", "HEADS", "FEED_FORWARD"),
        help="default: 64 3 4 128",
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)

    training, held_out = toy_manners.split_requests(args.seed, args.validation_rows)
    prompt = load_judge_prompt(args.judge_prompt, "judge_pairwise")
    policy = list(toy_manners.policy_chats(args.policy_rows, args.seed, training))
    judge = list(toy_manners.judge_chats(args.judge_rows, args.seed, training, prompt))
    for path, name, rows, requests in (
        (args.train, "train", args.train_rows, training),
        (args.validation, "validation", args.validation_rows, held_out),
    ):
        table = pa.Table.from_pylist(toy_manners.preference_rows(rows, args.seed, name, requests))
        with atomic_path(path) as partial:
            pq.write_table(table, partial)
    write_jsonl(args.policy, policy)
    write_jsonl(args.judge, judge)

    texts = [message["content"] for chat in [*policy, *judge] for message in chat["messages"]]
    tokenizer = train_tokenizer(texts, 5000, _POSITIONS)
    checked = check_round_trip(tokenizer, [*texts, *held_out])
    print(f"tokenizer: {len(tokenizer)} tokens, {checked} texts survive")
    with atomic_path(args.model) as partial:
        parameters = save_base_model(
            partial, tokenizer, ModelSize(*args.size), _POSITIONS, args.seed, texts[:100]
        )
    print(f"{args.model}: {parameters} parameters")


if __name__ == "__main__":
    run_main(main)
