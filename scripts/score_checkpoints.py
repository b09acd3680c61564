"""Score a translation model on the way of its reinforcement learning: reward against independent metrics."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from grrm.catalogue.trainings import COMPARED
from grrm.files import UserError, read_jsonl, write_json
from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.scores import parse_named_files, scores_document
from grrm.metrics.systems import read_translation_systems
from grrm.process import run_main

# In the curve: name in the document -> verl's metric.
_TRAINING = {
    "reward": "critic/score/mean",
    "judge_score": "reward/judge_score",
    "valid": "reward/valid",
    "response_length": "response_length/mean",
    "entropy": "actor/entropy",
}
_WINDOW = 5  # steps averaged, as single ones are noisy


def main(argv: list[str] | None = None) -> None:
    """Write the scores of all checkpoints, in the order of their steps, each with its training metrics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--before", metavar="NAME=FILE", required=True, help="translations before the first step"
    )
    parser.add_argument(
        "--checkpoints", nargs="+", metavar="NAME=FILE", required=True, help="translations of checkpoints"
    )
    parser.add_argument("--steps", nargs="+", metavar="NAME=STEP", required=True, help="of the checkpoints")
    parser.add_argument(
        "--after", metavar="NAME=FILE", required=True, help="translations after the last step"
    )
    parser.add_argument(
        "--segment-scores",
        nargs="*",
        default=[],
        metavar="METRIC=FILE",
        help="scores of the same translations, written by score_segments",
    )
    parser.add_argument("--curve", type=Path, required=True, help="training metrics by step (JSON lines)")
    parser.add_argument("--output", type=Path, required=True, help="scores to write (JSON)")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    args = parser.parse_args(argv)

    curve = read_jsonl(args.curve, gaps=True)
    if not curve:
        raise UserError(f"{args.curve}: no training steps")
    named = {name: str(step) for name, step in parse_named_files(args.steps, "--steps").items()}
    checkpoints = parse_named_files(args.checkpoints, "--checkpoints")
    if set(named) != set(checkpoints) or not all(step.isdigit() for step in named.values()):
        raise UserError(f"--steps {' '.join(args.steps)}: expected one number for each of --checkpoints")
    before, after = parse_named_files([args.before], "--before"), parse_named_files([args.after], "--after")
    steps = {
        **dict.fromkeys(before, 0),
        **{name: int(step) for name, step in named.items()},
        **dict.fromkeys(after, int(curve[-1]["step"])),
    }
    translations = before | checkpoints | after
    systems = read_translation_systems(
        args.reference,
        {name: translations[name] for name in sorted(translations, key=lambda name: steps[name])},
        parse_named_files(args.segment_scores, "--segment-scores"),
    )
    document = scores_document("translation", args.reference, systems, Bootstrap(args.samples, args.seed))
    for system in document["systems"]:
        step = steps[system["name"]]
        system |= {"step": step, "training": training_metrics(curve, step)}
    write_json(args.output, {"stage": COMPARED["translation"][-1], "window": _WINDOW, **document})


def training_metrics(curve: Sequence[Mapping[str, Any]], step: int) -> dict[str, float | None]:
    """Means of training metrics over the last steps up to this one; None before the first step."""
    rows = [row for row in curve if step - _WINDOW < row["step"] <= step]
    values = {name: [row[key] for row in rows if row.get(key) is not None] for name, key in _TRAINING.items()}
    return {name: fmean(found) if found else None for name, found in values.items()}


if __name__ == "__main__":
    run_main(main)
