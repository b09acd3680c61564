"""Write what a rehearsal found, as far as it came, and what the experiment will take by it."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.config import load_experiment
from grrm.files import write_text
from grrm.json_text import parse_json
from grrm.process import run_main
from grrm.report.pace import expectations
from grrm.report.rehearsal import page, read_outcomes


def main(argv: list[str] | None = None) -> None:
    """Write the page and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        required=True,
        help="laid over config/config.yaml; - is standard input",
    )
    parser.add_argument("--overlay", type=parse_json, default={}, help="keys laid over them, as JSON")
    parser.add_argument("--workflow", type=Path, default=Path(), help="its folder (default: this one)")
    parser.add_argument("--folder", type=Path, required=True, help="of the rehearsal")
    parser.add_argument("--output", type=Path, required=True, help="page to write (Markdown)")
    args = parser.parse_args(argv)

    overlays = [Path("/dev/stdin") if str(path) == "-" else path for path in args.config]
    config = load_experiment(args.workflow, overlays, args.overlay)
    expected = expectations(config, args.workflow)
    text = page(config, read_outcomes(args.folder, expected), expected)
    write_text(args.output, text)
    print(text)


if __name__ == "__main__":
    run_main(main)
