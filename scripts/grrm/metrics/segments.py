"""What metrics that are models themselves (COMET, BLEURT, an LLM...) see, and the file they write: one score
per segment, run and system.

A translation that failed is scored as an empty one; a segment that the metric itself could not score is None,
and so is one whose score is no number (NaN, infinite).
The file says which answers were scored (SHA-256), so that scores are never taken for those of other answers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import compress
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
class Scored:
    """What a metric found.

    Attributes:
        scores: one for each segment, in their order.
        signature: how it was computed.
        more: further entries of the document.
    """

    scores: Sequence[float | None]
    signature: str
    more: Mapping[str, Any] = field(default_factory=dict)


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

    @property
    def referenced(self) -> list[bool]:
        """Of each segment, in their order, whether it has a reference."""
        return [segment["ref"] is not None for segment in self]

    def with_references(self) -> Segments:
        """Those of the rows that have one; of several, `trg_text` is the first."""
        kept = [row["trg_text"] is not None for row in self.rows]
        return replace(
            self,
            rows=list(compress(self.rows, kept)),
            systems={
                name: [list(compress(texts, kept)) for texts in runs] for name, runs in self.systems.items()
            },
        )

    def score_once(
        self, score: Callable[[list[dict[str, Any]]], tuple[Sequence[float], str]]
    ) -> tuple[list[float], str]:
        """A score for each segment, and the signature.

        Args:
            score: sees src, mt and ref alone; it is given equal ones once. Greedy runs are all alike.
        """
        keys = [(segment["src"], segment["mt"], segment["ref"]) for segment in self]
        places: dict[tuple[str, str, str], int] = {}
        for key in keys:
            places.setdefault(key, len(places))
        scores, signature = score([{"src": src, "mt": mt, "ref": ref} for src, mt, ref in places])
        return [scores[places[key]] for key in keys], signature

    def split(self, values: Sequence[Any]) -> dict[str, list[list[Any]]]:
        """One value for each segment, by system and run.

        Raises:
            ValueError: there are not as many values as segments.
        """
        left = iter(values)
        sizes = {name: [len(texts) for texts in runs] for name, runs in self.systems.items()}
        if len(values) != sum(map(sum, sizes.values())):
            raise ValueError(f"{len(values)} scores, expected one per segment")
        return {name: [[next(left) for _ in range(size)] for size in runs] for name, runs in sizes.items()}

    def write(self, path: Path, scored: Scored) -> None:
        """Write scores in the order of the segments.

        Args:
            path: to write.
            scored: scores of all segments; or of those with references, the others having none.

        Raises:
            ValueError: there are not as many scores as segments.
            UserError: not one of them is a number.
        """
        found, referenced = list(scored.scores), self.referenced
        if len(found) < len(referenced) and len(found) == sum(referenced):
            left = iter(found)
            found = [next(left) if has else None for has in referenced]
        scores = [known(score) for score in found]
        if scored.scores and all(score is None for score in scores):
            raise UserError(f"{path}: not one of {len(scores)} segments got a score from {scored.signature}")
        systems = {
            name: {
                "answers_sha256": self.digests[name],
                "failures": sum(text is None for texts in self.systems[name] for text in texts),
                "scores": runs,
            }
            for name, runs in self.split(scores).items()
        }
        write_json(path, {"signature": scored.signature, **scored.more, "systems": systems})


@dataclass(frozen=True)
class Given:
    """What a metric of segments is given.

    Attributes:
        reference: translation test table.
        translations: NAME=FILE arguments; answers of translate_segments.
        model: folder of its checkpoint; None if it has none.
        options: its settings, by the keys of its section that `grrm.catalogue.metrics` names.
        function: path/to/file.py:function of a user's own; empty if it is another.
        journal: file in which it may keep what was answered, to go on from after an interruption.
        threads: CPU threads.
        batch_size: segments a batch; None: as the metric does.
        needs_reference: whether only segments with a reference are scored.
    """

    reference: Path
    translations: Sequence[str]
    model: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    function: str = ""
    journal: Path | None = None
    threads: int = 1
    batch_size: int | None = None
    needs_reference: bool = False

    @cached_property
    def every(self) -> Segments:
        """All segments; read once they are asked for, so that wrong settings are named first."""
        return read_segments(self.reference, self.translations)

    @cached_property
    def segments(self) -> Segments:
        """What is to be scored."""
        return self.every.with_references() if self.needs_reference else self.every

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint.

        Raises:
            UserError: there is none.
        """
        if self.model is None:
            raise UserError("--model is missing, expected the folder of the metric's checkpoint")
        return self.model

    @property
    def speed(self) -> dict[str, int]:
        """Threads and size of a batch as keywords of those that score with a checkpoint."""
        return {"threads": self.threads, **({"batch_size": self.batch_size} if self.batch_size else {})}


def known(score: float | None) -> float | None:
    """A score, or None where it is no number: what is no number is missing."""
    return None if score is None or not math.isfinite(score) else float(score)


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
        scores = [[known(score) for score in run] for run in found["scores"]]
        sizes = [len(run) for run in scores]
        if sizes != [n] * runs:
            raise UserError(
                f"{path}: {sizes} {metric} scores of {name!r} for {runs} run(s) of {n} segments; score again"
            )
        systems[name] = scores
    return SegmentScores(document["signature"], systems)
