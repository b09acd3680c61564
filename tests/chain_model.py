"""A Qwen2 with the vocabulary of Qwen2.5-7B, written down so that its next token follows from the last one.

Its tokenizer is made here: as many tokens as Qwen2.5's has, its special tokens at their numbers, its way of
cutting texts, ChatML. Nothing is trained, so answers of any length come out as they are told to.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from qwen_models import ADDED, END_OF_TEXT, END_OF_TURN, FIRST_SPECIAL, QWEN_7B, SPECIALS
from tiny_model import CHAT_TEMPLATE

START = "\n"
"""The token before an answer, at the end of `<|im_start|>assistant`."""
WIDTH = 128
# A logit of 30 for what follows; of a hundred thousand others 0, of some hundred at most half of it.
LOGIT = 30.0


def save_chain_model(
    folder: Path,
    follows: Mapping[str, Sequence[str]],
    *,
    words: Iterable[str],
    positions: int,
    seed: int = 0,
) -> Path:
    """Write a model of two layers, which add a little noise to what `follows` says.

    Args:
        folder: to write.
        follows: a token, as text -> those of which one follows it, all alike; an answer is a way from `START`
            to `END_OF_TURN`. No other token is ever written.
        words: of prompts, each one token: spaces before letters.
        positions: longest sequence, in tokens.
        seed: of codes and noise.
    """
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    texts = {*follows, *itertools.chain(*follows.values())}
    tokenizer, numbers = _tokenizer(texts, words)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    end = [numbers[END_OF_TURN], numbers[END_OF_TEXT]]
    config = Qwen2Config(
        vocab_size=QWEN_7B.vocabulary,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,  # of 32 numbers, as vLLM has kernels for on a CPU
        num_key_value_heads=1,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=end[0],
        pad_token_id=end[1],
    )
    model = Qwen2ForCausalLM(config).float()
    with torch.no_grad():
        codes = model.model.embed_tokens.weight.copy_(torch.randn(config.vocab_size, WIDTH).sign())
        head = model.lm_head.weight.zero_()
        for _ in range(5):  # what follows several tokens comes to the same logit after each of them
            for text, ways in follows.items():
                code = codes[numbers[text]]
                for row in (numbers[way] for way in ways):
                    head[row] += (LOGIT - head[row] @ code) / WIDTH * code
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end[1])
    model.save_pretrained(folder)
    return folder


def _tokenizer(texts: set[str], words: Iterable[str]) -> tuple[Any, dict[str, int]]:
    """The tokenizer, and the numbers of tokens that are exactly these texts."""
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import Qwen2Tokenizer

    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)

    def spelled(text: str) -> str:
        return text if text in SPECIALS else level.pre_tokenize_str(text)[0][0]

    read = sorted({spelled(word) for word in words})
    merges = list(dict.fromkeys((word[:end], word[end]) for word in read for end in range(1, len(word))))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # Some are never read, only written: a line may be one token.
    written = sorted(spelled(text) for text in texts - {*SPECIALS})
    known = list(dict.fromkeys([*alphabet, *(first + second for first, second in merges), *written]))
    known += [f"{string.punctuation}{number}" for number in range(FIRST_SPECIAL - len(known))]
    numbers = {word: number for number, word in enumerate([*known, *SPECIALS, *ADDED])}
    tokenizer = Qwen2Tokenizer(
        vocab=numbers,
        merges=merges,
        eos_token=END_OF_TURN,
        pad_token=END_OF_TEXT,
        additional_special_tokens=list(SPECIALS),
    )
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ADDED])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer, {text: numbers[spelled(text)] for text in texts | {END_OF_TURN, END_OF_TEXT}}
