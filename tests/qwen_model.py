"""Small models with the vocabulary of Qwen2.5-7B, which learn by heart to answer prompts of real length.

The tokenizer is made here: as many tokens as Qwen2.5's has, its special tokens at their numbers, its way of
cutting texts, its ChatML. Its merges are not learned from any text: all pairs of letters, and as many triples
as there is room for.
"""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Callable, Sequence
from pathlib import Path

REGULAR = 151_643
"""Tokens before the special ones."""
EMBEDDED = 152_064
"""Rows of the embeddings: those of Qwen2.5-7B, more than there are tokens."""

SPECIAL = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
ADDED = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n"
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Pair = tuple[str, str]
"""A prompt and its answer."""


def save_qwen_model(folder: Path, *, width: int = 64, positions: int = 4096, seed: int = 0) -> Path:
    """A random Qwen2 of two layers, with heads of 32 numbers."""
    import torch
    from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

    tokenizer = _tokenizer()
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    end = tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    config = Qwen2Config(
        vocab_size=EMBEDDED,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=width // 32,
        num_key_value_heads=1,
        max_position_embeddings=positions,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=end[0],
        pad_token_id=end[1],
    )
    model = Qwen2ForCausalLM(config).float()
    model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=end[1])
    model.save_pretrained(folder)
    return folder


def _tokenizer():  # type: ignore[no-untyped-def]
    from tokenizers import AddedToken, pre_tokenizers
    from transformers import Qwen2Tokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    # A space first: it is joined to the letter behind it before letters are joined.
    letters = ["Ġ", *string.ascii_letters]
    pairs = list(itertools.product(letters, letters))
    triples = itertools.product((first + second for first, second in pairs), letters)
    merges = [*pairs, *itertools.islice(triples, REGULAR - len(alphabet) - len(pairs))]
    words = [*alphabet, *(first + second for first, second in merges), *SPECIAL, *ADDED]
    tokenizer = Qwen2Tokenizer(
        vocab={word: number for number, word in enumerate(words)},
        merges=merges,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=list(SPECIAL),
    )
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in ADDED])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def learn_answers(folder: Path, draw: Callable[[], Sequence[Pair]], *, steps: int, lr: float = 5e-3) -> float:
    """Train on what is drawn; the loss of the last step, in nats a token of the answers.

    Rows of the output that no answer needs are one row, so one logit stands for all of them: the same loss as
    over the whole vocabulary, for a hundredth of the work.

    Args:
        folder: of the model.
        draw: pairs of one step.
        steps: their number.
        lr: learning rate, of Adam.
    """
    import torch
    from torch.nn.functional import cross_entropy, linear
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    batches = [[_tokens(tokenizer, *pair) for pair in draw()] for _ in range(steps)]
    used = torch.tensor(sorted({token for batch in batches for _, answer in batch for token in answer}))
    place = {token: index for index, token in enumerate(used.tolist())}
    # The last one stands for all others.
    rows = torch.nn.Parameter(torch.randn(len(used) + 1, model.config.hidden_size) * 0.02)
    many = torch.zeros(len(rows))
    many[-1] = math.log(EMBEDDED - len(used))
    optimizer = torch.optim.AdamW([*model.model.parameters(), rows], lr=lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for batch in batches:
        longest = max(len(prompt) + len(answer) for prompt, answer in batch)
        ids = torch.zeros(len(batch), longest, dtype=torch.long)
        before = torch.zeros(len(batch), longest, dtype=torch.bool)  # whose next token is of the answer
        for index, (prompt, answer) in enumerate(batch):
            ids[index, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
            before[index, len(prompt) - 1 : len(prompt) + len(answer) - 1] = True
        targets = torch.tensor([place[token] for _, answer in batch for token in answer])
        logits = linear(model.model(input_ids=ids).last_hidden_state[before], rows)
        loss = cross_entropy(logits + many, targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        model.lm_head.weight[:] = rows[-1]
        model.lm_head.weight[used] = rows[:-1]
    model.save_pretrained(folder)
    return float(loss.detach())


def _tokens(tokenizer, prompt: str, answer: str) -> tuple[list[int], list[int]]:  # type: ignore[no-untyped-def]
    head = tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
    )
    return tokenizer(head)["input_ids"], tokenizer(f"{answer}<|im_end|>")["input_ids"]
