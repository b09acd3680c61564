"""Models of other makes: nested configurations, templates that refuse."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, Gemma3Config, Gemma3ForConditionalGeneration, GenerationConfig

from grrm.files import UserError
from grrm.inference import Decoding, Engine, Request, open_backend
from tiny_model import save_tiny_model

REFUSES = "{{ raise_exception('Only the roles of a play are known') }}"


@pytest.fixture
def gemma(tmp_path: Path) -> Path:
    """A tiny model that reads images, too: what writes text stands in `text_config`."""
    folder = save_tiny_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = {
        "vocab_size": len(tokenizer), "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256,
        "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None,
        "sliding_window": 64,
    }  # fmt: skip
    vision = {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
        "image_size": 28, "patch_size": 14,
    }  # fmt: skip
    config = Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=1, boi_token_index=1,
        eoi_token_index=1,
    )  # fmt: skip
    torch.manual_seed(0)
    Gemma3ForConditionalGeneration(config).save_pretrained(folder)
    GenerationConfig(eos_token_id=tokenizer.eos_token_id).save_pretrained(folder)
    return folder


def test_a_model_with_a_nested_configuration_writes(gemma: Path) -> None:
    with closing(open_backend(gemma, Engine(backend="transformers", threads=1))) as backend:
        assert backend.context() == 256
        ((position, completion),) = backend.generate([Request("a frog")], Decoding(3))
    assert position == 0
    assert completion.failure in (None, "unfinished")


def test_a_template_that_refuses_is_said_in_a_line(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = REFUSES
    tokenizer.save_pretrained(folder)
    with (
        closing(open_backend(folder, Engine(backend="transformers", threads=1))) as backend,
        pytest.raises(UserError, match=r"its chat template refuses .*Only the roles of a play") as refused,
    ):
        list(backend.generate([Request("a frog")], Decoding(3)))
    assert "\n" not in str(refused.value)
