"""Adapters of low rank (LoRA, arXiv 2106.09685), trained beside frozen weights and merged into them.

Both engines train them with peft. LLaMA-Factory leaves them beside the model it started from: they are
merged when it has finished (`merge_adapters.py`). verl sends its rollout engine merged weights, and
saves them in its checkpoints (`grrm.verl_plugin.lora`). What a stage leaves behind is a model like any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grrm.catalogue.trainings import ALL_LINEAR
from grrm.files import UserError
from grrm.model_folder import linear_layers

_VERL = "actor_rollout_ref.model"


@dataclass(frozen=True)
class Adapters:
    """What a training adds to a model.

    Attributes:
        rank: of each adapter.
        alpha: its factor, divided by the rank.
        targets: last parts of the names of linear layers that have one; none: all of them.
    """

    rank: int
    alpha: int
    targets: tuple[str, ...]

    def __str__(self) -> str:
        where = ", ".join(self.targets) or "all linear layers"
        return f"adapters of rank {self.rank} and alpha {self.alpha} on {where}"

    def parameters(self, model: Path) -> int:
        """How many they have beside the model in a folder.

        Raises:
            UserError: a target is none of its linear layers, or it has none.
        """
        sizes: dict[str, int] = {}
        for name, (outputs, inputs) in linear_layers(model).items():
            last = name.rpartition(".")[2]
            sizes[last] = sizes.get(last, 0) + outputs + inputs
        named = self.targets or tuple(sizes) or (ALL_LINEAR,)
        if unknown := [name for name in named if name not in sizes]:
            raise UserError(
                f"lora.targets has {unknown[0]!r}, expected linear layers within the blocks of {model}: "
                f"{', '.join(sorted(sizes)) or 'it has none'}"
            )
        return self.rank * sum(sizes[name] for name in named)


def llamafactory_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of LLaMA-Factory for a stage's section of the configuration."""
    if settings.get("finetuning") != "lora":
        return {"finetuning_type": "full"}
    lora = settings["lora"]
    targets = lora["targets"]
    return {
        "finetuning_type": "lora",
        "lora_rank": lora["rank"],
        "lora_alpha": lora["alpha"],
        "lora_dropout": lora["dropout"],
        "lora_target": "all" if targets == ALL_LINEAR else ",".join(targets),
    }


def verl_keys(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides of verl for a stage's section of the configuration; none if it trains all weights."""
    if settings.get("finetuning") != "lora":
        return {}
    lora = settings["lora"]
    return {
        f"{_VERL}.lora_rank": lora["rank"],
        f"{_VERL}.lora_alpha": lora["alpha"],
        f"{_VERL}.target_modules": lora["targets"],
        # The rollout engine gets plain weights: the small server knows no others, and vLLM is quicker so.
        f"{_VERL}.lora.merge": True,
        f"{_VERL}.external_lib": "grrm.verl_plugin.lora",
        # Of the frozen weights there is the initial model; merged ones are saved beside (hf_model).
        "+actor_rollout_ref.actor.checkpoint.save_lora_only": True,
    }


def adapters_of(rendered: Mapping[str, Any]) -> Adapters | None:
    """What a rendered configuration of either engine adds to its model; None if it trains all weights."""
    if rendered.get("finetuning_type") == "lora":
        names = rendered["lora_target"]
        targets = () if names == "all" else tuple(names.split(","))
        return Adapters(rendered["lora_rank"], rendered["lora_alpha"], targets)
    if rank := rendered.get(f"{_VERL}.lora_rank"):
        names = rendered[f"{_VERL}.target_modules"]
        targets = () if names == ALL_LINEAR else tuple(names)
        return Adapters(rank, rendered[f"{_VERL}.lora_alpha"], targets)
    return None
