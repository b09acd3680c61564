"""Look whether an experiment can run before anything is submitted: cluster, GPUs, disk, hub, environments."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from grrm.config import load_experiment
from grrm.files import UserError, write_json
from grrm.json_text import parse_json
from grrm.preflight.checks import check_experiment, jobs_of
from grrm.preflight.findings import failures, format_table
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Print the table of all findings; a failure among them is an error."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog="environment: HF_TOKEN, HF_ENDPOINT, HF_HUB_OFFLINE, CUDA_VISIBLE_DEVICES"
    )
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[],
        metavar="FILE",
        help="laid over config/config.yaml and config/cluster.yaml in this order; - is standard input",
    )
    parser.add_argument("--overlay", type=parse_json, default={}, help="keys laid over them, as JSON")
    parser.add_argument(
        "--slurm", action="store_true", help="Slurm runs the jobs; without it everything runs here"
    )
    parser.add_argument(
        "--rules",
        nargs="*",
        metavar="RULE",
        help="whose jobs are to run (default: all that the experiment comes to)",
    )
    parser.add_argument(
        "--trained",
        nargs="*",
        metavar="MODEL",
        help="what is to be made by a training (default: all models that are not there yet)",
    )
    parser.add_argument("--software", choices=["uv", "conda", "apptainer"], default="uv", help="default: uv")
    parser.add_argument("--workflow", type=Path, default=Path(), help="its folder (default: this one)")
    parser.add_argument("--output", type=Path, help="the findings to write (JSON), if none is a failure")
    args = parser.parse_args(argv)

    overlays = [Path("/dev/stdin") if str(path) == "-" else path for path in args.config]
    config = load_experiment(args.workflow, overlays, args.overlay)
    jobs = jobs_of(config, args.workflow, args.rules)
    findings = check_experiment(
        config, args.workflow, software=args.software, jobs=jobs, slurm=args.slurm, trained=args.trained
    )
    print(format_table(findings), flush=True)
    if broken := failures(findings):
        raise UserError(
            f"{len(broken)} of {len(findings)} checks failed, first {broken[0].check}: {broken[0].found}"
            "; the table above says what to do about each"
        )
    if args.output:
        write_json(args.output, {"findings": [asdict(finding) for finding in findings]})


if __name__ == "__main__":
    run_main(main)
