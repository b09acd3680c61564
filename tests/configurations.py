"""Configurations of the workflow as tests need them: overlays merged and checked as Snakemake does it."""

from __future__ import annotations

import copy
import functools
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from grrm.catalogue.recipes import RECIPES
from grrm.config import load_experiment
from grrm.config.rewards import (
    alignment_prompt_of,
    part_checkpoints_of,
    pieces_of,
    scoring_model_of,
    translation_prompt_of,
)
from grrm.engines.llamafactory import sft_config
from grrm.engines.verl import rl_overrides
from grrm.engines.verl_fork import fork_overrides
from grrm.engines.verl_judges import judge_overrides
from grrm.engines.verl_rewards import PartFiles
from grrm.judges.configured_prompts import translation_form
from grrm.judges.prompts import load_judge_prompt

ROOT = Path(__file__).parents[1]


def experiment(*overlays: str) -> dict[str, Any]:
    """The checked configuration of config/config.yaml under overlays such as "paper"; a copy of its own."""
    return copy.deepcopy(_experiment(*overlays))


@functools.cache
def _experiment(*overlays: str) -> dict[str, Any]:
    return load_experiment(ROOT, [ROOT / f"config/{name}.yaml" for name in overlays])


def render_sft(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """LLaMA-Factory's configuration of a stage, as the workflow names its files."""
    results, settings = Path("results") / config["experiment"], config[stage]
    deepspeed = settings["deepspeed"]
    return sft_config(
        settings,
        model=results / "models" / f"{stage.removesuffix('_sft')}_base",
        dataset_dir=results / "configs" / stage,
        output_dir=results / "checkpoints" / stage,
        seed=config["seed"],
        hardware=config["hardware"],
        deepspeed=yaml.safe_load((ROOT / deepspeed).read_text(encoding="utf-8")) if deepspeed else None,
    )


def render_rl(config: Mapping[str, Any], stage: str, **changes: Any) -> dict[str, Any]:
    """verl's overrides of a stage, as the workflow names its files; `changes` to the stage's settings."""
    results, judged = Path("results") / config["experiment"], stage == "mt_grpo"
    arguments: dict[str, Any] = {
        "stage": stage,
        "model": results / "models" / ("mt_sft" if judged else "grrm_sft"),
        "data": results / f"prepared/{stage}.parquet",
        "checkpoints": results / "checkpoints" / stage,
        "judge": results / "models/grrm_rlvr" if judged else None,
        "hardware": config["hardware"],
        "validation_data": results / "prepared/grrm_rlvr_validation.parquet" if not judged else None,
    }
    settings = {**config[stage], **changes}
    if config["rl_engine"] == "gen_rm_fork":
        return fork_overrides(settings, **arguments, seed=config["seed"])
    prompt = Path(config["prompts"]["ranking"]) if judged else None
    return rl_overrides(settings, **arguments, judge_prompt=prompt, seed=config["seed"])


def render_judge(config: Mapping[str, Any], kind: Literal["pointwise", "pairwise"]) -> dict[str, Any]:
    """verl's overrides of a judge's training, as the workflow names its files."""
    results, stage, judges = Path("results") / config["experiment"], f"judge_{kind}", config["judges"]
    return judge_overrides(
        judges[kind],
        stage=stage,
        reward=kind,
        tag=load_judge_prompt(judges["prompts"][kind], f"judge_{kind}").tag,  # type: ignore[arg-type]
        model=results / f"models/{stage}_base",
        data=results / f"prepared/{stage}_train.parquet",
        checkpoints=results / "checkpoints" / stage,
        seed=config["seed"],
        hardware=config["hardware"],
        validation_data=results / f"prepared/{stage}_test.parquet",
    )


def recipe(name: str, *more: str) -> dict[str, Any]:
    """The configuration of a recipe: at its published size, or under `more` in the place of the paper's."""
    files = [f"recipes/{file}" for file in RECIPES[name]]
    return experiment(*files, *more) if more else experiment("paper", *files)


def render_recipe(config: Mapping[str, Any]) -> dict[str, Any]:
    """verl's overrides of a recipe's GRPO, as the workflow names its files."""
    models, settings = Path("results") / config["experiment"] / "models", config["mt_grpo"]
    reward, ranking = settings["reward"], config["prompts"]["ranking"]
    scoring, pieces = scoring_model_of(reward), pieces_of(reward) if "parts" in reward else {}
    checkpoints = part_checkpoints_of(reward)
    return rl_overrides(
        settings,
        stage="mt_grpo",
        model=models / "mt_sft",
        data=models.parent / "prepared/mt_grpo.parquet",
        checkpoints=models.parent / "checkpoints/mt_grpo",
        judge=models / scoring if scoring else None,
        judge_prompt=translation_prompt_of(reward, ranking),
        parts={
            name: PartFiles(
                translation_prompt_of(piece, ranking),
                models / checkpoints[name] if name in checkpoints else None,
            )
            for name, piece in pieces.items()
        },
        form=translation_form(config) or "codeblock-think",
        hardware=config["hardware"],
        seed=config["seed"],
    )


def render_alignment(config: Mapping[str, Any]) -> dict[str, Any]:
    """verl's overrides of the alignment against an endpoint, as the workflow names its files."""
    results, stage = Path("results") / config["experiment"], "alignment_grpo"
    settings = config["alignment"]["grpo"]
    return rl_overrides(
        settings,
        stage=stage,
        model=results / f"models/{stage}_base",
        data=results / "prepared/alignment_train.parquet",
        checkpoints=results / "checkpoints" / stage,
        judge_prompt=alignment_prompt_of(settings["reward"]),
        task="conversation",
        seed=config["seed"],
        hardware=config["hardware"],
        validation_data=results / "prepared/alignment_validation.parquet",
    )


def empty_model(folder: Path, parameters: int) -> Path:
    """A model folder of that size: the headers of two safetensors files without the numbers behind them."""
    folder.mkdir(parents=True)
    for part, size in enumerate((parameters // 2, parameters - parameters // 2), 1):
        weight = {"dtype": "BF16", "shape": [size], "data_offsets": [0, 2 * size]}
        header = json.dumps({"__metadata__": {}, "weight": weight})
        file = folder / f"model-{part:05}-of-00002.safetensors"
        file.write_bytes(struct.pack("<Q", len(header)) + header.encode())
    return folder
