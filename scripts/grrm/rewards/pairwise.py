"""Reward for training a judge that compares two responses: `<think>...</think><better>A</better>`.

verl's workers load this file by its path (`custom_reward_function.path`); scripts/ must be on PYTHONPATH.
Formula: OpenJudge, cookbooks/training_judge_model/grpo/pairwise/reward_fn.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from grrm.data.values import decoded, said_preferences
from grrm.verdicts import Preference, as_preference, parse_preference


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: str | Mapping[str, Any] | None,
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
        ground_truth: the annotated preference: "A", "B" or "tie"; or where published rows have it:
            {"preference": "A"}, {"preferred": "A"}, {"metadata": {"preferred": "A"}} or
            output[i].answer.label.preference. Any value may be a JSON string.
        extra_info: where the ground truth holds no label (None, empty), the row that has it, likewise.
        tag: name of the tag that holds the answer (RM-Gallery's prompts say "preference").
        kwargs: whatever else verl passes; not used.

    Returns:
        always the same keys: score; acc, the same under the name that verl's validation puts first, and
        accuracy, under the published name; valid, 0 or 1; says_a and says_tie, 0 or 1, whose means show a
        bias to a position; predicted, A, B, tie, or empty if malformed; reason, why it is malformed.

    Raises:
        ValueError: the ground truth is none of the three preferences, or says two of them.
    """
    true = _read_label(ground_truth, extra_info)
    try:
        predicted = parse_preference(solution_str, tag)
    except ValueError as error:
        return _result(None, 0.0, str(error))
    return _result(predicted, float(predicted == true), "")


def _result(predicted: Preference | None, score: float, reason: str) -> dict[str, float | str]:
    return {
        "score": score,
        "acc": score,
        "accuracy": score,
        "valid": float(predicted is not None),
        "says_a": float(predicted == "A"),
        "says_tie": float(predicted == "tie"),
        "predicted": predicted or "",
        "reason": reason,
    }


def _read_label(ground_truth: object, info: Mapping[str, Any] | None) -> Preference:
    said = _labels(ground_truth) or _labels(info)
    found = {as_preference(value) for value in said}
    preference = found.pop() if len(found) == 1 else None
    if preference is None:
        shown = said[0] if len(said) == 1 else said or ground_truth
        raise ValueError(
            f"ground truth {shown!r}; expected A, B or tie, alone or as "
            '{"preference": "A"}; repair reward_model.ground_truth of this row'
        )
    return preference


def _labels(value: object) -> list[object]:
    """Whatever says which response is better."""
    value = decoded(value)
    if not isinstance(value, Mapping):
        return [] if value is None or value == "" else [value]
    said = [value.get("preference"), value.get("preferred"), *said_preferences(value)]
    return [label for label in said if label is not None and label != ""]
