"""Write docs/configuration.md from the configuration's schema."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from grrm.config import dereference, load_schema
from grrm.files import write_text
from grrm.process import run_main

_INTRODUCTION = """\
# Configuration

Written by `make docs` from `config/schemas/config.schema.yaml`; do not edit.

`config/config.yaml` is the demonstration. Overlays are laid over it in the given order and replace single
keys: `snakemake -n --configfile config/paper.yaml config/paper_cla.yaml`. `--config seed=1` comes last. A
wrong key or value stops the workflow before anything runs. So does anything ambiguous: a duplicate key, a key
that YAML does not read as text (`on`, `1`), `.nan`, a date without quotes, an address without `http://`.

| Overlay | Experiment |
| --- | --- |
| `smoke.yaml` | a few steps of every stage on real languages, on a CPU |
| `example_files.yaml`, over `smoke.yaml` | the same on your own files (docs/own_data.md) |
| `paper.yaml` | the paper's, on two machines of eight GPUs |
| `paper_cla.yaml`, over `paper.yaml` | its translation model with cross-lingual augmentation |
| `paper_fork.yaml`, over `paper.yaml` | the paper's with the authors' own trainer, a fork of verl |
| `paper_released.yaml`, over `paper.yaml` | evaluation of the released models, without training |
| `small.yaml`, over `paper.yaml` | a smaller base model on one machine of eight GPUs |
| `one_gpu.yaml`, over both | the smallest base model on one GPU |
| `lora.yaml`, over all three | a larger base model on one GPU, with LoRA (docs/lora.md) |
| `rehearsal.yaml`, over any of them | two steps of each training before the experiment (docs/rehearsal.md) |
| `vllm.yaml` | the demonstration with vLLM on the CPU (docs/vllm.md) |
| `judge_comparison.yaml` | GRPO with the demonstration's judge before and after RLVR (docs/rewards.md) |
| `judges.yaml` | the judges, and a policy against a judge, at toy size on a CPU |
| `judges_paper.yaml`, over `paper.yaml` | the judges as published, on one machine of eight GPUs |
| `recipes/*.yaml`, over `paper.yaml` | published recipes of this field (docs/recipes.md) |
| `alignment_gpu.yaml`, over `paper.yaml` and `small.yaml` | a 7B policy against an LLM judge over HTTP |

`config/published_settings.yaml` lists every setting of the published runs and how it is handled here.
"""

_TYPES = {
    "object": "section",
    "array": "list",
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "null",
}


def main(argv: list[str] | None = None) -> None:
    """Write one table of keys per section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--schema", type=Path, default=Path("config/schemas/config.schema.yaml"))
    parser.add_argument("--output", type=Path, default=Path("docs/configuration.md"))
    args = parser.parse_args(argv)
    write_text(args.output, document(load_schema(args.schema)))


def document(schema: Mapping[str, Any]) -> str:
    """The page: a table for the keys of the top level, then one for each section."""
    parts = {name: dereference(part, schema) for name, part in schema["properties"].items()}
    plain = {name: part for name, part in parts.items() if "properties" not in part}
    text = _INTRODUCTION + "\n" + _table(plain.items())
    for name, part in parts.items():
        if "properties" in part:
            text += f"\n## {name}\n\n{part['description']}\n\n" + _table(_keys(part, schema))
    return text


def _keys(section: Mapping[str, Any], root: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """All keys below a section, by path; sections before their keys."""
    for name, part in section["properties"].items():
        part = dereference(part, root)
        yield prefix + name, part
        if "properties" in part:
            yield from _keys(part, root, f"{prefix}{name}.")
        items = dereference(part.get("items", {}), root)
        if "properties" in items:
            yield from _keys(items, root, f"{prefix}{name}[].")


def _table(keys: Any) -> str:
    rows = [f"| `{name}` | {_allowed(part)} | {_default(part)} | {_words(part)} |" for name, part in keys]
    return "\n".join(["| key | value | default | |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _allowed(part: Mapping[str, Any]) -> str:
    if "enum" in part:
        return " or ".join(f"`{value}`" for value in part["enum"])
    types = part["type"] if isinstance(part["type"], list) else [part["type"]]
    words = " or ".join(_TYPES[name] for name in types)
    limits = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}
    return " ".join([words, *(f"{word} {part[key]:g}" for key, word in limits.items() if key in part)])


def _default(part: Mapping[str, Any]) -> str:
    if "default" not in part or part["default"] == {}:
        return ""
    return f"`{json.dumps(part['default'])}`"


def _words(part: Mapping[str, Any]) -> str:
    return str(part.get("description", "")).replace("|", "\\|")


if __name__ == "__main__":
    run_main(main)
