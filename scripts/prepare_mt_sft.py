"""Prepare the supervised finetuning of the MT model: prompts, and responses that reason first, as chats."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from grrm.data.named_columns import add_columns, columns_named
from grrm.data.sft_rows import Row, prepared_rows, scoring_chats, translation_chat, with_translation
from grrm.files import write_jsonl
from grrm.process import run_main
from grrm.prompts import check_columns, load_pointwise_prompt, load_translation_prompt
from grrm.schemas import BadRows, read_batches


def main(argv: list[str] | None = None) -> None:
    """Write one JSON line of messages for each row of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, required=True, help="mt_sft table")
    parser.add_argument("--output", type=Path, required=True, help="prepared rows (JSON lines of messages)")
    parser.add_argument("--prompt", type=Path, required=True, help="prompt file of the translation task")
    parser.add_argument("--bad-rows", choices=["error", "drop"], default="error", help="default: error")
    parser.add_argument(
        "--judged",
        type=Path,
        nargs=2,
        metavar=("TABLE", "PROMPT"),
        help="grrm_sft table and prompt of kind sqm: its candidates are scored in further rows",
    )
    add_columns(parser, "response")
    args = parser.parse_args(argv)

    prompt = load_translation_prompt(args.prompt)

    def prepare(row: Row) -> Row:
        check_columns(args.prompt, prompt.columns, row)
        return translation_chat(with_translation(row), prompt)

    tables = read_batches(args.input, "mt_sft", args.bad_rows, columns_named(args))
    rows = prepared_rows(tables, prepare, args.input, args.bad_rows)
    judged = _judged(args.judged, args.bad_rows) if args.judged else ()
    print(f"{args.output}: {write_jsonl(args.output, chain(rows, judged))} rows")


def _judged(files: tuple[Path, Path], bad_rows: BadRows) -> Iterator[Row]:
    """Every candidate of the groups in a table, with its score; files are the table and the prompt."""
    table, file = files
    prompt = load_pointwise_prompt(file)
    for batch in read_batches(table, "grrm_sft", bad_rows):
        for row in batch.to_pylist():
            yield from scoring_chats(row, prompt)


if __name__ == "__main__":
    run_main(main)
