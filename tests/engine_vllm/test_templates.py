"""A conversation as vLLM's server renders it: as verl and this project do."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import AutoConfig, AutoTokenizer

pytest.importorskip("vllm")

from vllm.renderers.hf import safe_apply_chat_template

from chat_forms import FORMS, TEXTS, save_form
from grrm.engines.rendering import prompt_tokens
from grrm.texts import encode_chat

USER = {"role": "user", "content": f"  {TEXTS[0]}\n\n{TEXTS[2]}\n"}
SYSTEM = {"role": "system", "content": "Be brief."}
# Gemma knows no system turn.
CASES = [*((name, [USER]) for name in FORMS), *((name, [SYSTEM, USER]) for name in FORMS if name != "gemma")]


@pytest.mark.parametrize(("name", "messages"), CASES)
def test_a_servers_prompt_is_that_of_verl(name: str, messages: list[dict[str, str]], tmp_path: Path) -> None:
    folder = save_form(tmp_path, FORMS[name])
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = SimpleNamespace(model=str(folder), hf_config=AutoConfig.from_pretrained(folder))
    model.trust_remote_code = model.multimodal_config = None
    asked = {"add_generation_prompt": True, "tokenize": False}
    text = safe_apply_chat_template(model, tokenizer, messages, **asked)
    # As its endpoint of chats encodes it: without special tokens of its own.
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokens == prompt_tokens(tokenizer, messages)
    assert tokens == encode_chat(tokenizer, messages, add_generation_prompt=True)
