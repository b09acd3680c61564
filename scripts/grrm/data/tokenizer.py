"""Tokenizer and untrained base models of the toy and sample experiments, in the form real ones have.

The tokenizer is a byte-level BPE with Qwen2's normaliser and pre-tokeniser. Nothing else is safe: beside a
`qwen2` model configuration, recent versions of transformers silently put Qwen2's own pre-tokeniser and
decoder in place of the saved ones, and a tokenizer of another kind then loses text.

`tokenizers`, `transformers` and `torch` are of the training environment, and imported where they are used.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.files import UserError

END_OF_TEXT = "<|endoftext|>"
START_OF_TURN = "<|im_start|>"
END_OF_TURN = "<|im_end|>"
SPECIAL_TOKENS = [END_OF_TEXT, START_OF_TURN, END_OF_TURN]
# What engines add to the texts: LLaMA-Factory's chatml template has a system turn, too.
ROLES = ["system\n", "user\n", "assistant\n"]
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
# The pre-tokeniser of the Qwen2 family (tokenizer.json of Qwen/Qwen2.5-7B).
PRE_TOKENIZER_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True)
class ModelSize:
    """Size of a Qwen2 model: widths of a token's state and of the feed-forward layer; layers; heads."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int


def train_tokenizer(texts: Iterable[str], vocab_size: int, model_max_length: int) -> Any:
    """Train a byte-level BPE tokenizer with a chatml chat template.

    Merging goes on until every word that occurs twice is one token (with the space before it), or the
    vocabulary is full.

    Args:
        texts: the texts, without chat markup.
        vocab_size: most tokens, special ones included; at least 256 + 3.
        model_max_length: longest input, in tokens, that the tokenizer does not warn about.

    Returns:
        A `transformers.PreTrainedTokenizerFast`.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKENIZER_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *ROLES, *ROLES], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        model_max_length=model_max_length,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )


def check_round_trip(tokenizer: Any, texts: Iterable[str]) -> int:
    """Check that decoding the encoded text gives back every text; return how many were checked.

    Raises:
        UserError: a text does not survive (it is not in Unicode normal form NFC, or it holds chat markup).
    """
    checked = 0
    for text in texts:
        ids = tokenizer.encode(text, add_special_tokens=False)
        decoded = tokenizer.decode(ids)
        if decoded != text:
            raise UserError(
                f"the tokenizer changes a text: {text!r} comes back as {decoded!r}; "
                "texts must be in Unicode normal form NFC"
            )
        if special := set(ids) & set(tokenizer.all_special_ids):
            markup = tokenizer.convert_ids_to_tokens(sorted(special))
            raise UserError(f"the text {text!r} holds chat markup, {markup}; remove it")
        checked += 1
    return checked


def save_base_model(
    folder: Path,
    tokenizer: Any,
    size: ModelSize,
    max_position_embeddings: int,
    seed: int,
    texts: Sequence[str],
) -> int:
    """Write an untrained Qwen2 model (float32), its tokenizer and generation settings; return its parameters.

    Args:
        folder: an empty or missing folder.
        tokenizer: what `train_tokenizer` returns.
        size: size of the model.
        max_position_embeddings: longest sequence, in tokens.
        seed: seed of the random weights.
        texts: texts that must survive the saved tokenizer.

    Raises:
        UserError: a text does not survive the tokenizer as `AutoTokenizer` loads it from `folder`.
    """
    import torch
    from transformers import AutoTokenizer, GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=size.hidden,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=max_position_embeddings,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = Qwen2ForCausalLM(config).to(torch.float32)
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    # As the engines will load it, which is not always as it was saved.
    check_round_trip(AutoTokenizer.from_pretrained(folder), texts)
    return int(model.num_parameters())
