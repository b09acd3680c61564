"""Try tokenizer and chat template of a model that verl is to train, and of those that judge, on some rows.

python -m grrm.engines.try_rendering --model FOLDER --data rows.parquet [--judge FOLDER ...]

What is wrong with them would stop the training at its end, when the model is looked at, or never.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grrm.engines import rendering
from grrm.engines.loading import end_tokens
from grrm.files import UserError
from grrm.own_process import do_without_torch
from grrm.process import run_main
from grrm.prompts import ranking_verdict

ANSWER = f"An analysis: <score>3</score>\n\n{ranking_verdict([5, 9, 5])}\n\n```text\nA translation.\n```"
"""What answers are made of in all formats."""


def main(argv: list[str] | None = None) -> None:
    """End with one line that says what is wrong, if anything is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="folder of the initial model")
    parser.add_argument("--data", type=Path, required=True, help="rows as verl reads them (Parquet)")
    parser.add_argument("--judge", type=Path, nargs="*", default=[], help="folders of models that judge")
    args = parser.parse_args(argv)
    do_without_torch()
    check_start(args.model, first_prompts(args.data))
    for judge in args.judge:
        check_start(judge, [[{"role": "user", "content": "A question."}]])


def first_prompts(data: Path) -> list[list[dict[str, Any]]]:
    """The messages of the first rows."""
    import pyarrow.parquet as pq

    batch = next(pq.ParquetFile(data).iter_batches(batch_size=rendering.ROWS, columns=["prompt"]), None)
    return [] if batch is None else batch["prompt"].to_pylist()


def check_start(folder: Path, prompts: list[list[dict[str, Any]]]) -> None:
    """Raise UserError unless answers to these prompts come through, and end where verl's engines stop."""
    from transformers import AutoConfig, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = AutoConfig.from_pretrained(folder)
    rendering.check_tokenizer(tokenizer, config.get_text_config().vocab_size)
    ends = end_tokens(folder)
    if tokenizer.eos_token_id not in ends:
        raise UserError(
            f"{folder}: the tokenizer's end token is {tokenizer.eos_token!r} ({tokenizer.eos_token_id}), "
            f"generation ends at {sorted(ends)}; add it to eos_token_id of generation_config.json"
        )
    for messages in prompts:
        conversation = rendering.rendered(tokenizer, [*messages, {"role": "assistant", "content": ANSWER}])
        rendering.check_carried(tokenizer, conversation, ANSWER, ends)


if __name__ == "__main__":
    run_main(main)
