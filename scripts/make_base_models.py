"""Train a tokenizer on the experiment's texts and write two small untrained base models that share it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from grrm.catalogue.trainings import STAGES, TRAININGS
from grrm.data.sft_rows import ranking_chat, translation_chat
from grrm.data.tokenizer import ModelSize, check_round_trip, save_base_model, train_tokenizer
from grrm.files import atomic_path
from grrm.process import run_main
from grrm.prompts import load_ranking_prompt, load_translation_prompt
from grrm.schemas import read_table


def main(argv: list[str] | None = None) -> None:
    """Write both model folders, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-folder", type=Path, required=True, help="folder of the six source tables")
    parser.add_argument("--ranking-prompt", type=Path, required=True, help="prompt file of the ranking task")
    parser.add_argument(
        "--translation-prompt", type=Path, required=True, help="prompt file of the translation task"
    )
    parser.add_argument("--grrm-output", type=Path, required=True, help="folder of the GRRM's base model")
    parser.add_argument("--mt-output", type=Path, required=True, help="folder of the MT model's base model")
    parser.add_argument("--seed", type=int, default=0, help="seed of the random weights")
    parser.add_argument("--vocab-size", type=int, default=5000, help="most tokens of the tokenizer")
    parser.add_argument("--max-position-embeddings", type=int, default=512, help="longest sequence in tokens")
    for model, size in (("grrm", (64, 3, 4, 128)), ("mt", (96, 3, 4, 192))):
        parser.add_argument(
            f"--{model}-size",
            type=int,
            nargs=4,
            default=size,
            metavar=("HIDDEN", "LAYERS", "HEADS", "FEED_FORWARD"),
            help=f"default: {' '.join(map(str, size))}",
        )
    args = parser.parse_args(argv)

    training = list(training_texts(args.data_folder, args.ranking_prompt, args.translation_prompt))
    testing = list(test_texts(args.data_folder))
    tokenizer = train_tokenizer(training, args.vocab_size, args.max_position_embeddings)
    checked = check_round_trip(tokenizer, [*training, *testing])
    print(f"tokenizer: {len(tokenizer)} tokens, {checked} texts survive")
    for output, size in ((args.grrm_output, args.grrm_size), (args.mt_output, args.mt_size)):
        with atomic_path(output) as partial:
            parameters = save_base_model(
                partial, tokenizer, ModelSize(*size), args.max_position_embeddings, args.seed, training[:100]
            )
        print(f"{output}: {parameters} parameters")


def training_texts(data: Path, ranking_prompt: Path, translation_prompt: Path) -> Iterator[str]:
    """Every prompt and answer of the training tables."""
    ranking, translation = load_ranking_prompt(ranking_prompt), load_translation_prompt(translation_prompt)
    texts: dict[str, Callable[[dict[str, Any]], list[str]]] = {
        # Groups of RLVR may have no analysis; the verdict has the same form with any.
        "ranking": lambda row: _contents(ranking_chat({"analysis": row["src_text"], **row}, ranking)),
        "cot": lambda row: _contents(translation_chat(row, translation)),
        "pairs": lambda row: [
            translation.render(**{name: row[name] for name in ("src_text", "src_lang", "trg_lang")}),
            row["trg_text"],
        ],
    }
    for stage in STAGES:
        for row in _rows(data, stage):
            yield from texts[TRAININGS[stage].table](row)


def _contents(chat: dict[str, Any]) -> list[str]:
    return [message["content"] for message in chat["messages"]]


def test_texts(data: Path) -> Iterator[str]:
    """Every text of the test tables."""
    for row in _rows(data, "ranking_test"):
        yield from (row["src_text"], *row["mt_texts"])
    for row in _rows(data, "translation_test"):
        yield from (row["src_text"], *(row.get("references") or filter(None, [row["trg_text"]])))


def _rows(data: Path, table: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_table(data / f"{table}.parquet", table).to_pylist()
    return rows


if __name__ == "__main__":
    run_main(main)
