"""Prepare the supervised finetuning of the GRRM: ranking prompts and the annotator's answers, as chats."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.data.named_columns import add_columns, columns_named
from grrm.data.sft_rows import Row, prepared_rows, ranking_chat
from grrm.files import write_jsonl
from grrm.process import run_main
from grrm.prompts import check_columns, load_ranking_prompt
from grrm.schemas import read_batches


def main(argv: list[str] | None = None) -> None:
    """Write one JSON line of messages for each row of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="grrm_sft table")
    parser.add_argument("--output", type=Path, required=True, help="prepared rows (JSON lines of messages)")
    parser.add_argument("--prompt", type=Path, required=True, help="prompt file of the ranking task")
    parser.add_argument(
        "--semantics", choices=["strict", "paper"], default="strict", help="paper: answers as published"
    )
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    add_columns(parser, "mt_texts", "scores", "analysis")
    args = parser.parse_args(argv)

    prompt = load_ranking_prompt(args.prompt)

    def prepare(row: Row) -> Row:
        check_columns(args.prompt, prompt.columns, row)
        return ranking_chat(row, prompt, args.semantics)

    tables = read_batches(args.input, "grrm_sft", args.bad_rows, columns_named(args))
    rows = prepared_rows(tables, prepare, args.input, args.bad_rows)
    print(f"{args.output}: {write_jsonl(args.output, rows)} rows")


if __name__ == "__main__":
    run_main(main)
