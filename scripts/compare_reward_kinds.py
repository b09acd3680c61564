"""Put kinds of reward side by side: scores of the models trained with each, and what the training cost."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grrm.catalogue.trainings import COMPARED
from grrm.files import UserError, read_json, read_jsonl, write_json
from grrm.metrics.scores import parse_named_files
from grrm.process import run_main

_BASELINE, _ = COMPARED["translation"]
# Means over the steps of a training, by the names of verl and of `grrm.rewards.step_metrics`.
_TRAINING = {
    "seconds_per_step": "timing_s/step",
    "valid": "reward/valid",
    "judge_failed": "reward/judge_failed",
    "judgement_failure_rate": "reward/judgement_failure_rate",
    "zero_variance_groups": "reward/zero_variance_groups",
    "position_bias": "reward/position_bias",
    "conflicts": "reward/conflicts",
}


def main(argv: list[str] | None = None) -> None:
    """Write one JSON document (docs/rewards.md)."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=Path, required=True, help="scores written by score_translations")
    parser.add_argument(
        "--runs", nargs="+", required=True, metavar="KIND=RUN", help="training of each kind of reward"
    )
    parser.add_argument("--curves", type=Path, required=True, help="folder of the trainings' curves")
    parser.add_argument("--seed", type=int, required=True, help="seed of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="comparison to write (JSON)")
    args = parser.parse_args(argv)

    scores = read_json(args.scores)
    systems = {system["name"]: system for system in scores["systems"]}
    differences = {
        (difference["baseline"], difference["system"]): difference["metrics"]
        for difference in scores["differences"]
    }
    runs = {kind: str(run) for kind, run in parse_named_files(args.runs, "--runs").items()}
    if missing := [name for name in (_BASELINE, *runs.values()) if name not in systems]:
        raise UserError(f"{args.scores}: no scores of {', '.join(missing)}; score their translations too")
    first = next(iter(runs.values()))
    write_json(
        args.output,
        {
            "seed": args.seed,
            "data": scores["data"],
            "bootstrap": scores["bootstrap"],
            "baseline": _scored(systems[_BASELINE]),
            "kinds": [
                {
                    "kind": kind,
                    **_scored(systems[run]),
                    "difference": differences[_BASELINE, run],
                    "to_first": differences.get((first, run)),
                    "training": training(args.curves / f"{run}.jsonl"),
                    "judge_calls": read_json(args.curves / f"{run}.judge_calls.json"),
                }
                for kind, run in runs.items()
            ],
        },
    )


def _scored(system: dict[str, Any]) -> dict[str, Any]:
    return {key: system[key] for key in ("name", "model", "weights", "n", "failures", "metrics")}


def training(curve: Path) -> dict[str, Any]:
    """Number of steps, the reward at the first and the last, and means over the steps of what was logged."""
    steps = [row for row in read_jsonl(curve, gaps=True) if row["step"] > 0]
    if not steps:
        raise UserError(f"{curve}: no training step")
    rewards = [row["critic/score/mean"] for row in steps]
    means = {
        name: sum(values) / len(values)
        for name, key in _TRAINING.items()
        if (values := [row[key] for row in steps if row.get(key) is not None])
    }
    return {"steps": len(steps), "reward": {"first": rewards[0], "last": rewards[-1]}, **means}


if __name__ == "__main__":
    run_main(main)
