"""Sum up an alignment: validation before and after, what the judge was asked, and how the steps went."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from grrm.files import UserError, read_json, read_jsonl, write_json
from grrm.metrics.proportion import wilson
from grrm.process import run_main

# Of every step, as `grrm.rewards.step_metrics` names them.
_STEP_METRICS = (
    *("judge_score", "chosen_score", "above_chosen", "valid", "judge_failed", "judgement_failure_rate"),
    *("conflicts", "position_bias", "inconsistent", "zero_variance_groups"),
)
_VALIDATION = ("val-core", "val-aux")


def main(argv: list[str] | None = None) -> None:
    """Write one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--curve", type=Path, required=True, help="metrics of every step, by train_rl")
    parser.add_argument("--judge-calls", type=Path, required=True, help="totals of the calls, by train_rl")
    parser.add_argument("--validation", type=Path, required=True, help="prepared rows of the validation")
    parser.add_argument("--kind", required=True, help="kind of the reward")
    parser.add_argument("--seed", type=int, required=True, help="seed of the experiment")
    parser.add_argument("--output", type=Path, required=True, help="summary to write (JSON)")
    args = parser.parse_args(argv)

    steps = read_jsonl(args.curve)
    n = pq.read_metadata(args.validation).num_rows
    validations = [found for row in steps if (found := validation(row, n)) is not None]
    trained = [row for row in steps if row["step"] > 0]
    if not trained:
        raise UserError(f"{args.curve}: no training step")
    write_json(
        args.output,
        {
            "kind": args.kind,
            "seed": args.seed,
            "steps": len(trained),
            "validation": validations,
            "training": {
                name: {"first": ends[0], "last": ends[1]}
                for name in _STEP_METRICS
                if (ends := [row.get(f"reward/{name}") for row in (trained[0], trained[-1])]) != [None, None]
            },
            "judge_calls": read_json(args.judge_calls),
        },
    )


def validation(row: dict[str, Any], n: int) -> dict[str, Any] | None:
    """The means over the held-out rows at a step, by verl's names val-.../<source>/<figure>/mean@1.

    Where there are several sources, the unweighted mean of them. The share above the chosen response comes
    with its 95 % interval (Wilson).
    """
    found: dict[str, list[float]] = {}
    for key, value in row.items():
        parts = key.split("/")
        if value is not None and parts[0] in _VALIDATION and len(parts) == 4 and parts[3].startswith("mean@"):
            found.setdefault(parts[2], []).append(float(value))
    if not found:
        return None
    means = {name: sum(values) / len(values) for name, values in found.items()}
    result: dict[str, Any] = {"step": row["step"], "n": n}
    result |= {
        name: means[name] for name in ("reward", "judge_score", "chosen_score", "valid") if name in means
    }
    if "above_chosen" in means:
        low, high = wilson(means["above_chosen"], n)
        result["above_chosen"] = {"value": means["above_chosen"], "low": low, "high": high}
    return result


if __name__ == "__main__":
    run_main(main)
