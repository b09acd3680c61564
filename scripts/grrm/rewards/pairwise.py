"""Reward for training a judge that compares two responses: `<think>...</think><better>A</better>`.

verl's workers load this file by its path (`custom_reward_function.path`); scripts/ must be on PYTHONPATH.
Formula: OpenJudge, cookbooks/training_judge_model/grpo/pairwise/reward_fn.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from grrm.verdicts import PREFERENCES, Preference, parse_preference


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Mapping[str, Any],
    extra_info: Mapping[str, Any] | None = None,
    *,
    tag: str = "better",
    **kwargs: Any,
) -> dict[str, float | str]:
    """Reward of one answer: 1 if it says the annotated preference, else 0; malformed is 0, as wrong is.

    Args:
        data_source: not used; part of verl's signature.
        solution_str: the model's answer, read by `grrm.verdicts.parse_preference`; what is no text is
            malformed.
        ground_truth: the annotated preference: "A", "B" or "tie", or {"preference": "A"}, or the latter as a
            JSON string.
        extra_info: not used; part of verl's signature.
        tag: name of the tag that holds the answer (RM-Gallery's prompts say "preference").
        kwargs: whatever else verl passes; not used.

    Returns:
        always the same keys: score; acc, the same under the name that verl's validation puts first; valid, 0
        or 1; says_a and says_tie, 0 or 1, whose means show a bias to a position; predicted, A, B, tie, or
        empty if malformed; reason, why it is malformed.

    Raises:
        ValueError: the ground truth is none of the three preferences.
    """
    true = _read_ground_truth(ground_truth)
    try:
        predicted = parse_preference(solution_str, tag)
    except ValueError as error:
        return _result(None, 0.0, str(error))
    return _result(predicted, float(predicted == true), "")


def _result(predicted: Preference | None, score: float, reason: str) -> dict[str, float | str]:
    return {
        "score": score,
        "acc": score,
        "valid": float(predicted is not None),
        "says_a": float(predicted == "A"),
        "says_tie": float(predicted == "tie"),
        "predicted": predicted or "",
        "reason": reason,
    }


def _read_ground_truth(value: object) -> Preference:
    true: Any = value
    if isinstance(true, str) and true.lstrip().startswith("{"):
        try:
            true = json.loads(true)
        except ValueError:
            raise _bad_ground_truth(value) from None
    if isinstance(true, Mapping):
        true = true.get("preference")
    for preference in PREFERENCES:
        if isinstance(true, str) and true.strip().upper() == preference.upper():
            return preference
    raise _bad_ground_truth(value)


def _bad_ground_truth(value: object) -> ValueError:
    return ValueError(
        f"ground truth {value!r}; expected A, B or tie, alone or as "
        '{"preference": "A"}; repair reward_model.ground_truth of this row'
    )
