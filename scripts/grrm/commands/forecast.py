"""`grrm forecast`: what an experiment will take, before anything is submitted."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.commands.experiment import add_options, configuration
from grrm.config.rewards import rewarded_trainings
from grrm.files import UserError
from grrm.preflight.annotated_work import annotation_questions, format_questions
from grrm.preflight.forecast import (
    forecast_experiment,
    format_forecast,
    load_assumptions,
    source_tables,
)
from grrm.preflight.judged_work import format_judged, judge_calls, other_trainings, runs_of
from grrm.preflight.placement import format_placements, judged_runs

HELP = "rows, steps, GPU-hours and disk of an experiment, before anything is submitted"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Its options."""
    add_options(parser)
    parser.add_argument(
        "--target",
        nargs="+",
        default=[],
        help="only what is needed for these trainings, such as alignment_grpo (default: all of it)",
    )
    parser.add_argument("--assumptions", type=Path, help="default: config/forecast.yaml of the workflow")


def run(args: argparse.Namespace) -> None:
    """Print the forecast."""
    config = configuration(args)
    assumptions = load_assumptions(args.assumptions or args.workflow / "config/forecast.yaml")
    works = other_trainings(config, args.workflow, assumptions)
    runs = runs_of(config, works, args.target)
    if args.target and not runs:
        raise UserError(f"--target {' '.join(args.target)}: no training of this experiment is needed for it")
    works = [work for work in works if work.name in runs]
    stages = [
        stage for stage in forecast_experiment(config, args.workflow, assumptions) if stage.name in runs
    ]
    steps: dict[str, int | None] = {stage.name: round(stage.steps.high) for stage in stages}
    steps |= {work.name: work.steps for work in works}
    steps |= {
        run: steps.get(section) for run, section, _, _ in rewarded_trainings(config) if section in steps
    }
    texts = [format_forecast(config, stages, assumptions)] if stages or not works else []
    calls = judge_calls(config, steps, assumptions, runs, args.workflow)
    placed = judged_runs(config, steps, calls, assumptions, args.workflow)
    texts += filter(None, [format_judged(works, calls), format_placements(placed)])
    if config.get("teacher") is not None and not args.target:
        pairs = source_tables(config, assumptions, args.workflow)["mt_grpo"]
        texts.append(format_questions(annotation_questions(config, pairs, assumptions), pairs))
    print("\n\n".join(texts))
