"""Gather what an experiment found, what made it and how it compares with the paper into one summary."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from grrm import __version__
from grrm.catalogue.metrics import known_metrics
from grrm.data.datasets import load_lock
from grrm.files import UserError, read_json, read_yaml, write_text
from grrm.metrics.scores import parse_named_files
from grrm.process import run_main
from grrm.report.benchmarks import by_stage, read_benchmarks, with_used_gpu_hours
from grrm.report.curves import condense, read_curves
from grrm.report.hacking import by_step, compare_reward
from grrm.report.machine import machine
from grrm.report.pages import to_markdown
from grrm.report.reference import load_reference
from grrm.report.reproduction import compare_with_paper
from grrm.report.samples import read_samples
from grrm.report.summary import (
    check_summary,
    flatten_differences,
    flatten_scores,
    flatten_sets,
    not_run,
    positions,
    read_scores,
    reward_kinds,
    summary_page,
    to_json,
)

_CONFIG = Path(__file__).parents[1] / "config"
_SCHEMA = _CONFIG / "schemas/summary.schema.yaml"


def main(argv: list[str] | None = None) -> None:
    """Write the summary as JSON and as a page."""
    args = _arguments(argv)
    samples = read_samples(args.samples)
    summary = _gather(args, samples)
    summary["not_run"] = not_run(summary)
    check_summary(summary, _SCHEMA)
    write_text(args.output_markdown, to_markdown(summary_page(summary, samples)))
    write_text(args.output_json, to_json(summary))


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="resolved configuration (YAML)")
    parser.add_argument("--provenance", type=Path, required=True, help="folder written by write_provenance")
    parser.add_argument("--leakage", type=Path, required=True, help="what check_leakage found (JSON)")
    parser.add_argument("--ranking", type=Path, required=True, help="scores written by score_rankings")
    parser.add_argument(
        "--translation", type=Path, required=True, help="scores written by score_translations"
    )
    parser.add_argument("--curves", nargs="*", default=[], metavar="STAGE=FILE", help="training curves")
    parser.add_argument("--samples", type=Path, required=True, help="samples written by judge_translations")
    parser.add_argument(
        "--benchmarks", type=Path, required=True, help="folder of Snakemake's benchmark files"
    )
    parser.add_argument("--checkpoints", type=Path, help="scores written by score_checkpoints")
    parser.add_argument("--efficiency", type=Path, help="GPU-hours written by measure_efficiency")
    parser.add_argument("--reward-kinds", type=Path, help="comparison written by compare_reward_kinds")
    parser.add_argument(
        "--published",
        type=Path,
        default=_CONFIG / "reference_results.yaml",
        help="the paper's tables (default: config/reference_results.yaml)",
    )
    parser.add_argument("--output-json", type=Path, required=True, help="summary to write")
    parser.add_argument("--output-markdown", type=Path, required=True, help="the same as a page")
    return parser.parse_args(argv)


def _gather(args: argparse.Namespace, samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Everything that the summary holds but what it lacks."""
    config = _read_config(args.config)
    scores = {
        task: read_scores(path, task)
        for task, path in (("ranking", args.ranking), ("translation", args.translation))
    }
    judged = [sample["judgement"] for sample in samples if sample["judgement"]]
    benchmarks = read_benchmarks(args.benchmarks)
    hardware = config["hardware"]
    gpus = hardware["nodes"] * hardware["gpus_per_node"] if hardware["device"] == "cuda" else 0
    published = load_reference(args.published, _CONFIG / "schemas/reference_results.schema.yaml")
    documents = scores.values()
    records = [record for document in documents for record in flatten_scores(document)]
    differences = [record for document in documents for record in flatten_differences(document)]
    curves = {
        stage: [condense(curve) for curve in read_curves(path)]
        for stage, path in parse_named_files(args.curves, "--curves").items()
    }
    hacking = compare_reward(curves, differences, known_metrics(config))
    checkpoints = (
        by_step(_optional(args.checkpoints), records, curves[hacking["stage"]][0]["last_step"])
        if hacking
        else []
    )
    kinds, efficiency = _optional(args.reward_kinds), _optional(args.efficiency)
    stages = by_stage(benchmarks, gpus)
    return {
        "experiment": config["experiment"],
        "seed": config["seed"],
        "versions": {
            "grrm": __version__,
            "python": platform.python_version(),
            "sacrebleu": version("sacrebleu"),
        },
        "configuration": config,
        "provenance": _read_provenance(args.provenance),
        "hardware": {**hardware, "machine": machine()},
        "scores": records,
        "differences": differences,
        "by_set": [record for document in documents for record in flatten_sets(document)],
        "positions": [record for document in documents for record in positions(document)],
        "paper": compare_with_paper(published, config, scores),
        "leakage": _read_leakage(args.leakage),
        "curves": curves,
        "hacking": hacking,
        "checkpoints": checkpoints,
        "reward_kinds": kinds and reward_kinds(kinds),
        "efficiency": efficiency,
        "stages": with_used_gpu_hours(stages, efficiency) if efficiency else stages,
        "benchmarks": benchmarks,
        "samples": {
            "shown": len(samples),
            "judged": len(judged),
            "judge_failures": sum(judgement["scores"] is None for judgement in judged),
        },
    }


def _optional(path: Path | None) -> Any:
    return read_json(path) if path else None


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = read_yaml(path)
    except UserError as error:
        raise UserError(f"{error}; run write_config again") from error
    if not isinstance(config, dict) or not {"experiment", "seed", "hardware"} <= set(config):
        raise UserError(f"{path}: not a resolved configuration; run write_config again")
    return config


def _read_provenance(folder: Path) -> dict[str, Any]:
    """Code, driver and environments as write_provenance found them, and the revision of every data set."""
    found = read_json(folder / "provenance.json")
    lock = load_lock(folder / "datasets.lock.yaml")
    return {
        **found,
        "data": {name: {"origin": entry.origin, "revision": entry.revision} for name, entry in lock.items()},
    }


def _read_leakage(path: Path) -> Mapping[str, Any]:
    found = read_json(path)
    keys = ("settings", "passed", "overlaps", "tests")
    if not isinstance(found, dict) or not set(keys) <= set(found):
        raise UserError(f"{path}: not what check_leakage writes; run it again")
    return {key: found[key] for key in keys}


if __name__ == "__main__":
    run_main(main)
