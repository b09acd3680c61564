"""Train a tokenizer on the toy data of judges and write the small untrained model that they start from."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from grrm.data.judge_data import read_records
from grrm.data.tokenizer import ModelSize, check_round_trip, save_base_model, train_tokenizer
from grrm.files import atomic_path
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the model folder, whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sft", type=Path, required=True, help="demonstrations (JSON lines)")
    parser.add_argument("--preferences", type=Path, required=True, help="chosen and rejected (JSON lines)")
    parser.add_argument(
        "--size", type=int, nargs=4, required=True, metavar=("HIDDEN", "LAYERS", "HEADS", "FEED_FORWARD")
    )
    parser.add_argument("--vocab-size", type=int, default=5000, help="most tokens of the tokenizer")
    parser.add_argument("--max-position-embeddings", type=int, default=512, help="longest sequence in tokens")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights")
    parser.add_argument("--output", type=Path, required=True, help="model folder to write")
    args = parser.parse_args(argv)

    texts = list(training_texts(args.sft, args.preferences))
    tokenizer = train_tokenizer(texts, args.vocab_size, args.max_position_embeddings)
    checked = check_round_trip(tokenizer, texts)
    print(f"tokenizer: {len(tokenizer)} tokens, {checked} texts survive")
    with atomic_path(args.output) as partial:
        parameters = save_base_model(
            partial, tokenizer, ModelSize(*args.size), args.max_position_embeddings, args.seed, texts[:100]
        )
    print(f"{args.output}: {parameters} parameters")


def training_texts(sft: Path, preferences: Path) -> Iterator[str]:
    """Every text that judges are trained on."""
    for demonstration in read_records([sft], "sft"):
        yield from (message["content"] for message in demonstration.messages)
    for record in read_records([preferences], "bradley_terry"):
        yield from (message["content"] for message in record.conversation)
        yield from (record.chosen, record.rejected)


if __name__ == "__main__":
    run_main(main)
