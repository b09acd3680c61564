"""Let a judge compare the translations of several models, segment by segment, for the report."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from grrm.inference import open_backend
from grrm.inference.journal import Journal, rows_digest
from grrm.inference.options import (
    add_decoding_options,
    add_engine_options,
    add_stale_option,
    decoding_of,
    engine_of,
    retries_of,
)
from grrm.inference.progress import Progress
from grrm.inference.runs import CandidateOrder, provenance, rank_rows, settings
from grrm.metrics.scores import parse_named_files, read_answers
from grrm.process import run_main
from grrm.prompts import check_columns, load_ranking_prompt
from grrm.schemas import read_table

# `scores` are in the order of the sample's candidates; the labels of `answer` in the order in which the judge
# saw them: `candidate_order[p]` is the candidate at position p.
JUDGEMENT = ("answer", "scores", "failure", "detail", "candidate_order")


def main(argv: list[str] | None = None) -> None:
    """Write the first segments of a test set with all translations and what the judge says about them.

    It sees the translations of each segment in an order that the seed shuffles.
    """
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
    add_decoding_options(parser)
    add_engine_options(parser)
    add_stale_option(parser)
    args = parser.parse_args(argv)

    test_set = read_table(args.reference, "translation_test").to_pylist()
    sources = [row["src_text"] for row in test_set]
    answers = {
        name: read_answers(path, sources, args.reference)[0]
        for name, path in parse_named_files(args.translations, "--translations").items()
    }
    prompt = load_ranking_prompt(args.prompt)
    further = sorted(prompt.columns - {"src_text", "src_lang", "trg_lang"})
    check_columns(args.prompt, further, test_set[0])
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
    rows = [
        {
            **{key: test_set[i][key] for key in ("src_text", "src_lang", "trg_lang", *further)},
            "mt_texts": sample["candidates"],
        }
        for i, sample in enumerate(samples)
        if len(sample["candidates"]) > 1
    ]
    decoding, retries = decoding_of(args), retries_of(args)
    with closing(open_backend(args.model, engine_of(args))) as backend:
        # A judge may favour a position: neither model's translations stand at the same one.
        order: CandidateOrder = "shuffled"
        made_from = settings(
            "judge", backend, rows, prompt, decoding, retries, 1,
            samples=rows_digest(samples), candidate_order=order,
        )  # fmt: skip
        with (
            Journal(args.output, made_from, 1, len(rows), discard_stale=args.discard_stale) as journal,
            Progress(journal.total) as progress,
        ):
            if journal.finished:
                print(f"{args.output}: complete")
                return
            tally = rank_rows(
                backend, rows, prompt, decoding, journal,
                retries=retries, candidate_order=order, watch=progress,
            )  # fmt: skip
            for sample, result in zip(judged, journal.results(), strict=True):
                sample["judgement"] = {key: result[key] for key in JUDGEMENT}
            made_by = {f"judge_{key}": value for key, value in provenance(backend, decoding).items()}
            journal.publish({"index": i, **_filled(sample), **made_by} for i, sample in enumerate(samples))
    print(tally)


def _filled(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample with fewer than two different translations has no judgement: there is nothing to compare."""
    return {**sample, "judgement": sample.get("judgement")}


if __name__ == "__main__":
    run_main(main)
