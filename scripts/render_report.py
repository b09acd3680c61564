"""Render Snakemake's own report of a finished experiment as one HTML file."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from grrm.files import UserError, atomic_path
from grrm.process import run_engine, run_main


def main(argv: list[str] | None = None) -> None:
    """Run `snakemake --report` for the given targets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configfile", type=Path, required=True, help="the resolved configuration")
    parser.add_argument("--targets", nargs="+", required=True, help="files the report shows")
    parser.add_argument("--output", type=Path, required=True, help="report to write (.html or .zip)")
    args = parser.parse_args(argv)

    with atomic_path(args.output) as partial:
        # Snakemake chooses the form of the report by its suffix.
        page = partial.with_suffix(f".tmp{args.output.suffix}")
        # No lock: the workflow that called this holds it.
        command = [sys.executable, "-m", "snakemake", *args.targets, "--configfile", str(args.configfile)]
        try:
            if run_engine([*command, "--nolock", "--report", str(page)]) != 0:
                raise UserError("snakemake --report failed; its reason stands above in this log")
            page.rename(partial)
        finally:
            page.unlink(missing_ok=True)


if __name__ == "__main__":
    run_main(main)
