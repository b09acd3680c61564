"""Translate a translation test set."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from grrm.files import write_jsonl
from grrm.inference import Decoding, origin, translate
from grrm.process import run_main
from grrm.prompts import TRANSLATION_KINDS, load_translation_prompt
from grrm.schemas import read_table


def main(argv: list[str] | None = None) -> None:
    """Write one translation per segment, in the order of the test set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder of the translation model")
    parser.add_argument("--input", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument("--prompt", type=Path, required=True, help="translation prompt (YAML)")
    parser.add_argument("--output", type=Path, required=True, help="translations to write (JSON lines)")
    parser.add_argument("--max-new-tokens", type=int, required=True, help="longest answer")
    parser.add_argument("--batch-size", type=int, default=32, help="segments a batch (default: 32)")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 is greedy (default)")
    parser.add_argument("--seed", type=int, default=0, help="of sampling (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    prompt = load_translation_prompt(args.prompt, *TRANSLATION_KINDS)
    rows = read_table(args.input, "translation_test").select(["src_text", "src_lang", "trg_lang"]).to_pylist()
    decoding = Decoding(args.max_new_tokens, args.temperature, args.seed)
    results = translate(args.model, rows, prompt, decoding, batch_size=args.batch_size, threads=args.threads)
    made_by = origin(args.model, decoding)
    write_jsonl(
        args.output,
        (
            {"index": index, **row, **asdict(result), **made_by}
            for index, (row, result) in enumerate(zip(rows, results, strict=True))
        ),
    )
    print(
        f"{sum(result.translation is not None for result in results)} of {len(results)} answers "
        "hold a translation"
    )


if __name__ == "__main__":
    run_main(main)
