"""Translate a translation test set."""

from __future__ import annotations

import argparse
from pathlib import Path

from grrm.inference.runs import translate_rows
from grrm.inference.whole_sets import add_common_options, answer_all
from grrm.process import run_main
from grrm.prompts import find_translation_prompt
from grrm.schemas import select_columns


def main(argv: list[str] | None = None) -> None:
    """Write one translation per segment and run, in the order of runs and of the test set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="model folder of the translation model")
    parser.add_argument("--input", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument("--prompt", required=True, help="translation prompt (YAML)")
    parser.add_argument("--output", type=Path, required=True, help="translations to write (JSON lines)")
    add_common_options(parser)
    args = parser.parse_args(argv)

    prompt = find_translation_prompt(args.prompt)
    columns = ["src_text", "src_lang", "trg_lang"]
    rows = select_columns(args.input, "translation_test", columns, args.prompt, prompt.columns)
    answer_all(args, "translate", rows, prompt, translate_rows)


if __name__ == "__main__":
    run_main(main)
