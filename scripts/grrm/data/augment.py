"""More rows of the same data: subsets and orders of candidates, other target languages, the order of rows.

What is drawn for a row of the source table depends on the seed and the row's number alone (a counter-based
generator), so it does not matter in how many pieces, or by how many workers, a table is prepared.
"""

from __future__ import annotations

import itertools
import math
import random
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.int64]
Bits = npt.NDArray[np.uint64]

# Languages of the paper (those of TowerBlocks), between which cross-lingual augmentation chooses.
TOWER_LANGUAGES = ("de", "en", "es", "fr", "it", "ko", "nl", "pt", "ru", "zh")

# Groups of up to so many candidates are augmented all at once, by tables of all their subsets and orders.
_TABLE_SIZE = 6
_PADDING = 255
# What numbers are drawn for; part of every draw, so that no two draws are the same.
_SUBSETS, _ORDERS, _LANGUAGES = range(3)


@dataclass(frozen=True)
class RankingPlan:
    """Ranking questions, compactly: which candidates of which group each of them shows, in which order.

    Attributes:
        groups: row of the source table, for each question.
        sizes: number of its candidates.
        orders: their positions in the source row, one line for each question; beyond its size, padding.
    """

    groups: npt.NDArray[np.int32]
    sizes: npt.NDArray[np.uint8]
    orders: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.groups)

    def order(self, question: int) -> tuple[int, ...]:
        """The positions that a question shows."""
        return tuple(self.orders[question, : self.sizes[question]].tolist())


def plan_ranking_rows(
    sizes: npt.ArrayLike, seed: int, subgroup_augment: int, shuffle_augment: int
) -> RankingPlan:
    """The questions made from groups of the given sizes, group by group: each group itself, and its variants.

    Args:
        sizes: candidates of each group, at least 2.
        seed: of all that is drawn.
        subgroup_augment: most random subsets of 2..size-1 candidates that are added to a group.
        shuffle_augment: most random other orders added to the group and to each subset. No order comes twice.
    """
    all_sizes = np.asarray(sizes, np.int64)
    width = int(all_sizes.max(initial=2))
    parts = []
    for size in np.unique(all_sizes).tolist():
        of_size = np.flatnonzero(all_sizes == size)
        if size <= _TABLE_SIZE:
            parts.extend(_small_groups(of_size, size, seed, subgroup_augment, shuffle_augment))
        else:
            parts.extend(_large_groups(of_size, size, seed, subgroup_augment, shuffle_augment))
    groups = np.concatenate([np.zeros(0, np.int32), *(part[0].astype(np.int32) for part in parts)])
    counts = np.concatenate(
        [np.zeros(0, np.uint8), *(np.full(len(part[0]), part[1].shape[1], np.uint8) for part in parts)]
    )
    orders = np.full((len(groups), width), _PADDING, np.uint8)
    start = 0
    for found, lines in parts:
        orders[start : start + len(found), : lines.shape[1]] = lines
        start += len(found)
    by_group = np.argsort(groups, kind="stable")
    return RankingPlan(groups[by_group], counts[by_group], orders[by_group])


def shuffled(count: int, seed: int) -> npt.NDArray[np.int32]:
    """The numbers 0..count-1 in a random order."""
    order = array("i", range(count))
    random.Random(seed).shuffle(order)
    return np.frombuffer(order, np.int32)


def other_languages(
    sources: Sequence[str],
    targets: Sequence[str],
    rows: npt.NDArray[np.integer],
    seed: int,
    among: Sequence[str] = TOWER_LANGUAGES,
) -> list[str]:
    """For each sentence pair a random language that is neither its source nor its target.

    Args:
        sources: plain codes of the source languages.
        targets: plain codes of the target languages.
        rows: number of each pair in its table.
        seed: of what is drawn.
        among: plain codes to choose from, at least 3.
    """
    others = {
        pair: [language for language in among if language not in pair]
        for pair in set(zip(sources, targets, strict=True))
    }
    draws = _bits(seed, _LANGUAGES, rows, 0, 0).tolist()
    return [
        others[pair][draw % len(others[pair])]
        for pair, draw in zip(zip(sources, targets, strict=True), draws, strict=True)
    ]


def _small_groups(
    groups: Numbers, size: int, seed: int, subgroups: int, shuffles: int
) -> list[tuple[Numbers, Numbers]]:
    """(groups, orders) of all questions made from groups of one size, by the size of the subset."""
    full = np.broadcast_to(np.arange(size), (len(groups), size))
    parts = _with_orders(groups, full, np.zeros(len(groups), np.int64), seed, shuffles)
    subsets = _proper_subsets(size)
    chosen = _distinct(seed, _SUBSETS, groups, np.zeros_like(groups), len(subsets), subgroups)
    holders = np.repeat(groups, chosen.shape[1])
    for length in range(2, size):
        numbers = [number for number, subset in enumerate(subsets) if len(subset) == length]
        members = np.array([subsets[number] for number in numbers])
        mine = np.isin(chosen.ravel(), numbers)
        picked = chosen.ravel()[mine]
        lines = members[picked - numbers[0]]
        parts += _with_orders(holders[mine], lines, picked + 1, seed, shuffles)
    return parts


def _with_orders(
    groups: Numbers, lines: Numbers, subsets: Numbers, seed: int, shuffles: int
) -> list[tuple[Numbers, Numbers]]:
    """The given orders themselves, and random other orders of each."""
    permutations = _permutations(lines.shape[1])
    # The first permutation is the order itself: it is not among those drawn.
    others = _distinct(seed, _ORDERS, groups, subsets, len(permutations) - 1, shuffles) + 1
    shuffled_lines = np.take_along_axis(
        np.repeat(lines, others.shape[1], axis=0), permutations[others.ravel()], axis=1
    )
    return [(groups, lines), (np.repeat(groups, others.shape[1]), shuffled_lines)]


def _distinct(seed: int, purpose: int, groups: Numbers, subsets: Numbers, total: int, count: int) -> Numbers:
    """For each group `count` different numbers of 0..total-1, or all of them (Floyd's algorithm)."""
    count = min(count, total)
    chosen = np.zeros((len(groups), count), np.int64)
    for draw in range(count):
        last = total - count + draw
        number = (_bits(seed, purpose, groups, subsets, draw) % np.uint64(last + 1)).astype(np.int64)
        taken = (chosen[:, :draw] == number[:, None]).any(axis=1)
        chosen[:, draw] = np.where(taken, last, number)
    return chosen


@cache
def _proper_subsets(size: int) -> list[tuple[int, ...]]:
    lengths = range(2, size)
    return [subset for length in lengths for subset in itertools.combinations(range(size), length)]


@cache
def _permutations(size: int) -> Numbers:
    return np.array(list(itertools.permutations(range(size))))


def _large_groups(
    groups: Numbers, size: int, seed: int, subgroups: int, shuffles: int
) -> list[tuple[Numbers, Numbers]]:
    """The same one by one, for groups that have too many subsets and orders for a table of them."""
    parts = []
    for group, bits in zip(groups, _bits(seed, _SUBSETS, groups, 0, 0).tolist(), strict=True):
        rng = random.Random(bits)
        for subset in [tuple(range(size)), *_random_subsets(size, subgroups, rng)]:
            lines = [subset, *_random_orders(subset, shuffles, rng)]
            parts.append((np.full(len(lines), group), np.array(lines)))
    return parts


def _random_subsets(size: int, count: int, rng: random.Random) -> list[tuple[int, ...]]:
    proper = 2**size - size - 2  # without the empty set, single candidates and the whole group
    subsets: dict[tuple[int, ...], None] = {}
    while len(subsets) < min(count, proper):
        bits = rng.getrandbits(size)
        subset = tuple(index for index in range(size) if bits >> index & 1)
        if 2 <= len(subset) < size:
            subsets[subset] = None
    return list(subsets)


def _random_orders(subset: tuple[int, ...], count: int, rng: random.Random) -> list[tuple[int, ...]]:
    orders: dict[tuple[int, ...], None] = {}
    while len(orders) < min(count, math.factorial(len(subset)) - 1):
        order = tuple(rng.sample(subset, len(subset)))
        if order != subset:
            orders[order] = None
    return list(orders)


def _bits(seed: int, purpose: int, rows: npt.NDArray[np.integer], subsets: Numbers | int, draw: int) -> Bits:
    """64 random bits for each row, each subset of it and each draw: SplitMix64 (Steele et al. 2014)."""
    state = np.full(len(rows), seed & (2**64 - 1), np.uint64)
    for part in (purpose, rows, subsets, draw):
        state = mix(state ^ np.asarray(part).astype(np.uint64))
    return state


def mix(values: Bits) -> Bits:
    """One step of SplitMix64: every input bit changes half of the output bits."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
