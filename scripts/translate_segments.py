"""Translate a translation test set."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from grrm.inference import open_backend
from grrm.inference.journal import Journal
from grrm.inference.options import (
    add_decoding_options,
    add_engine_options,
    add_stale_option,
    decoding_of,
    engine_of,
    retries_of,
)
from grrm.inference.progress import Progress
from grrm.inference.runs import settings, translate_rows
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
    add_decoding_options(parser)
    add_engine_options(parser)
    add_stale_option(parser)
    args = parser.parse_args(argv)

    prompt = find_translation_prompt(args.prompt)
    columns = ["src_text", "src_lang", "trg_lang"]
    rows = select_columns(args.input, "translation_test", columns, args.prompt, prompt.columns)
    decoding, retries = decoding_of(args), retries_of(args)
    with closing(open_backend(args.model, engine_of(args))) as backend:
        made_from = settings("translate", backend, rows, prompt, decoding, retries, args.runs)
        with (
            Journal(
                args.output, made_from, args.runs, len(rows), discard_stale=args.discard_stale
            ) as journal,
            Progress(journal.total) as progress,
        ):
            tally = translate_rows(backend, rows, prompt, decoding, journal, retries=retries, watch=progress)
            journal.publish()
    print(tally)


if __name__ == "__main__":
    run_main(main)
