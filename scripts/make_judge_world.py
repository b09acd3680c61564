"""Make the toy data of judges: translations of a synthetic language pair to grade, compare and prefer."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.judge_data import write_records
from grrm.data.toy_judges import make_judge_tables
from grrm.json_text import parse_json
from grrm.judges.prompts import load_judge_prompt
from grrm.process import run_main


def main(argv: list[str] | None = None) -> None:
    """Write <output-folder>/<table>.jsonl for every table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output-folder", type=Path, required=True, help="where the tables go")
    parser.add_argument("--rows", type=parse_json, help="rows of each table by its name, as JSON")
    parser.add_argument("--pointwise-prompt", required=True, help="prompt of demonstrations that grade")
    parser.add_argument("--pairwise-prompt", required=True, help="prompt of demonstrations that compare")
    parser.add_argument("--seed", type=int, default=0, help="seed of the data; the language stays the same")
    args = parser.parse_args(argv)

    tables = make_judge_tables(
        args.seed,
        load_judge_prompt(args.pointwise_prompt, "judge_pointwise"),
        load_judge_prompt(args.pairwise_prompt, "judge_pairwise"),
        args.rows,
    )
    for table, records in tables.items():
        path = args.output_folder / f"{table}.jsonl"
        print(f"{path}: {write_records(path, records)} rows")


if __name__ == "__main__":
    run_main(main)
