"""Which candidates a group gets: different ones, few, and far from each other."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from grrm.ranking import MIN_CANDIDATES

_GRAM = 3


@dataclass(frozen=True)
class Candidate:
    """A translation, and the systems that gave it."""

    text: str
    systems: tuple[str, ...]


def distinct(found: Iterable[Candidate]) -> list[Candidate]:
    """Each translation once, in its first form, with all systems that gave it; those without text left out.

    White space and the form of composed characters make no difference.
    """
    texts: dict[str, Candidate] = {}
    for candidate in found:
        key = _same(candidate.text)
        if not key:
            continue
        known = texts.get(key)
        systems = tuple(dict.fromkeys([*(known.systems if known else ()), *candidate.systems]))
        texts[key] = Candidate(known.text if known else candidate.text.strip(), systems)
    return list(texts.values())


def choose(found: Sequence[Candidate], size: int) -> list[Candidate]:
    """As many candidates, chosen for spread: the two that differ most, then whatever differs most from those.

    It depends on the candidates alone, not on the order they come in: of equal choices the one goes first
    whose texts' SHA-256 is smaller.

    Args:
        found: different ones, see `distinct`.
        size: how many; if there are no more, all of them.
    """
    pool = sorted(found, key=lambda one: hashlib.sha256(one.text.encode()).digest())
    if len(pool) <= size:
        return pool
    distances = {
        frozenset((i, j)): distance(pool[i].text, pool[j].text) for i, j in combinations(range(len(pool)), 2)
    }
    farthest: frozenset[int] = max(distances, key=lambda pair: distances[pair])
    chosen = sorted(farthest)
    while len(chosen) < size:
        left = [i for i in range(len(pool)) if i not in chosen]
        chosen.append(max(left, key=lambda i: min(distances[frozenset((i, j))] for j in chosen)))
    return [pool[i] for i in chosen[:size]]


def group_size(sizes: Sequence[int], available: int, rng: random.Random) -> int | None:
    """How many candidates a group gets: one of `sizes`, cut to what there is; None if there is no group."""
    size = min(rng.choice(list(sizes)), available)
    return size if size >= MIN_CANDIDATES else None


def distance(one: str, other: str) -> float:
    """How far two texts differ, 0 to 1: the share of their character trigrams that only one of them has."""
    grams, others = _grams(one), _grams(other)
    return 1 - len(grams & others) / len(grams | others)


def _grams(text: str) -> frozenset[str]:
    padded = f" {_same(text)} "
    return frozenset(padded[i : i + _GRAM] for i in range(max(1, len(padded) - _GRAM + 1)))


def _same(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())
