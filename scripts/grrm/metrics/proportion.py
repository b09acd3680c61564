"""Intervals of shares that were counted."""

from __future__ import annotations

import math

_Z = 1.959964  # of 95 %


def wilson(share: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a share of `n` cases (Wilson 1927).

    Raises:
        ValueError: there are no cases, or the share is not from 0 to 1.
    """
    if n < 1 or not 0 <= share <= 1:
        raise ValueError(f"a share of {share} of {n} cases; expected 0 to 1 of at least one")
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)
