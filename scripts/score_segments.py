"""Score translations of a test set, segment by segment: with a model, a judge or a function of one's own."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from grrm import catalogue
from grrm.catalogue.metrics import METRICS
from grrm.files import UserError
from grrm.json_text import parse_json
from grrm.metrics.segments import Given, Scored
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write one score per segment, run and model; a failed translation is scored as an empty one."""
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--metric",
        choices=[name for name, metric in METRICS.items() if metric.level == "segment"],
        help="a metric of grrm.catalogue.metrics",
    )
    which.add_argument(
        "--function", metavar="FILE:NAME", default="", help="Python function of a metric of one's own"
    )
    parser.add_argument(
        "--without-references",
        action="store_true",
        help="score segments without references too (--function; others know it of themselves)",
    )
    parser.add_argument("--model", type=Path, help="folder of the metric's checkpoint, if it has one")
    parser.add_argument("--settings", default="{}", help="options of the metric (JSON)")
    parser.add_argument("--reference", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--translations",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="translations of each model, written by translate_segments",
    )
    parser.add_argument("--output", type=Path, required=True, help="segment scores to write (JSON)")
    parser.add_argument("--batch-size", type=int, help="segments a batch (default: the metric's)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    try:
        options = parse_json(args.settings)
    except ValueError as error:
        raise UserError(f"--settings: not JSON ({error})") from error
    needs_reference = not (args.without_references if args.function else _does_without(args.metric, options))
    given = Given(
        args.reference,
        args.translations,
        model=args.model,
        options=options,
        function=args.function,
        # No declared output: what was answered before an interruption is not asked again.
        journal=args.output.with_suffix(".sqlite"),
        threads=args.threads,
        batch_size=args.batch_size,
        needs_reference=needs_reference,
    )
    os.environ["HF_HUB_OFFLINE"] = "1"
    score = "grrm.metrics.own:score" if args.function else METRICS[args.metric].score
    if needs_reference and not any(given.every.referenced):
        scored = Scored([], "none: no segment has a reference")
    else:
        scored = catalogue.resolve(score)(given)
    given.every.write(args.output, scored)
    print(
        f"{sum(score is not None for score in scored.scores)} of {len(scored.scores)} segments have a score"
    )


def _does_without(name: str, options: Mapping[str, Any]) -> bool:
    """Whether a metric scores segments without references."""
    metric = METRICS[name]
    return metric.scores_without_reference or bool(options.get(metric.without_reference))


if __name__ == "__main__":
    run_main(main)
