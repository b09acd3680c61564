"""Train a Bradley-Terry judge with TRL, resuming from its last checkpoint if there is one."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

from grrm.engines import trl
from grrm.engines.command_line import add_train_options
from grrm.engines.supervised import Launch, train
from grrm.engines.trainer import engine_environment
from grrm.files import read_jsonl, read_yaml
from grrm.process import run_engine, run_main

_SCRIPTS = Path(__file__).parent
_SHOWN = ("loss", "accuracy", "margin", "mean_reward", "grad_norm")


def main(argv: list[str] | None = None) -> None:
    """Train, then publish the model folder with its card and the curve, each whole or not at all."""
    parser = argparse.ArgumentParser(description=__doc__)
    add_train_options(parser, rendered_by="render_bradley_terry", engine="TRL", of_judge=True)
    args = parser.parse_args(argv)

    config = read_yaml(args.config)
    launch = Launch(
        "TRL",
        arguments=config["training"],
        nodes=config["nodes"],
        devices=config["gpus_per_node"],
        run=lambda: run_engine(
            trl.command(config, args.python, args.config, args.tracker), env=engine_environment(_SCRIPTS)
        ),
        curve=lambda folder: _curve(folder / "log.jsonl"),
    )
    train(args, config, launch)


def _curve(log: Path) -> Iterator[dict[str, float | None]]:
    for row in read_jsonl(log, gaps=True):
        if "loss" in row:
            shown = {name: None if row[name] is None else float(row[name]) for name in _SHOWN if name in row}
            yield {"step": row["step"], **shown, "lr": row["learning_rate"]}


if __name__ == "__main__":
    run_main(main)
