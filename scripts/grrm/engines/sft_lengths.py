"""Rows that are longer than cutoff_len: LLaMA-Factory would learn them without their end, without a word.

They are counted and refused, or left out, before the training, where the tokenizer is.
Run in LLaMA-Factory's environment.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import wraps
from typing import Any

from llamafactory.data.processor import SupervisedDatasetProcessor

from grrm.files import UserError

# A row that was cut has as many tokens as allowed, but for what rounding takes.
_ROUNDING = 2
_UNLIMITED = 2**30


def heed_lengths(bad_rows: str) -> None:
    """Have LLaMA-Factory refuse rows that are too long ("error"), or leave them out and say so ("drop")."""
    learn = SupervisedDatasetProcessor.preprocess_dataset

    @wraps(learn)
    def preprocess_dataset(self: Any, examples: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        inputs: dict[str, list[Any]] = defaultdict(list)
        too_long = []
        for number in range(len(examples["_prompt"])):
            example = {name: values[number : number + 1] for name, values in examples.items()}
            learned = learn(self, example)
            cut = _is_cut(self, example, learned)
            if cut:
                too_long.append(example["_prompt"][0][-1]["content"])
            for name, values in learned.items():
                inputs[name] += [] if cut else values
        if too_long:
            said = (
                f"{len(too_long)} of {len(examples['_prompt'])} rows have more than cutoff_len "
                f"({self.data_args.cutoff_len}) tokens and would be learned without their end; the first: "
                f"{too_long[0][:80]!r}"
            )
            if bad_rows == "error":
                raise UserError(f"{said}; raise cutoff_len, or let them be dropped (bad_rows: drop)")
            print(f"warning: {said}; dropped", flush=True)
        return inputs

    SupervisedDatasetProcessor.preprocess_dataset = preprocess_dataset


def _is_cut(processor: Any, example: Mapping[str, Sequence[Any]], learned: Mapping[str, Any]) -> bool:
    """Whether one row was cut: it is encoded again, without a limit, if it came close to it."""
    limit = processor.data_args.cutoff_len
    if not learned.get("input_ids") or len(learned["input_ids"][0]) < limit - _ROUNDING:
        return False
    return bool(len(encode_whole(processor, example)[0]) > limit)


def encode_whole(processor: Any, example: Mapping[str, Sequence[Any]]) -> tuple[list[int], list[int]]:
    """Tokens and labels of one row, as LLaMA-Factory makes them without a limit."""
    options = processor.data_args
    limit = options.cutoff_len
    options.cutoff_len = _UNLIMITED
    try:
        tokens, labels = processor._encode_data_example(
            prompt=example["_prompt"][0],
            response=example["_response"][0],
            system=example["_system"][0],
            tools=example["_tools"][0],
            images=example["_images"][0] or [],
            videos=example["_videos"][0] or [],
            audios=example["_audios"][0] or [],
        )
    finally:
        options.cutoff_len = limit
    return tokens, labels
