"""What a training trains: all weights, or adapters of low rank beside them (LoRA, arXiv 2106.09685).

Keys of the whole experiment (`finetuning`, `lora`) go to the trainings that do not say otherwise. A training
in full has none of these keys when it is rendered: it is the one that it was before they existed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from grrm.catalogue.trainings import ALL_LINEAR, Training
from grrm.config.stages import planned_trainings, trained_stages, value_of

_KEYS = ("finetuning", "lora")
RANK, ALPHA = 32, 32
"""As verl's guide to LoRA has them (docs/advance/ppo_lora.rst)."""
_SFT_ONLY = {"dropout": 0.0}  # LLaMA-Factory's default; verl 0.9.1 hands none to peft


def spread_finetuning(config: dict[str, Any]) -> None:
    """Lay the keys of the whole experiment into the sections of its trainings, with what they leave out."""
    for row in planned_trainings(config):
        section = value_of(config, row.section)
        lora = _lora(config, section, row) if finetuning_of(config, row) == "lora" else None
        for key in _KEYS:
            section.pop(key, None)
        if lora is not None:
            section |= {"finetuning": "lora", "lora": lora}


def finetuning_of(config: Mapping[str, Any], row: Training) -> str:
    """full or lora."""
    said = value_of(config, f"{row.section}.finetuning") or config.get("finetuning") or "full"
    return str(said)


def _lora(config: Mapping[str, Any], section: Mapping[str, Any], row: Training) -> dict[str, Any]:
    further = _SFT_ONLY if row.engine == "sft" else {}
    lora = {"rank": RANK, "alpha": ALPHA, "targets": ALL_LINEAR, **further}
    for layer in (config.get("lora") or {}, section.get("lora") or {}):
        lora |= {key: value for key, value in layer.items() if key in lora}
    return lora


def lora_contradictions(config: Mapping[str, Any]) -> Iterator[str]:
    """Adapters that nothing trains, and trainings that know none."""
    rows = planned_trainings(config)
    if config.get("lora") and not any(finetuning_of(config, row) == "lora" for row in rows):
        yield "lora is set and no training has finetuning 'lora', expected finetuning: lora beside it"
    for row in rows:
        section = value_of(config, row.section)
        said = section.get("finetuning") or config.get("finetuning")
        if section.get("lora") and said is None:
            yield f"{row.section}.lora is set and {row.section}.finetuning is not, expected finetuning: lora"
        if row.engine == "bt" and said == "lora":
            yield (
                f"finetuning is 'lora' and {row.section}.finetuning is not set, expected 'full' for it: "
                "TRL trains all weights of a Bradley-Terry model"
            )
    if config["rl_engine"] == "gen_rm_fork":
        for row in rows:
            if (
                row.engine == "rl"
                and row.name in trained_stages(config)
                and finetuning_of(config, row) == "lora"
            ):
                yield f"{row.section}.finetuning is 'lora', expected 'full' with rl_engine 'gen_rm_fork'"
