"""Render Snakemake's own report of a finished experiment, as one HTML file or as an archive."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from grrm.files import UserError, atomic_path
from grrm.process import run_engine, run_main


def main(argv: list[str] | None = None) -> None:
    """Run `snakemake --report` for the given targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, required=True, help="the resolved configuration")
    parser.add_argument("--targets", nargs="+", required=True, help="files the report shows")
    parser.add_argument(
        "--output", type=Path, nargs="+", required=True, help="reports to write (.html, .zip)"
    )
    args = parser.parse_args(argv)

    for output in args.output:
        render(args.targets, args.configfile, output)


def render(targets: Sequence[str], configfile: Path, output: Path) -> None:
    """Write one report; Snakemake chooses its form by the suffix, the folder in an archive by the name."""
    with atomic_path(output) as partial, TemporaryDirectory(suffix=".tmp", dir=partial.parent) as folder:
        page = Path(folder) / output.name
        # No lock: the workflow that called this holds it.
        command = [sys.executable, "-m", "snakemake", *targets, "--configfile", str(configfile)]
        if run_engine([*command, "--nolock", "--report", str(page)]) != 0:
            raise UserError("snakemake --report failed; its reason stands above in this log")
        page.rename(partial)


if __name__ == "__main__":
    run_main(main)
