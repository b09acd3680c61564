"""Score translations of a test set (BLEU, chrF++, COMET, format), with intervals and paired differences."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_json, write_json
from grrm.metrics.bootstrap import Bootstrap, Stratum, mean
from grrm.metrics.scores import (
    Metric,
    System,
    answers_origin,
    parse_named_files,
    read_answers,
    scores_document,
)
from grrm.metrics.translation import score_translations
from grrm.process import run_main
from grrm.schemas import read_table


def main(argv: list[str] | None = None) -> None:
    """Write the scores of all models; the first is the baseline of the differences."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reference", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--translations",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="translations of each model, written by translate_segments; the first is the baseline",
    )
    parser.add_argument(
        "--comet", type=Path, help="segment scores of the same models, written by score_comet"
    )
    parser.add_argument("--output", type=Path, required=True, help="scores to write (JSON)")
    parser.add_argument("--samples", type=int, default=1000, help="bootstrap samples (default: 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    args = parser.parse_args(argv)

    columns = ["src_text", "trg_text", "src_lang", "trg_lang"]
    test_set = read_table(args.reference, "translation_test").select(columns).to_pylist()
    bootstrap = Bootstrap(args.samples, args.seed)
    comet = read_json(args.comet) if args.comet else None
    systems = []
    for name, path in parse_named_files(args.translations, "--translations").items():
        answers = read_answers(path, [row["src_text"] for row in test_set], args.reference)
        segment_scores = _comet_scores(comet, name, path, len(test_set), args.comet) if comet else None
        systems.append(_system(name, path, test_set, answers, segment_scores, bootstrap))
    write_json(args.output, scores_document("translation", args.reference, systems, bootstrap))


def _system(
    name: str,
    path: Path,
    test_set: Sequence[dict[str, Any]],
    answers: Sequence[dict[str, Any]],
    comet: tuple[list[float], str] | None,
    bootstrap: Bootstrap,
) -> System:
    """Scores over all language directions: the unweighted mean of the directions, each with its own
    tokeniser."""
    directions: dict[tuple[str, str], list[int]] = {}
    for i, row in enumerate(test_set):
        directions.setdefault((row["src_lang"], row["trg_lang"]), []).append(i)
    by_direction: dict[str, dict[str, tuple[Stratum, str]]] = {}
    for (src_lang, trg_lang), members in sorted(directions.items()):
        metrics = score_translations(
            [answers[i]["translation"] for i in members], [test_set[i]["trg_text"] for i in members], trg_lang
        )
        if comet:
            scores, signature = comet
            metrics["comet"] = (mean([scores[i] for i in members]), signature)
        by_direction[f"{src_lang}-{trg_lang}"] = metrics
    details = {}
    if len(by_direction) > 1:
        details["directions"] = {
            direction: {
                metric: {**asdict(bootstrap.estimate(stratum)), "signature": signature}
                for metric, (stratum, signature) in metrics.items()
            }
            for direction, metrics in by_direction.items()
        }
    return System(
        name,
        answers_origin(path, answers),
        len(answers),
        [answer["failure"] for answer in answers if answer["translation"] is None],
        {
            metric: Metric(
                [metrics[metric][0] for metrics in by_direction.values()],
                " + ".join(dict.fromkeys(metrics[metric][1] for metrics in by_direction.values())),
            )
            for metric in next(iter(by_direction.values()))
        },
        details,
    )


def _comet_scores(
    document: dict[str, Any], name: str, path: Path, n: int, file: Path
) -> tuple[list[float], str]:
    system = document.get("systems", {}).get(name)
    if system is None:
        raise UserError(f"{file}: no COMET scores of {name!r}; give score_comet {name}={path} too")
    if len(system["scores"]) != n:
        raise UserError(
            f"{file}: {len(system['scores'])} COMET scores of {name!r} for {n} segments; score again"
        )
    return system["scores"], document["signature"]


if __name__ == "__main__":
    run_main(main)
