"""What published models say of themselves, written down by us: configuration and tokenizer, without weights.

Numbers are those of the models' own config.json, generation_config.json and tokenizer_config.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiny_model import CHAT_TEMPLATE

# Ids of the special tokens that Qwen2.5 and Qwen3 share; before them comes the vocabulary.
FIRST_SPECIAL = 151_643
SPECIALS = (
    *("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>"),
    *("<|box_start|>", "<|box_end|>", "<|quad_start|>", "<|quad_end|>"),
    *("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>"),
)
# Behind them, and not special: they stay in a decoded text.
ADDED = (
    *("<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>"),
    *("<|repo_name|>", "<|file_sep|>"),
)
END_OF_TEXT, _, END_OF_TURN = SPECIALS[:3]


@dataclass(frozen=True)
class Shape:
    """Architecture and limits of a model, and the tokens that end its texts.

    Attributes:
        hidden, inner: widths.
        layers: their number.
        heads, kv_heads: of attention.
        positions: longest sequence, in tokens.
        vocabulary: rows of the embedding.
        tied: whether both embeddings are one.
        eos: the tokenizer's end of a text.
        kind: model_type.
    """

    hidden: int
    inner: int
    layers: int
    heads: int
    kv_heads: int
    positions: int
    vocabulary: int
    tied: bool
    eos: str = END_OF_TEXT
    kind: str = "qwen2"

    @property
    def parameters(self) -> int:
        """Numbers in its matrices."""
        heads = 128 * self.heads if self.kind == "qwen3" else self.hidden
        attention = 2 * self.hidden * heads * (1 + self.kv_heads / self.heads)
        layers = self.layers * (attention + 3 * self.hidden * self.inner)
        return int(layers + self.vocabulary * self.hidden * (1 if self.tied else 2))


QWEN_7B = Shape(3584, 18944, 28, 28, 4, 131_072, 152_064, tied=False)
SHAPES = {
    "Qwen/Qwen2.5-7B": QWEN_7B,
    "Qwen/Qwen2.5-1.5B": Shape(1536, 8960, 28, 12, 2, 131_072, 151_936, tied=True),
    "Qwen/Qwen2.5-0.5B": Shape(896, 4864, 24, 14, 2, 32_768, 151_936, tied=True),
    "Qwen/Qwen3-8B": Shape(
        4096, 12288, 36, 32, 8, 40_960, 151_936, tied=False, eos=END_OF_TURN, kind="qwen3"
    ),
    # Trained from Qwen2.5-7B; that its tokenizer has the base model's end of a text is the worse case.
    "double7/Qwen2.5-7B-GRRM": QWEN_7B,
    "double7/Qwen2.5-7B-MT-GRRM-Optimized": QWEN_7B,
}


def save_model(shape: Shape, folder: Path, *, eos: str | None = None) -> Path:
    """A model folder that lacks nothing but weights and words: its tokenizer knows bytes only.

    Args:
        shape: of the model.
        folder: to write.
        eos: another end of a text, as supervised training leaves it in a tokenizer.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = {token: i for i, token in enumerate(alphabet)}
    words |= {f"unused{i}": i for i in range(len(words), FIRST_SPECIAL)}
    byte_level = Tokenizer(models.BPE(vocab=words, merges=[]))
    byte_level.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    byte_level.decoder = decoders.ByteLevel()
    byte_level.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=byte_level,
        eos_token=eos or shape.eos,
        pad_token=END_OF_TEXT,
        model_max_length=131_072,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    own = FIRST_SPECIAL + SPECIALS.index(shape.eos)
    config: dict[str, Any] = {
        "architectures": [f"Qwen{shape.kind[-1]}ForCausalLM"],
        "model_type": shape.kind,
        "dtype": "bfloat16",
        "hidden_act": "silu",
        "hidden_size": shape.hidden,
        "intermediate_size": shape.inner,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "max_position_embeddings": shape.positions,
        "vocab_size": shape.vocabulary,
        "tie_word_embeddings": shape.tied,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "use_sliding_window": False,
        "bos_token_id": FIRST_SPECIAL,
        "eos_token_id": own,
    }
    if shape.kind == "qwen3":
        config["head_dim"] = 128
    (folder / "config.json").write_text(json.dumps(config))
    ends = [own, FIRST_SPECIAL] if own != FIRST_SPECIAL else own
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
    return folder
