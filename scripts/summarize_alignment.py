"""Sum up an alignment: validation before and after, what the judge was asked, and how the steps went."""

from __future__ import annotations

import argparse
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from grrm.files import UserError, read_json, read_jsonl, write_json
from grrm.metrics.proportion import wilson
from grrm.process import run_main
from grrm.rewards.step_metrics import CONDITIONS

# Of every step, as `grrm.rewards.step_metrics` names them.
_STEP_METRICS = (
    *("judge_score", "chosen_score", "above_chosen", "valid", "judge_failed", "judgement_failure_rate"),
    *("conflicts", "position_bias", "inconsistent", "zero_variance_groups"),
)
# A source may hold strokes: "nvidia/HelpSteer2".
_VALIDATED = re.compile(r"val-(?:core|aux)/(.+)/([^/]+)/mean@\d+")


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

    steps = read_jsonl(args.curve, gaps=True)
    sources = pq.read_table(args.validation, columns=["data_source"])["data_source"].to_pylist()
    validations = [found for row in steps if (found := validation(row, Counter(sources))) is not None]
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


def validation(row: Mapping[str, Any], rows: Mapping[str, int]) -> dict[str, Any] | None:
    """The means over the held-out rows at a step, by verl's names val-.../<source>/<figure>/mean@1.

    A judge's figures are means over the rows that it judged, `above_chosen` and `chosen_score` over those in
    which it also judged the chosen response; without any they are left out. The share above the chosen
    response comes with its 95 % interval (Wilson) and the number of rows it is a share of.

    Args:
        row: metrics of the step.
        rows: of each source.

    Returns:
        the figures; None if nothing was validated at this step.

    Raises:
        UserError: a figure is of a source without rows.
    """
    sums: dict[str, float] = defaultdict(float)
    for key, value in row.items():
        if value is not None and (match := _VALIDATED.fullmatch(key)):
            source, figure = match.groups()
            if source not in rows:
                raise UserError(f"{key}: no validation row is of source {source}, only {', '.join(rows)}")
            sums[figure] += float(value) * rows[source]
    if not sums:
        return None
    n = sum(rows.values())
    result: dict[str, Any] = {"step": row["step"], "n": n}
    for figure in ("reward", "judge_score", "chosen_score", "valid", "judged", "compared", "above_chosen"):
        counted = sums[CONDITIONS[figure]] if figure in CONDITIONS else n
        if figure in sums and counted > 0:
            result[figure] = sums[figure] / counted
    if "above_chosen" in result:
        compared = max(1, round(sums["compared"]))
        share = min(1.0, result["above_chosen"])
        low, high = wilson(share, compared)
        result["above_chosen"] = {"value": share, "low": low, "high": high, "n": compared}
    return result


if __name__ == "__main__":
    run_main(main)
