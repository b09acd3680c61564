"""Check that Hugging Face's transformers can load a model folder; run by the training environment's python.

python -m grrm.engines.hf_check FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path


def problems(folder: Path) -> list[str]:
    """What is wrong with configuration, tokenizer or weights (only their names and shapes are read)."""
    import torch
    from safetensors import safe_open
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    expected = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    found: dict[str, list[int]] = {}
    for file in folder.glob("*.safetensors"):
        with safe_open(file, framework="pt") as weights:
            found |= {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    text = config.get_text_config()  # of a model that reads images, too
    tied = {"lm_head.weight"} if text.tie_word_embeddings else set()
    wrong = [f"weight {name} is missing" for name in expected.keys() - found.keys() - tied]
    wrong += [f"weight {name} is not one of the model's" for name in found.keys() - expected.keys()]
    wrong += [
        f"weight {name} has shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if len(tokenizer) > text.vocab_size:
        wrong.append(f"the tokenizer has {len(tokenizer)} tokens, the model {text.vocab_size}")
    if tokenizer.chat_template is None:
        wrong.append("the tokenizer has no chat template")
    ends = GenerationConfig.from_pretrained(folder).eos_token_id
    if tokenizer.eos_token_id not in (ends if isinstance(ends, list) else [ends]):
        wrong.append(f"generation ends at {ends}, the tokenizer's end is {tokenizer.eos_token_id}")
    return sorted(wrong)


if __name__ == "__main__":
    found = problems(Path(sys.argv[1]))
    for problem in found:
        print(f"error: {sys.argv[1]}: {problem}", file=sys.stderr)
    sys.exit(bool(found))
