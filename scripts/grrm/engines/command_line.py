"""Options that programs which render a training's configuration share, and those that train from it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from grrm.engines import trackers
from grrm.engines.trainer import CPU
from grrm.files import UserError, read_yaml, write_text
from grrm.json_text import parse_json


def add_render_options(parser: argparse.ArgumentParser, *, data: str, model: str = "initial model") -> None:
    """What every configuration is rendered from; `data` and `model` say what these are."""
    parser.add_argument("--settings", type=parse_json, required=True, help="the stage's settings as JSON")
    parser.add_argument("--hardware", type=parse_json, default=CPU, help="the section hardware as JSON")
    parser.add_argument("--model", type=Path, required=True, help=f"folder of the {model}")
    parser.add_argument("--data", type=Path, required=True, help=data)
    parser.add_argument("--checkpoints", type=Path, required=True, help="working folder of the training")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="configuration to write (YAML)")


def add_deepspeed(parser: argparse.ArgumentParser) -> None:
    """The option --deepspeed, for `read_deepspeed`."""
    parser.add_argument("--deepspeed", type=Path, help="configuration of DeepSpeed (YAML or JSON)")


def read_deepspeed(path: Path | None) -> dict[str, Any] | None:
    """The configuration of DeepSpeed; None without a file.

    Raises:
        UserError: there is no such file, or it holds no keys and values.
    """
    if path is None:
        return None
    if not path.is_file():
        raise UserError(f"{path}: no such file; it is the stage's key deepspeed")
    config = read_yaml(path)
    if not isinstance(config, dict):
        raise UserError(f"{path}: not a configuration of DeepSpeed, expected keys and values")
    return config


def write_overrides(
    path: Path, stage: str, overrides: Mapping[str, Any], version: str = "verl 0.9.1"
) -> None:
    """Write the overrides of verl's trainer, one Hydra key a line."""
    header = f"# {stage}: overrides for `python -m verl.trainer.main_ppo` ({version}).\n"
    text = yaml.safe_dump(dict(overrides), sort_keys=False, default_flow_style=None)
    write_text(path, header + text)


def add_train_options(
    parser: argparse.ArgumentParser, *, rendered_by: str, engine: str, of_judge: bool = False
) -> None:
    """What every training is run with, and what it writes; `of_judge` says that it always makes a judge."""
    parser.add_argument("--config", type=Path, required=True, help=f"configuration by {rendered_by}")
    parser.add_argument("--data", type=Path, required=True, help="prepared rows the configuration refers to")
    parser.add_argument("--python", required=True, help=f"interpreter of the environment with {engine}")
    parser.add_argument("--model", type=Path, required=True, help="finished model folder to write")
    parser.add_argument("--curve", type=Path, required=True, help="metrics by step to write (JSON lines)")
    parser.add_argument("--card", type=Path, required=of_judge, help="of a judge: its judge.json")
    trackers.add_option(parser)
