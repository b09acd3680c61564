"""Reward for training a judge that scores one translation from 0 to 10 (prompts of kind sqm).

verl's workers load this file by its path (`custom_reward_function.path`); scripts/ must be on PYTHONPATH.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from grrm.extract import after_thinking, last_line
from grrm.ranking import MAX_SCORE, MIN_SCORE, is_score

Table: TypeAlias = Literal["plain", "ends"]

# Credit by the distance from the annotated score; a greater one earns nothing. Two revisions of
# reward_utils/qe_score_reward.py in the fork of verl that the paper's authors published.
_CREDIT: dict[Table, dict[int, float]] = {
    "plain": {0: 1.0, 1: 0.8, 2: 0.4, 3: 0.2},
    "ends": {0: 1.0, 1: 0.8, 2: 0.4},
}
# Of the table "ends": where answers can err on one side only, or nearly so, they earn more. Factor by the
# distance of the annotated score from its end of the scale.
_END_FACTOR = {0: 1.6, 1: 1.2}

# ASCII digits only, no sign: int() would also take "７" and "-1", which is near to 0.
_SCORE = re.compile(r"(0|[1-9][0-9]?)(?:\.[0-9]{1,6})?")
_END_OF_TURN = "<|im_end|>"


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: int | str,
    extra_info: Mapping[str, Any] | None = None,
    *,
    table: Table = "plain",
    **kwargs: Any,
) -> dict[str, float | str]:
    """Reward of one answer, in [0, 1]. A malformed answer earns 0, the least that a wrong one can earn.

    Args:
        data_source: not used; part of verl's signature.
        solution_str: the model's answer; its last line is the score and nothing else, decimals are cut off.
            One end-of-turn mark at the end is left out.
        ground_truth: the annotated score: 7 or "7".
        extra_info: not used; part of verl's signature.
        table: reward by distance from the annotated score, see `reward`.
        kwargs: whatever else verl passes; not used.

    Returns:
        always the same keys: score; acc, 1 if the score is exactly right; valid, 0 or 1; predicted, the score
        as text, empty if malformed; reason, why it is malformed.

    Raises:
        ValueError: the ground truth is not an integer from 0 to 10, or the table is not known.
    """
    true = _read_ground_truth(ground_truth)
    line = last_line(after_thinking(solution_str.strip().removesuffix(_END_OF_TURN)) or "") or ""
    match = _SCORE.fullmatch(line.strip())
    if match is None or float(match[0]) > MAX_SCORE:
        reason = f"the last line is {line[:80]!r}; expected a score from {MIN_SCORE} to {MAX_SCORE}"
        return {"score": 0.0, "acc": 0.0, "valid": 0.0, "predicted": "", "reason": reason}
    predicted = int(match[1])
    return {
        "score": reward(predicted, true, table),
        "acc": float(predicted == true),
        "valid": 1.0,
        "predicted": str(predicted),
        "reason": "",
    }


def reward(predicted: int, true: int, table: Table = "plain") -> float:
    """Reward, in [0, 1], of saying `predicted` where `true` is annotated; both from 0 to 10.

    plain: 1, 0.8, 0.4, 0.2, 0 at a distance of 0, 1, 2, 3, more. ends: 1, 0.8, 0.4, 0, but 1.6 times as much,
    up to 1, where 0 or 10 is annotated, and 1.2 times where 1 or 9 is.

    Raises:
        ValueError: the table is not known.
    """
    if table not in _CREDIT:
        raise ValueError(f"reward table {table!r} is not known; expected {' or '.join(_CREDIT)}")
    credit = _CREDIT[table].get(abs(predicted - true), 0.0)
    if table == "ends":
        credit *= _END_FACTOR.get(min(true - MIN_SCORE, MAX_SCORE - true), 1.0)
    return min(credit, 1.0)


def _read_ground_truth(value: object) -> int:
    score: Any = value
    if isinstance(value, str) and (match := _SCORE.fullmatch(value.strip())) and match[0] == match[1]:
        score = int(value)
    if not is_score(score):
        raise ValueError(
            f"ground truth {value!r}; expected an integer from {MIN_SCORE} to {MAX_SCORE}; repair "
            "reward_model.ground_truth of this row"
        )
    return int(score)
