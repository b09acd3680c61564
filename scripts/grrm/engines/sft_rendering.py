"""LLaMA-Factory's tokens of a conversation against those that verl and vLLM will make of it.

They read the chat template that LLaMA-Factory saves with the model: ChatML's, which it puts in the place of
the tokenizer's own, or (`template: model`) that one itself. Run in LLaMA-Factory's environment.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Any

from llamafactory.data.processor import SupervisedDatasetProcessor
from llamafactory.data.template import TEMPLATES, Template
from llamafactory.extras.constants import IGNORE_INDEX
from transformers import AutoConfig, AutoTokenizer

from grrm.engines import rendering
from grrm.engines.loading import end_tokens
from grrm.engines.sft_lengths import encode_whole

OWN = "model"
_WHO = ("LLaMA-Factory", "verl")


class OwnTemplate(Template):  # type: ignore[misc]
    """The tokenizer's chat template, rendered by transformers.

    What LLaMA-Factory would read out of it (template: null) is nothing for templates that know no system
    turn, and loses the blanks that others cut off.
    """

    def _encode(
        self,
        tokenizer: Any,
        messages: Sequence[Mapping[str, str]],
        system: str | None,
        tools: str | None,
    ) -> list[list[int]]:
        return rendering.turns(tokenizer, _with_system(messages, system))


def _with_system(messages: Sequence[Mapping[str, str]], system: str | None) -> list[Mapping[str, str]]:
    return [*([{"role": "system", "content": system}] if system else []), *messages]


def heed_rendering(config: Mapping[str, Any]) -> None:
    """Have LLaMA-Factory know `template: model`, and refuse to train on what is rendered in two ways.

    Args:
        config: its configuration.

    Raises:
        UserError: the model cannot be trained with its tokenizer (`rendering.check_tokenizer`).
    """
    folder = Path(config["model_name_or_path"])
    vocabulary = AutoConfig.from_pretrained(folder).get_text_config().vocab_size
    template: rendering.Template = "model" if config["template"] == OWN else "chatml"
    rendering.check_tokenizer(AutoTokenizer.from_pretrained(folder), vocabulary, template)
    plain = TEMPLATES["empty"]
    TEMPLATES[OWN] = OwnTemplate(**{field.name: getattr(plain, field.name) for field in fields(plain)})
    learn = SupervisedDatasetProcessor.preprocess_dataset
    seen: list[None] = []

    @wraps(learn)
    def preprocess_dataset(self: Any, examples: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        if not seen:
            seen.append(None)
            check_rows(self, examples, folder)
        found: dict[str, list[Any]] = learn(self, examples)
        return found

    SupervisedDatasetProcessor.preprocess_dataset = preprocess_dataset


def check_rows(processor: Any, examples: Mapping[str, Sequence[Any]], folder: Path) -> None:
    """Compare the renderings of the first rows, and see whether their answers come through.

    Args:
        processor: LLaMA-Factory's, of supervised rows.
        examples: columns of rows as it is given them.
        folder: of the initial model.

    Raises:
        UserError: see `rendering`.
    """
    tokenizer = _as_saved(processor.tokenizer, folder)
    # Beside the folder's own, the trainer writes the tokenizer's with the model.
    ends = {*end_tokens(folder), tokenizer.eos_token_id}
    for number in range(min(rendering.ROWS, len(examples["_prompt"]))):
        example = {name: values[number : number + 1] for name, values in examples.items()}
        tokens, labels = encode_whole(processor, example)
        turns = [*example["_prompt"][0], *example["_response"][0]]
        messages = _with_system(turns, example["_system"][0])
        theirs = rendering.rendered(tokenizer, messages)
        place = len(labels) - next(
            (at for at, label in enumerate(reversed(labels)) if label == IGNORE_INDEX), len(labels)
        )
        rendering.check_same(tokens[:place], theirs.prompt, tokenizer, _WHO)
        rendering.check_same(tokens[place:], theirs.answer, tokenizer, _WHO)
        rendering.check_carried(tokenizer, theirs, messages[-1]["content"], ends)


def _as_saved(tokenizer: Any, folder: Path) -> Any:
    """A tokenizer as it will be loaded from beside the model, which is not always as it was saved."""
    with tempfile.TemporaryDirectory() as saved:
        tokenizer.save_pretrained(saved)
        shutil.copy(folder / "config.json", saved)
        loaded = AutoTokenizer.from_pretrained(saved)
    loaded.name_or_path = str(folder)
    return loaded
