"""Let a judge compare the translations of several models, segment by segment, for the report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from grrm.files import write_jsonl
from grrm.inference import Decoding, origin, rank
from grrm.metrics.scores import parse_named_files, read_answers
from grrm.process import run_main
from grrm.prompts import load_ranking_prompt
from grrm.schemas import read_table


def main(argv: list[str] | None = None) -> None:
    """Write the first segments of a test set with all translations and what the judge says about them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="model folder of the judge")
    parser.add_argument("--reference", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--translations",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="translations of each model, written by translate_segments",
    )
    parser.add_argument("--prompt", type=Path, required=True, help="ranking prompt (YAML)")
    parser.add_argument("--output", type=Path, required=True, help="judged samples to write (JSON lines)")
    parser.add_argument("--limit", type=int, default=20, help="segments, from the first on (default: 20)")
    parser.add_argument("--max-new-tokens", type=int, required=True, help="longest answer")
    parser.add_argument("--batch-size", type=int, default=32, help="segments a batch (default: 32)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default: 1)")
    args = parser.parse_args(argv)

    test_set = read_table(args.reference, "translation_test").to_pylist()
    sources = [row["src_text"] for row in test_set]
    answers = {
        name: read_answers(path, sources, args.reference)[0]
        for name, path in parse_named_files(args.translations, "--translations").items()
    }
    samples = []
    for i, row in enumerate(test_set[: args.limit]):
        translations = {name: answers[name][i]["translation"] for name in answers}
        samples.append(
            {
                **{key: row[key] for key in ("src_text", "trg_text", "src_lang", "trg_lang")},
                "raw": {name: answers[name][i]["raw"] for name in answers},
                "translations": translations,
                # The judge sees different translations only; equal ones share what it says.
                "candidates": list(dict.fromkeys(text for text in translations.values() if text is not None)),
            }
        )
    judged = [sample for sample in samples if len(sample["candidates"]) > 1]
    decoding = Decoding(args.max_new_tokens)
    results = rank(
        args.model,
        [{**sample, "mt_texts": sample["candidates"]} for sample in judged],
        load_ranking_prompt(args.prompt),
        decoding,
        batch_size=args.batch_size,
        threads=args.threads,
    )
    for sample, result in zip(judged, results, strict=True):
        sample["judgement"] = {
            "answer": result.answer,
            "scores": result.scores,
            "failure": result.failure,
            "detail": result.detail,
        }
    made_by = {f"judge_{key}": value for key, value in origin(args.model, decoding).items()}
    write_jsonl(args.output, ({"index": i, **_filled(sample), **made_by} for i, sample in enumerate(samples)))
    print(f"{sum(result.scores is not None for result in results)} of {len(judged)} judgements are valid")


def _filled(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample with fewer than two different translations has no judgement: there is nothing to compare."""
    return {**sample, "judgement": sample.get("judgement")}


if __name__ == "__main__":
    run_main(main)
