"""Tokenizers with the chat templates of four families, trained in a moment; folders without weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TEXTS = [
    "the grass is greener on the other side, and a frog is in the throat of the translator",
    "### Final Ranking:\n\nB > A = C\n\n### Scores:\n\nA: 9, B: 7, C: 2\n",
    "```text\nDas Gras ist grüner, und 草 ist グリーン.\n```\n",
]
_TURNS = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass(frozen=True)
class Form:
    """A family: its type of model, special tokens (beginning, end, end of a turn first) and chat template."""

    model_type: str
    special: tuple[str, ...]
    eos: str
    template: str
    bos: str | None = None
    ends: tuple[str, ...] = ()
    pieces: bool = False  # of SentencePiece, with bytes for what is unknown


FORMS = {
    "chatml": Form("qwen2", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), "<|im_end|>", _TURNS),
    "smollm2": Form(
        "llama",
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        "<|im_end|>",
        "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are helpful<|im_end|>\n{% endif %}"
        + _TURNS,
        bos="<|im_start|>",
    ),
    "llama3": Form(
        "llama",
        ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"),
        "<|eot_id|>",
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
        "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
        bos="<|begin_of_text|>",
        ends=("<|end_of_text|>", "<|eot_id|>"),
    ),
    "gemma": Form(
        "gemma",
        ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        "<eos>",
        "{{ bos_token }}{% for m in messages %}"
        "{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
        "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
        bos="<bos>",
        ends=("<eos>", "<end_of_turn>"),
        pieces=True,
    ),
}


def save_form(folder: Path, form: Form, **changed: Any) -> Path:
    """Tokenizer, configuration and generation settings of a family; `changed` keys of its tokenizer."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerFast

    bytes_of_pieces = [f"<0x{byte:02X}>" for byte in range(256)]
    if form.pieces:
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        made.normalizer = normalizers.Replace(" ", "▁")
        made.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )
        special, alphabet = [*form.special, "<unk>"], list("\n▁")
    else:
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        special, alphabet = list(form.special), pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=900 if form.pieces else 400,
        special_tokens=[*special, *(bytes_of_pieces if form.pieces else [])],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    made.train_from_iterator(TEXTS, trainer)
    if form.bos:
        made.post_processor = processors.TemplateProcessing(
            single=f"{form.bos} $A", special_tokens=[(form.bos, made.token_to_id(form.bos))]
        )
    if form.pieces:  # bytes are no control tokens
        written = json.loads(made.to_str())
        written["added_tokens"] = [token for token in written["added_tokens"] if token["content"] in special]
        made = Tokenizer.from_str(json.dumps(written))
    tokens = {"eos_token": form.eos, "pad_token": form.special[0], "bos_token": form.bos}
    options = {**tokens, "chat_template": form.template, **changed}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, **{key: value for key, value in options.items() if value is not None}
    )
    tokenizer.save_pretrained(folder)
    ends = tokenizer.convert_tokens_to_ids(list(form.ends) or [form.eos])
    config = AutoConfig.for_model(form.model_type, vocab_size=len(tokenizer), eos_token_id=ends)
    config.save_pretrained(folder)
    GenerationConfig(eos_token_id=ends).save_pretrained(folder)
    return folder
