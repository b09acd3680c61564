"""Degraded copies of a translation, whose fault is known: dropped, doubled, swapped, untranslated spans.

A span is a run of words; in a text without spaces between its words, such as Chinese, of characters.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from grrm.languages import letters_by_script

_TOKEN = re.compile(r"\S+\s*")
# Scripts that are written without spaces, by the first word of their letters' Unicode names.
_UNSPACED = {"CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"}

Change = Callable[[list[str], list[str], int, random.Random], list[str]]


def degrade(text: str, source: str, how: str, share: float, rng: random.Random) -> str | None:
    """A degraded copy of a translation; None if the text is too short for a copy that differs.

    Args:
        text: the translation.
        source: what it translates.
        how: one of `WAYS`.
        share: of its words that are damaged, above 0, up to 1; at least one is, and one is left.
        rng: chooses the place.
    """
    tokens = pieces(text)
    if len(tokens) < 2:
        return None
    length = min(max(1, round(share * len(tokens))), len(tokens) - 1)
    changed = WAYS[how](tokens, pieces(source), length, rng)
    found = _joined(changed, spaced=not _is_unspaced(text))
    return found if found.strip() and found != text.strip() else None


def pieces(text: str) -> list[str]:
    """A text in words with the white space behind them, or in characters; joined they are the text."""
    return list(text.strip()) if _is_unspaced(text) else _TOKEN.findall(text.strip())


def _is_unspaced(text: str) -> bool:
    letters = letters_by_script(text)
    return sum(letters[name] for name in _UNSPACED) > letters.total() / 2


def _joined(tokens: Sequence[str], *, spaced: bool) -> str:
    if not spaced:
        return "".join(tokens).strip()
    # The last word has no white space behind it, and may be the last no more.
    return "".join(token if token[-1:].isspace() else f"{token} " for token in tokens).strip()


def _dropped(tokens: list[str], _: list[str], length: int, rng: random.Random) -> list[str]:
    start = rng.randrange(len(tokens) - length + 1)
    return tokens[:start] + tokens[start + length :]


def _doubled(tokens: list[str], _: list[str], length: int, rng: random.Random) -> list[str]:
    start = rng.randrange(len(tokens) - length + 1)
    return tokens[: start + length] + tokens[start:]


def _swapped(tokens: list[str], _: list[str], length: int, rng: random.Random) -> list[str]:
    """Two neighbouring spans change places."""
    length = max(1, min(length, len(tokens) // 2))
    start = rng.randrange(len(tokens) - 2 * length + 1)
    middle, end = start + length, start + 2 * length
    return tokens[:start] + tokens[middle:end] + tokens[start:middle] + tokens[end:]


def _untranslated(tokens: list[str], source: list[str], length: int, rng: random.Random) -> list[str]:
    """A span is left as the source has it, at about the same place."""
    start = rng.randrange(len(tokens) - length + 1)
    scale = len(source) / len(tokens)
    first = min(int(start * scale), max(len(source) - 1, 0))
    taken = "".join(source[first : first + max(1, round(length * scale))]).strip()
    return [*tokens[:start], taken, *tokens[start + length :]]


WAYS: dict[str, Change] = {
    "dropped": _dropped,
    "doubled": _doubled,
    "swapped": _swapped,
    "untranslated": _untranslated,
}
