"""Write the resolved configuration of an experiment, ready to be used again with --configfile."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from grrm.files import write_text
from grrm.json_text import parse_json
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write the configuration as YAML."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=parse_json, required=True, help="the configuration as JSON")
    parser.add_argument("--output", type=Path, required=True, help="configuration to write (YAML)")
    args = parser.parse_args(argv)
    write_text(args.output, yaml.safe_dump(args.config, sort_keys=False, allow_unicode=True))


if __name__ == "__main__":
    run_main(main)
