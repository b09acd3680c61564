"""Numbers as the page shows them."""

from __future__ import annotations


def number(value: float, digits: int = 1, signed: bool = False) -> str:
    """With a number of digits after the point and a real minus."""
    return f"{value:{'+' if signed else ''}z,.{digits}f}".replace("-", "−")


def significant(value: float) -> str:
    """With four significant digits."""
    return f"{value:.4g}".replace("-", "−")


def duration(hours: float) -> str:
    """As h:mm:ss."""
    seconds = round(hours * 3600)
    return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
