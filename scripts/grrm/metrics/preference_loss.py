"""The loss of a Bradley-Terry reward model, for measuring one on held-out pairs.

Source: OpenJudge, cookbooks/training_judge_model/bradley-terry/trainer.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def preference_loss(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """Mean of -log sigmoid(chosen - rejected) over pairs of scores.

    Raises:
        ValueError: there are no pairs, or not as many chosen as rejected.
    """
    # log(1 + exp(-margin)) that does not overflow.
    return float(np.logaddexp(0.0, -_margins(chosen, rejected)).mean())


def preference_accuracy(chosen: Sequence[float], rejected: Sequence[float]) -> float:
    """Share of pairs, in [0, 1], whose chosen response scores higher; equal scores are wrong.

    Raises:
        ValueError: there are no pairs, or not as many chosen as rejected.
    """
    return float((_margins(chosen, rejected) > 0).mean())


def _margins(
    chosen: Sequence[float], rejected: Sequence[float]
) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    if len(chosen) != len(rejected) or not chosen:
        raise ValueError(
            f"{len(chosen)} chosen and {len(rejected)} rejected scores; expected as many, at least one"
        )
    return np.array(chosen, dtype=np.float64) - np.array(rejected, dtype=np.float64)
