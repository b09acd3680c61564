"""What a model's folder says of its tokens; run in an engine's environment."""

from __future__ import annotations

from pathlib import Path

from grrm.texts import named_tokens


def end_tokens(folder: Path) -> set[int]:
    """Tokens at which engines stop: those of the folder's generation settings."""
    from transformers import AutoConfig, GenerationConfig

    try:
        settings = GenerationConfig.from_pretrained(folder)
    except OSError:  # without such a file they are those of the model's configuration
        settings = GenerationConfig.from_model_config(AutoConfig.from_pretrained(folder))
    return named_tokens(settings.eos_token_id)
