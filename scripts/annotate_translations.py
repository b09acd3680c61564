"""Let a teacher analyse and translate sources; what passes the checks is for the SFT of the translator."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from grrm.annotation.asked import Files, open_asked
from grrm.annotation.candidates import sample_pairs
from grrm.annotation.program import (
    add_common_options,
    check_kept,
    concluded,
    read_settings,
    sorted_out,
)
from grrm.annotation.translations import Translated, record_of, translate_pairs, translation_row
from grrm.files import write_json, write_jsonl
from grrm.process import run_main
from grrm.prompts import check_columns, load_translation_prompt
from grrm.schemas import read_table, write_table


def main(argv: list[str] | None = None) -> None:
    """Write the kept translations as a table, all answers as JSON lines, and their statistics."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=Path, required=True, help="table of pairs (parquet)")
    parser.add_argument("--prompt", type=Path, required=True, help="translation prompt (YAML)")
    parser.add_argument("--output", type=Path, required=True, help="table of translations to write (parquet)")
    parser.add_argument("--answers", type=Path, required=True, help="all answers, to write (JSON lines)")
    parser.add_argument("--quality", type=Path, required=True, help="statistics to write (JSON)")
    add_common_options(parser, "section teacher of the configuration")
    args = parser.parse_args(argv)

    settings = read_settings(args.settings)
    checks = settings["translations"]
    rows = sample_pairs(read_table(args.pairs, "pairs").to_pylist(), checks["rows"], args.seed)
    prompt = load_translation_prompt(args.prompt)
    check_columns(args.prompt, prompt.columns, rows[0])
    kept: list[Translated] = []
    dropped: Counter[str] = Counter()
    files = Files(args.journal, "translations")
    # A budget of its own: both rules may run at once.
    asked_as = {**settings, "budget": checks["budget"]}
    with open_asked(asked_as, files, args.seed, gpus=settings["gpus"], threads=args.threads) as asked:
        translated = translate_pairs(asked, rows, prompt, checks, args.seed)
        write_jsonl(args.answers, map(record_of, sorted_out(translated, kept, dropped)))
        key = "teacher.translations.budget"
        found = concluded(asked, len(kept), dropped, settings["max_failure_share"], key)
        made_by = dict(asked.made_by)
    check_kept(found, args.pairs, "translation", args.answers)
    write_table(args.output, [translation_row(one, made_by) for one in kept], "cot")
    write_json(args.quality, {"task": "translations", **found})
    print(f"{args.output}: {len(kept)} translations")


if __name__ == "__main__":
    run_main(main)
