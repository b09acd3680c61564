"""What metrics that are models themselves (COMET, BLEURT, an LLM...) see, and the file they write: one score
per segment, run and system.

A translation that failed is scored as an empty one; a segment that the metric itself could not score is None.
The file says which answers were scored (SHA-256), so that scores are never taken for those of other answers.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from grrm.files import UserError, read_json, sha256, write_json
from grrm.metrics.scores import parse_named_files, read_answers
from grrm.schemas import read_table

Runs = Sequence[Sequence[float | None]]


@dataclass(frozen=True)
class SegmentScores:
    """Scores of one metric.

    Attributes:
        signature: how it was computed.
        systems: per system one sequence per run, one score per segment of the test table in each.
    """

    signature: str
    systems: Mapping[str, Runs]


@dataclass(frozen=True)
class Segments:
    """Translations of several systems, to be scored in one go.

    Attributes:
        rows: of the test table.
        systems: per system one sequence per run, one translation (None: failed) per row in each.
        digests: per system the SHA-256 of the file of its answers.
    """

    rows: Sequence[Mapping[str, Any]]
    systems: Mapping[str, Sequence[Sequence[str | None]]]
    digests: Mapping[str, str]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The segments one after the other: src, mt (empty if it failed), ref, and the row."""
        for runs in self.systems.values():
            for translations in runs:
                for row, translation in zip(self.rows, translations, strict=True):
                    yield {
                        "src": row["src_text"],
                        "mt": translation or "",
                        "ref": row["trg_text"],
                        "row": row,
                    }

    def write(self, path: Path, scores: Sequence[float | None], signature: str, **more: Any) -> None:
        """Write scores in the order of the segments.

        Raises:
            ValueError: there are not as many scores as segments.
        """
        left = iter(scores)
        systems = {
            name: {
                "answers_sha256": self.digests[name],
                "failures": sum(text is None for texts in runs for text in texts),
                "scores": [list(islice(left, len(texts))) for texts in runs],
            }
            for name, runs in self.systems.items()
        }
        if len(scores) != sum(len(texts) for runs in self.systems.values() for texts in runs):
            raise ValueError(f"{len(scores)} scores, expected one per segment")
        write_json(path, {"signature": signature, **more, "systems": systems})


def add_segment_options(parser: argparse.ArgumentParser) -> None:
    """Options of every program that scores segments: what `read_segments` reads."""
    parser.add_argument("--reference", type=Path, required=True, help="translation test set (parquet)")
    parser.add_argument(
        "--translations",
        nargs="+",
        required=True,
        metavar="NAME=FILE",
        help="translations of each model, written by translate_segments",
    )


def read_segments(reference: Path, translations: Sequence[str]) -> Segments:
    """The test table and the systems' answers to it.

    Args:
        reference: translation test table.
        translations: NAME=FILE arguments; answers of translate_segments.

    Raises:
        UserError: a file is missing or damaged, or does not answer the table.
    """
    rows = read_table(reference, "translation_test").to_pylist()
    sources = [row["src_text"] for row in rows]
    systems, files = {}, parse_named_files(translations, "--translations")
    for name, path in files.items():
        runs = read_answers(path, sources, reference)
        if any("translation" not in answer for answers in runs for answer in answers):
            raise UserError(f"{path}: an answer without 'translation'; not answers of translate_segments")
        systems[name] = [[answer["translation"] for answer in answers] for answers in runs]
    return Segments(rows, systems, {name: sha256(path) for name, path in files.items()})


def read_segment_scores(
    path: Path, metric: str, answers: Mapping[str, Path], shapes: Mapping[str, tuple[int, int]]
) -> SegmentScores:
    """Scores of a metric for the systems and their runs.

    Args:
        path: written by `Segments.write`.
        metric: name of the metric, for messages.
        answers: files of the answers that must have been scored, by system.
        shapes: their numbers of runs and of segments, by system.

    Raises:
        UserError: a system is missing, other answers were scored, or another number of runs or segments.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not {"signature", "systems"} <= set(document):
        raise UserError(f"{path}: not segment scores of {metric}; score again")
    systems = {}
    for name, (runs, n) in shapes.items():
        if name not in document["systems"]:
            raise UserError(f"{path}: no {metric} scores of {name!r}; score its translations too")
        found = document["systems"][name]
        if found.get("answers_sha256") != sha256(answers[name]):
            raise UserError(
                f"{path}: {metric} scores of other answers than {name!r} has in {answers[name]}; remove the "
                "file and score again"
            )
        scores = found["scores"]
        sizes = [len(run) for run in scores]
        if sizes != [n] * runs:
            raise UserError(
                f"{path}: {sizes} {metric} scores of {name!r} for {runs} run(s) of {n} segments; score again"
            )
        systems[name] = scores
    return SegmentScores(document["signature"], systems)
