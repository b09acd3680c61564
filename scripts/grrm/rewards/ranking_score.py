"""Reward for training a group relative reward model (GRRM) by reinforcement learning with verifiable rewards.

verl's workers load this file by its path (`custom_reward_function.path`); scripts/ must be on PYTHONPATH.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grrm.json_text import parse_json
from grrm.ranking import (
    MAX_CANDIDATES,
    MAX_SCORE,
    MIN_CANDIDATES,
    MIN_SCORE,
    InvalidAnswer,
    is_score,
    labels,
    pairs,
    parse_answer,
    ranking_accuracy,
)

# Credit for a pair by the error of its margin; a greater error earns nothing (the paper's reward code).
_MARGIN_CREDIT: dict[float, float] = {0: 1.0, 1: 0.6, 2: 0.2}
_END_OF_TURN = "<|im_end|>"


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Mapping[str, int],
    extra_info: Mapping[str, Any] | None = None,
    *,
    score_scale_factor: float = 1.0,
    **kwargs: Any,
) -> dict[str, float]:
    """Reward of one answer: ranking accuracy plus margin score, in [0, 2] before scaling.

    An answer that is malformed (no text at all, too) or contradicts itself earns 0 in every key.

    Args:
        data_source: not used; part of verl's signature.
        solution_str: the model's answer; one end-of-turn mark at its end is left out.
        ground_truth: the annotated scores by label, {"A": 8, "B": 3}, or the same as a JSON string.
        extra_info: not used; part of verl's signature.
        score_scale_factor: factor on `score` alone.
        kwargs: whatever else verl passes; not used.

    Returns:
        always the same keys: score; ranking_reward and score_reward, each in [0, 1]; valid, 0 or 1; acc, the
        ranking reward under the name that verl's validation puts first.

    Raises:
        ValueError: the ground truth is not 2 to 26 integers from 0 to 10 under the labels A, B, C...
    """
    reference = _read_ground_truth(ground_truth)
    if not isinstance(solution_str, str):
        return _result(0.0, 0.0, 0.0, valid=False)
    answer = parse_answer(solution_str.strip().removesuffix(_END_OF_TURN), len(reference))
    if isinstance(answer, InvalidAnswer):
        return _result(0.0, 0.0, 0.0, valid=False)
    ranking_reward = ranking_accuracy(answer.scores, reference)
    score_reward = margin_score(answer.scores, reference)
    return _result(
        (ranking_reward + score_reward) * score_scale_factor, ranking_reward, score_reward, valid=True
    )


def margin_score(predicted: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Mean credit over pairs, in [0, 1]: 1, 0.6, 0.2, 0 as the pair's margin is off by 0, 1, 2, more."""
    credit = [
        _MARGIN_CREDIT.get(abs((reference[x] - reference[y]) - (predicted[x] - predicted[y])), 0.0)
        for x, y in pairs(reference)
    ]
    return sum(credit) / len(credit)


def _result(score: float, ranking_reward: float, score_reward: float, *, valid: bool) -> dict[str, float]:
    return {
        "score": score,
        "ranking_reward": ranking_reward,
        "score_reward": score_reward,
        "valid": float(valid),
        "acc": ranking_reward,
    }


def _read_ground_truth(value: str | Mapping[str, int]) -> dict[str, int]:
    scores: Any = value
    if isinstance(value, str):
        try:
            scores = parse_json(value)
        except ValueError as error:
            raise _bad_ground_truth(value, f"not JSON ({error})") from error
    if not isinstance(scores, Mapping):
        raise _bad_ground_truth(value, f"a {type(scores).__name__}")
    if not MIN_CANDIDATES <= len(scores) <= MAX_CANDIDATES:
        raise _bad_ground_truth(value, f"{len(scores)} candidates")
    if set(scores) != set(labels(len(scores))):
        raise _bad_ground_truth(value, f"labels {list(scores)}")
    for label, score in scores.items():
        if not is_score(score):
            raise _bad_ground_truth(value, f"score {score!r} of candidate {label}")
    return {label: int(score) for label, score in scores.items()}


def _bad_ground_truth(value: object, problem: str) -> ValueError:
    return ValueError(
        f"ground truth {value!r}: {problem}; expected {MIN_CANDIDATES} to {MAX_CANDIDATES} integers from "
        f'{MIN_SCORE} to {MAX_SCORE} under the labels A, B, C..., such as {{"A": 8, "B": 3}}; '
        "repair reward_model.ground_truth of this row"
    )
