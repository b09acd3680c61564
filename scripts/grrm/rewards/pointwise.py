"""Reward for training a judge that scores one response from 0 to 4: `<think>...</think><score>3</score>`.

verl's workers load this file by its path (`custom_reward_function.path`); scripts/ must be on PYTHONPATH.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import Any, Literal, TypeAlias

from grrm.data.values import decoded, output_labels
from grrm.verdicts import HELPFULNESS, parse_score

LOWEST, HIGHEST = HELPFULNESS

Table: TypeAlias = Literal["linear", "exponential"]


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: float | str | Mapping[str, Any] | None,
    extra_info: Mapping[str, Any] | None = None,
    *,
    table: Table = "linear",
    tag: str = "score",
    **kwargs: Any,
) -> dict[str, float | str]:
    """Reward of one answer, in [0, 1]. A malformed answer earns 0, the least that a wrong one can earn.

    Args:
        data_source: not used; part of verl's signature.
        solution_str: the model's answer, read by `grrm.verdicts.parse_score`; what is no text is malformed.
        ground_truth: the annotated score: 3, 3.0, "3" or {"helpfulness": 3}, or the latter as a JSON string.
        extra_info: where the ground truth holds no label (None, empty), it is that of the first answer,
            output[0].answer.label.helpfulness, as in OpenJudge's rows.
        table: reward by distance from the annotated score, see `reward`.
        tag: name of the tag that holds the answer.
        kwargs: whatever else verl passes; not used.

    Returns:
        always the same keys: score; acc, 1 if the score is exactly right, and accuracy, the same under its
        published name; valid, 0 or 1; predicted, the score as text, empty if malformed; reason, why it is
        malformed.

    Raises:
        ValueError: the ground truth is not an integer from 0 to 4, or the table is not known.
    """
    true = _read_label(ground_truth, extra_info)
    try:
        predicted = parse_score(solution_str, LOWEST, HIGHEST, tag)
    except ValueError as error:
        return _result(0.0, 0.0, "", str(error))
    return _result(reward(predicted, true, table), float(predicted == true), str(predicted), "")


def _result(score: float, right: float, predicted: str, reason: str) -> dict[str, float | str]:
    return {
        "score": score,
        "acc": right,
        "accuracy": right,
        "valid": float(bool(predicted)),
        "predicted": predicted,
        "reason": reason,
    }


def reward(predicted: int, true: int, table: Table = "linear") -> float:
    """Reward, in [0, 1], of saying `predicted` where `true` is annotated; both from 0 to 4.

    linear: 1 - distance / 4; where 0 or 1 is annotated only the exact score earns (OpenJudge,
    cookbooks/training_judge_model/grpo/pointwise/reward_fn.py). exponential: exp(-distance / 2) (RM-Gallery,
    examples/train/pointwise).

    Raises:
        ValueError: the table is not known.
    """
    distance = abs(predicted - true)
    if table == "exponential":
        return math.exp(-2 * distance / HIGHEST)
    if table != "linear":
        raise ValueError(f"reward table {table!r} is not known; expected linear or exponential")
    if true <= 1:
        return float(distance == 0)
    return 1 - distance / HIGHEST


def _read_label(ground_truth: object, info: Mapping[str, Any] | None) -> int:
    true = decoded(ground_truth)
    if isinstance(true, Mapping):
        true = decoded(true.get("helpfulness"))
    if true is None or true == "":
        first = next(iter(output_labels(info or {})), {})
        true = decoded(first.get("helpfulness"))
    number = isinstance(true, Real) and not isinstance(true, bool) and float(true).is_integer()
    if not number or not LOWEST <= true <= HIGHEST:
        raise _bad_ground_truth(ground_truth if true is None else true)
    return int(true)


def _bad_ground_truth(value: object) -> ValueError:
    return ValueError(
        f"ground truth {value!r}; expected an integer from {LOWEST} to {HIGHEST}, alone or as "
        '{"helpfulness": 3}; repair reward_model.ground_truth of this row'
    )
