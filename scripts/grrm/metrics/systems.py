"""What models answered to a test table, scored with every metric: the systems of a document of scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from grrm.files import UserError
from grrm.metrics.bootstrap import Bootstrap, Stratum, mean_of_known
from grrm.metrics.ranking_accuracy import (
    JudgedGroup,
    accuracy_by_position,
    best_found_by_position,
    score_order_sensitivity,
    score_rankings,
    tie_threshold,
)
from grrm.metrics.scores import (
    Metric,
    Part,
    System,
    answers_origin,
    answers_seeds,
    read_answers,
    read_test_table,
    split_parts,
)
from grrm.metrics.segments import SegmentScores, read_segment_scores
from grrm.metrics.translation import score_translations
from grrm.ranking import labels

Rows = Sequence[Mapping[str, Any]]
Answers = Sequence[Mapping[str, Any]]

# Columns of the test tables that scoring needs.
RANKING_COLUMNS = ("src_text", "src_lang", "trg_lang", "scores")
TRANSLATION_COLUMNS = ("src_text", "trg_text", "src_lang", "trg_lang")


def ranking_system(
    name: str, path: Path, shuffled: Sequence[Path], rows: Rows, reference: Path, bootstrap: Bootstrap
) -> System:
    """A judge's answers to a ranking test table, scored.

    Args:
        name: of the judge.
        path: its answers, written by rank_candidates.
        shuffled: its answers to the same groups with their candidates in other orders.
        rows: of the test table, with src_text, src_lang, trg_lang, scores (`read_test_table`).
        reference: the test table.
        bootstrap: of the intervals by position.

    Raises:
        UserError: answers are missing, damaged, or answer another table.
    """
    answers = read_answers(path, [row["src_text"] for row in rows], reference)
    runs = _judged(path, answers, rows, reference)
    orders = [runs[0]]
    for file in shuffled:
        others = read_answers(file, [row["src_text"] for row in rows], reference)
        orders += _judged(file, others, rows, reference)
    parts = []
    for (test_set, direction), members in split_parts(rows, reference, directions=False).items():
        failures = [run[i]["failure"] for run in answers for i in members if run[i]["scores"] is None]
        metrics = _ranking_metrics([[run[i] for i in members] for run in runs])
        if len(orders) > 1:
            metrics |= _order_metrics([[order[i] for i in members] for order in orders])
        parts.append(Part(test_set, direction, len(members), failures, metrics))
    judgements = [*runs, *orders[1:]]
    return System(
        name,
        answers_origin(path, answers),
        answers_seeds(answers),
        parts,
        {
            "best_found_by_position": _positions(best_found_by_position(*judgements), bootstrap),
            "accuracy_by_position": _positions(accuracy_by_position(*judgements), bootstrap),
        },
    )


def _judged(
    path: Path, runs: Sequence[Sequence[Mapping[str, Any]]], rows: Rows, reference: Path
) -> list[list[JudgedGroup]]:
    try:
        return [
            [
                JudgedGroup(row["scores"], answer["scores"], answer["candidate_order"])
                for row, answer in zip(rows, answers, strict=True)
            ]
            for answers in runs
        ]
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: not the answers of rank_candidates to {reference} ({error})") from error


def _ranking_metrics(runs: Sequence[Sequence[JudgedGroup]]) -> dict[str, Metric]:
    threshold = tie_threshold([group for groups in runs for group in groups])
    scored = [score_rankings(groups, threshold) for groups in runs]
    return {name: Metric([run[name][0] for run in scored], scored[0][name][1]) for name in scored[0]}


def _order_metrics(orders: Sequence[Sequence[JudgedGroup]]) -> dict[str, Metric]:
    """Sensitivity to the order of candidates, and the accuracy over orders, each of which counts as a run."""
    scored = [score_rankings(groups, 0.0)["ranking_accuracy"] for groups in orders]
    return {
        name: Metric([stratum], signature)
        for name, (stratum, signature) in score_order_sensitivity(orders).items()
    } | {
        "ranking_accuracy_orders": Metric(
            [stratum for stratum, _ in scored], f"{scored[0][1]}|orders:{len(orders)}"
        )
    }


def _positions(by_place: Mapping[tuple[int, int], Stratum], bootstrap: Bootstrap) -> list[dict[str, Any]]:
    return [
        {
            "candidates": candidates,
            "position": labels(candidates)[position],
            **asdict(bootstrap.estimate(stratum)),
        }
        for (candidates, position), stratum in by_place.items()
    ]


def read_translation_systems(
    reference: Path, translations: Mapping[str, Path], segment_scores: Mapping[str, Path]
) -> list[System]:
    """Translations of several models, scored.

    Args:
        reference: translation test table.
        translations: answers to it, by model.
        segment_scores: scores of the same translations, by metric.

    Raises:
        UserError: a file is missing or damaged, or does not belong to the others.
    """
    rows = read_test_table(reference, "translation_test", TRANSLATION_COLUMNS)
    sources = [row["src_text"] for row in rows]
    answers = {name: read_answers(path, sources, reference) for name, path in translations.items()}
    shapes = {name: (len(runs), len(rows)) for name, runs in answers.items()}
    scores = {
        metric: read_segment_scores(path, metric, translations, shapes)
        for metric, path in segment_scores.items()
    }
    return [
        translation_system(name, translations[name], reference, rows, runs, scores)
        for name, runs in answers.items()
    ]


def translation_system(
    name: str,
    path: Path,
    reference: Path,
    rows: Rows,
    runs: Sequence[Answers],
    segment_scores: Mapping[str, SegmentScores],
) -> System:
    """A translation model's answers to a test table, scored.

    Args:
        name: of the model.
        path: its answers, written by translate_segments.
        reference: the test table.
        rows: of the table, with src_text, trg_text, src_lang, trg_lang (`read_test_table`).
        runs: the answers (`read_answers`).
        segment_scores: by metric, of metrics that are models themselves.

    Raises:
        UserError: an answer is damaged, or a metric cannot be computed.
    """
    try:
        parts = [
            _part(test_set, direction, members, rows, runs, _of(name, members, segment_scores))
            for (test_set, direction), members in split_parts(rows, reference, directions=True).items()
        ]
    except KeyError as error:
        raise UserError(f"{path}: an answer lacks {error}; not an answer of translate_segments") from error
    return System(name, answers_origin(path, runs), answers_seeds(runs), parts)


def _part(
    test_set: str,
    direction: str,
    members: Sequence[int],
    rows: Rows,
    runs: Sequence[Answers],
    segment_metrics: Mapping[str, Metric],
) -> Part:
    first = rows[members[0]]
    scored = [
        score_translations(
            [answers[i]["translation"] for i in members],
            [_references(rows[i]) for i in members],
            first["trg_lang"],
        )
        for answers in runs
    ]
    metrics = {
        name: Metric([run[name][0] for run in scored], signature)
        for name, (_, signature) in scored[0].items()
        if all(name in run for run in scored)
    }
    failures = [run[i]["failure"] for run in runs for i in members if run[i]["translation"] is None]
    referenced = first["trg_text"] is not None
    return Part(test_set, direction, len(members), failures, {**metrics, **segment_metrics}, referenced)


def _references(row: Mapping[str, Any]) -> str | Sequence[str] | None:
    references: str | Sequence[str] | None = row.get("references") or row["trg_text"]
    return references


def _of(name: str, members: Sequence[int], segment_scores: Mapping[str, SegmentScores]) -> dict[str, Metric]:
    """The models' scores of one system on one part; a metric without a single one there is left out."""
    metrics = {}
    for metric, scores in segment_scores.items():
        runs = [[run[i] for i in members] for run in scores.systems[name]]
        if all(any(score is not None for score in run) for run in runs):
            missing = sum(score is None for run in runs for score in run)
            metrics[metric] = Metric([mean_of_known(run) for run in runs], scores.signature, missing)
    return metrics
