"""A model for tests of engines, made in a moment."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = ["the grass is greener on the other side", "a frog in the throat", "B > A = C", "A: 9, B: 7, C: 2"]


def save_tiny_model(
    folder: Path,
    tied: bool = False,
    seed: int = 0,
    *,
    width: int = 32,
    heads: int = 4,
    positions: int = 256,
    texts: Sequence[str] = (),
) -> Path:
    """A random Qwen2 of two layers with a byte-level tokenizer.

    Args:
        folder: to write.
        tied: whether input and output embeddings are one.
        seed: of the weights.
        width: of a token's state.
        positions: longest sequence, in tokens.
        heads: of attention, two of them sharing keys and values; vLLM needs a width of 32 for each on a CPU.
        texts: what the tokenizer is to have whole words of.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    byte_level = Tokenizer(models.BPE())
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=320 if not texts else 1024,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    byte_level.train_from_iterator([*WORDS * 4, *texts], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=positions,
        tie_word_embeddings=tied,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,  # far from uniform, so that decoding mistakes show
    )
    model = Qwen2ForCausalLM(config).float()
    model.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    return folder


def learn(folder: Path, pairs: Sequence[tuple[str, str]], steps: int = 150) -> None:
    """Overfit a tiny model to answers, so that its rollouts can be judged, or its judgements be read."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    rows = []
    for prompt, answer in pairs:
        head = tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}], add_generation_prompt=True, tokenize=False
        )
        prefix = tokenizer(head)["input_ids"]
        tokens = tokenizer(f"{head}{answer}<|im_end|>")["input_ids"]
        rows.append((tokens, [-100] * len(prefix) + tokens[len(prefix) :]))
    longest = max(len(tokens) for tokens, _ in rows)
    ids = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in rows])
    labels = torch.tensor([targets + [-100] * (longest - len(targets)) for _, targets in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        model(input_ids=ids, labels=labels).loss.backward()
        optimizer.step()
    model.save_pretrained(folder)
