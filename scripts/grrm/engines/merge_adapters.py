"""Write the plain model that finished adapters and the model they were trained beside make together.

Run in LLaMA-Factory's environment: `python -m grrm.engines.merge_adapters MODEL ADAPTERS OUTPUT float32`.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def merge(model: Path, adapters: Path, output: Path, dtype: str) -> None:
    """Write weights and configuration; the tokenizer lies beside the adapters.

    Args:
        model: folder of the model the adapters were trained beside.
        adapters: folder that peft saved them to.
        output: folder to write.
        dtype: of the weights, float32 or bfloat16, as torch names it.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    frozen = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, dtype))
    merged = PeftModel.from_pretrained(frozen, adapters).merge_and_unload(safe_merge=True)
    merged.save_pretrained(output)


def main(argv: list[str] | None = None) -> None:
    """Merge as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("model", "adapters", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("dtype", choices=["float32", "bfloat16"])
    args = parser.parse_args(argv)
    merge(args.model, args.adapters, args.output, args.dtype)


if __name__ == "__main__":
    main()
