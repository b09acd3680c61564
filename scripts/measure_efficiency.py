"""Reckon what an experiment took on its GPUs, beside what was forecast."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.config import load_experiment
from grrm.files import write_json
from grrm.json_text import parse_json
from grrm.process import run_main
from grrm.report.efficiency import efficiency_of, format_efficiency


def main(argv: list[str] | None = None) -> None:
    """Write the numbers (JSON) and print them as a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, nargs="*", default=[], help="laid over config/config.yaml")
    parser.add_argument("--overlay", type=parse_json, default={}, help="keys laid over them, as JSON")
    parser.add_argument("--workflow", type=Path, default=Path(), help="its folder (default: this one)")
    parser.add_argument("--output", type=Path, required=True, help="numbers to write (JSON)")
    args = parser.parse_args(argv)

    found = efficiency_of(load_experiment(args.workflow, args.config, args.overlay), args.workflow)
    write_json(args.output, found)
    print(format_efficiency(found))


if __name__ == "__main__":
    run_main(main)
