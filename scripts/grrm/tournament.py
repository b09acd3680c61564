"""Scores of candidates from the results of their pairwise comparisons.

A comparison is (i, j, winner): the indices of two candidates and of the better one, or None for a tie. A pair
may be compared any number of times, also never. Every score is in [-1, 1], higher is better; candidates that
cannot be told apart all get 0. No result depends on the order of the candidates or on a random number, except
that of `elo_sequential`. A comparison that did not take place is no tie: it says nothing for or against.

Formulas: RM-Gallery, examples/train/rl_training (winrate, copeland, dgr, elo). `dgr` and `elo` are computed
here in another way, see there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

Comparison: TypeAlias = tuple[int, int, int | None]
Method: TypeAlias = Literal["winrate", "copeland", "dgr", "elo", "elo_sequential"]
IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]

EXACT_LIMIT = 16
"""Most candidates for which `dgr` is exact; 16 take about a tenth of a second."""

_ELO_START = 1500.0
_ELO_SCALE = 400.0 / np.log(10.0)
# Drawn games of every candidate against an average one: what keeps the undefeated at a finite rating.
_ELO_PRIOR = 0.5
_ELO_K = 32.0
_ELO_SWEEPS = 100
# Differences below these are rounding noise: in scores, and in Elo points.
_SAME_SCORE = 1e-6
_SAME_RATING = 1e-3


class FeedbackArcSet(NamedTuple):
    """What has to be dropped from the results to make them free of contradictions.

    Attributes:
        orders: number of optimal orders, those that contradict the fewest results; 1 above `EXACT_LIMIT`.
        removed_edges: {(winner, loser): results dropped}, averaged over the optimal orders; sums up to the
            number of contradicted results.
        net_wins: wins minus losses of each candidate in what is left, averaged over the optimal orders.
    """

    orders: int
    removed_edges: dict[tuple[int, int], float]
    net_wins: list[float]

    @property
    def conflicts(self) -> int:
        """Number of results that an optimal order contradicts (of an order and its reverse, the better)."""
        return int(sum(self.removed_edges.values()) + _SAME_SCORE)


def score(method: Method, n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Scores of `n` candidates in [-1, 1] by the method of this name.

    Raises:
        ValueError: the method is not one of those here, or a comparison is malformed.
    """
    if method not in get_args(Method):
        raise ValueError(f"{method!r} is not a way to score; expected one of {', '.join(get_args(Method))}")
    methods = {
        "winrate": winrate,
        "copeland": copeland,
        "dgr": dgr,
        "elo": elo,
        "elo_sequential": elo_sequential,
    }
    return methods[method](n, comparisons)


def winrate(n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Share of comparisons won (a tie is a game not won; 0.5 without games), stretched to [-1, 1].

    Raises:
        ValueError: a comparison is malformed.
    """
    wins, ties = _results(n, comparisons)
    games = wins + wins.T + ties
    played = games.sum(axis=1)
    rates = np.where(played > 0, wins.sum(axis=1) / np.maximum(played, 1), 0.5)
    return _stretch(rates, _SAME_SCORE)


def copeland(n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Wins minus losses for each opponent met, divided by the greatest absolute value.

    Published is the sum, in which a missing comparison is a tie; where all took place it is the same.

    Raises:
        ValueError: a comparison is malformed.
    """
    return _scale(_net_rates(*_results(n, comparisons)))


def dgr(n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Wins minus losses after contradictions are dropped, for each opponent met, divided by the greatest
    absolute value.

    Dropped is a minimum feedback arc set (`solve_feedback_arc_set`). The published code takes the first
    optimal order it meets, so that its scores depend on the index of a candidate; here they are averages over
    all optimal orders. A tie is no edge (published: a light edge in a random direction).

    Raises:
        ValueError: a comparison is malformed.
    """
    met = _met(*_results(n, comparisons))
    return _scale(np.array(solve_feedback_arc_set(n, comparisons).net_wins) / np.maximum(met, 1))


def elo(n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Elo points of `elo_points`, stretched to [-1, 1].

    Raises:
        ValueError: a comparison is malformed.
    """
    return _stretch(np.array(elo_points(n, comparisons)), _SAME_RATING)


def elo_points(n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Elo points around 1500: the Bradley-Terry ratings that explain all comparisons best, in no order.

    A tie is half a win for both. Every candidate has also drawn half a game against an average one (a
    prior), which leaves the undefeated with a finite rating. A pair that was never compared counts as what
    the results of both elsewhere suggest: the prior alone would draw whoever has few to the middle.

    Raises:
        ValueError: a comparison is malformed.
    """
    won, ties = _results(n, comparisons)
    if n == 0:
        return []
    wins = won + _expected_wins(won, ties)
    points = wins.sum(axis=1) + ties.sum(axis=1) / 2
    games = wins + wins.T + ties
    ratings = np.zeros(n)

    def excess(at: FloatArray) -> tuple[FloatArray, FloatArray]:
        expected = 1 / (1 + np.exp(at[None, :] - at[:, None]))
        average = 1 / (1 + np.exp(-at))
        missing = points - (games * expected).sum(axis=1) + _ELO_PRIOR * (0.5 - average)
        information = games * expected * (1 - expected)
        hessian = np.diag(information.sum(axis=1) + _ELO_PRIOR * average * (1 - average)) - information
        return missing, hessian

    # Newton's method on a strictly concave function; short steps keep it from leaving the region where the
    # curvature says something.
    for _ in range(200):
        missing, hessian = excess(ratings)
        step = np.linalg.solve(hessian, missing)
        length = np.abs(step).max()
        ratings = ratings + step * min(1.0, 1.0 / max(length, 1e-300))
        if length < 1e-10:
            break
    return [float(point) for point in _ELO_START + _ELO_SCALE * ratings]


def elo_sequential(n: int, comparisons: Sequence[Comparison]) -> list[float]:
    """Elo as published: K = 32, up to 100 sweeps over the comparisons as they come, stretched to [-1, 1].

    Depends on the order of the comparisons, and undefeated candidates rise from sweep to sweep: `elo` does
    neither.

    Raises:
        ValueError: a comparison is malformed.
    """
    _results(n, comparisons)
    ratings = [_ELO_START] * n
    for _ in range(_ELO_SWEEPS):
        before = list(ratings)
        for i, j, winner in comparisons:
            points = 0.5 if winner is None else float(winner == i)
            change = _ELO_K * (points - 1 / (1 + 10 ** ((ratings[j] - ratings[i]) / 400)))
            ratings[i] += change
            ratings[j] -= change
        if all(abs(new - old) < 0.01 for new, old in zip(ratings, before, strict=True)):
            break
    return _stretch(np.array(ratings), _SAME_SCORE)


def solve_feedback_arc_set(n: int, comparisons: Sequence[Comparison]) -> FeedbackArcSet:
    """Find the orders of the candidates that contradict the fewest results.

    An edge goes from winner to loser and weighs the surplus of wins between the two; a tie is no edge. Up to
    `EXACT_LIMIT` candidates the answer is exact and averaged over all optimal orders, which are counted by
    dynamic programming over subsets, O(2^n n^2).

    Above, whatever has the same evidence moves as one, so that no index decides: the order is one of classes
    of candidates, by net wins, improved until moving no single class helps. Within a class all optimal orders
    count alike, or an order and its reverse if more than `EXACT_LIMIT` are in it; so do both orders of two
    classes between which the results are even. Candidates of a class share the mean of their net wins.

    Returns:
        an answer about all optimal orders, not one of them: `orders` is a count (there may be too many to
        list), 1 above `EXACT_LIMIT`; `removed_edges` holds for each edge how much of its weight they
        contradict on average (all of it if every one of them does, half if half of them do); `net_wins` are
        averages as well; `conflicts`, the sum of what is removed, is the minimum, which each of them attains.

    Raises:
        ValueError: a comparison is malformed.
    """
    wins, _ = _results(n, comparisons)
    edges = np.maximum(wins - wins.T, 0)
    if n <= EXACT_LIMIT:
        before: IntArray | FloatArray
        # Counts are whole numbers, so that sums are exact and do not depend on the order of the candidates.
        before, orders = _count_precedence(edges)
    else:
        kinds = np.array(_evidence(edges))
        before, orders = _search_precedence(edges, kinds), 1
    kept, removed = edges * before, edges * before.T
    net_wins = (kept.sum(axis=1) - kept.sum(axis=0)) / orders
    if n > EXACT_LIMIT:
        for kind in np.unique(kinds):
            net_wins[kinds == kind] = net_wins[kinds == kind].mean()
    dropped = {(int(i), int(j)): float(removed[i, j] / orders) for i, j in np.argwhere(removed)}
    return FeedbackArcSet(orders, dropped, [float(value) for value in net_wins])


class _Layer(NamedTuple):
    """Subsets of one size k: a subset is the bits of an integer."""

    subsets: npt.NDArray[np.intp]
    """Shape (m,)."""
    members: npt.NDArray[np.intp]
    """Shape (m, k): the candidates in each subset."""
    without: npt.NDArray[np.intp]
    """Shape (m, k): the subset without each of its members."""


@cache
def _layers(n: int) -> tuple[IntArray, list[_Layer]]:
    """Membership matrix of all subsets of n candidates, shape (2^n, n), and the subsets of 1, 2, ... n."""
    bits = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    sizes = bits.sum(axis=1)
    layers = []
    for size in range(1, n + 1):
        subsets = np.flatnonzero(sizes == size)
        members = np.nonzero(bits[subsets])[1].reshape(-1, size)
        layers.append(_Layer(subsets, members, subsets[:, None] - (1 << members)))
    return bits.astype(np.int64), layers


def _count_precedence(edges: IntArray) -> tuple[IntArray, int]:
    """In how many optimal orders i stands before j, and the number of them; shapes (n, n).

    An order is a path that adds one candidate at a time to the empty set. Adding a candidate contradicts its
    wins over those already there. Paths of least cost through a subset: those into it times those out of it.
    """
    n = len(edges)
    bits, layers = _layers(n)
    cost = bits @ edges.T
    least = np.zeros(2**n, dtype=np.int64)
    paths_in = np.zeros(2**n, dtype=np.int64)
    paths_out = np.zeros(2**n, dtype=np.int64)
    paths_in[0] = paths_out[-1] = 1
    added_last = []
    for subsets, members, without in layers:
        total = least[without] + cost[without, members]
        least[subsets] = total.min(axis=1)
        ways = paths_in[without] * (total == least[subsets][:, None])
        paths_in[subsets] = ways.sum(axis=1)
        added_last.append(ways)
    added = np.zeros((2**n, n), dtype=np.int64)
    for (subsets, members, without), ways in zip(reversed(layers), reversed(added_last), strict=True):
        out = paths_out[subsets][:, None]
        np.add.at(paths_out, without, out * (ways > 0))
        added[without, members] = ways * out
    before = bits.T @ added
    # Every optimal order puts either i or j first.
    return before, int(before[0, 1] + before[1, 0]) if n > 1 else 1


def _search_precedence(edges: IntArray, kinds: IntArray) -> FloatArray:
    """In what share of good orders i stands before j, from 0 to 1; shapes (n, n).

    Args:
        edges: surplus of wins of i over j.
        kinds: class of each candidate, shape (n,), see `_evidence`.
    """
    members = [np.flatnonzero(kinds == kind) for kind in range(kinds.max() + 1)]
    belongs = (kinds[:, None] == np.arange(len(members))).astype(np.int64)
    between = belongs.T @ edges @ belongs
    rank = _local_search(between)
    first = np.where(between == between.T, 0.5, rank[:, None] < rank)
    before = first[np.ix_(kinds, kinds)]
    for own in members:
        inside = edges[np.ix_(own, own)]
        if len(own) <= EXACT_LIMIT and inside.any():
            count, orders = _count_precedence(inside)
            before[np.ix_(own, own)] = count / orders
    return before


def _local_search(edges: IntArray) -> IntArray:
    """Place of each in a good order, found from the order as given; shapes (n, n) and (n,)."""
    order = np.arange(len(edges))
    while True:
        gain = (edges - edges.T)[np.ix_(order, order)]
        passed = gain.cumsum(axis=1)
        own = passed.diagonal()[:, None]
        # Moving the candidate at p down to q turns its wins over p+1 .. q into contradictions; moving it up
        # to q < p resolves its wins over q .. p-1.
        down, up = passed - own, own - (passed - gain)
        change = np.where(np.arange(len(order))[:, None] < np.arange(len(order)), down, -up)
        place, target = np.unravel_index(change.argmin(), change.shape)
        if change[place, target] >= 0:
            break
        moved = order[place]
        order = np.insert(np.delete(order, place), target, moved)
    return np.argsort(order)


def _evidence(edges: IntArray) -> list[int]:
    """Class of each candidate by its results, 0 for the most net wins; same class: indistinguishable.

    Colour refinement: first by net wins, then by against which classes they were won and lost, until no
    class splits. Independent of the order of the candidates.
    """
    n = len(edges)
    net = edges - edges.T
    keys: list[Any] = [-int(value) for value in net.sum(axis=1)]
    classes = 0
    while True:
        places = {key: place for place, key in enumerate(sorted(set(keys)))}
        kinds = [places[key] for key in keys]
        if len(places) == classes:
            return kinds
        classes = len(places)
        keys = [(kinds[i], sorted((kinds[j], -int(net[i, j])) for j in range(n))) for i in range(n)]
        keys = [(kind, tuple(results)) for kind, results in keys]


def _results(n: int, comparisons: Sequence[Comparison]) -> tuple[IntArray, IntArray]:
    """Wins of i over j and ties between them, shapes (n, n); checks every comparison."""
    wins = np.zeros((n, n), dtype=np.int64)
    ties = np.zeros((n, n), dtype=np.int64)
    for i, j, winner in comparisons:
        if not (0 <= i < n and 0 <= j < n and i != j and winner in (i, j, None)):
            raise ValueError(
                f"comparison {(i, j, winner)!r} of {n} candidates; expected two different indices below {n} "
                "and one of them, or None, as the winner"
            )
        if winner is None:
            ties[i, j] += 1
            ties[j, i] += 1
        else:
            wins[winner, i + j - winner] += 1
    return wins, ties


def _met(wins: IntArray, ties: IntArray) -> IntArray:
    """Opponents with which each candidate was compared."""
    met: IntArray = (wins + wins.T + ties > 0).sum(axis=1)
    return met


def _net_rates(wins: IntArray, ties: IntArray) -> FloatArray:
    """Wins minus losses of each candidate for each opponent met; 0 without any."""
    rates: FloatArray = (wins.sum(axis=1) - wins.sum(axis=0)) / np.maximum(_met(wins, ties), 1)
    return rates


def _expected_wins(wins: IntArray, ties: IntArray) -> FloatArray:
    """Wins to expect of i over j in pairs that were never compared, shape (n, n).

    From the shares p of points that both made elsewhere, i wins by the odds p_i / (1 - p_i) against those of
    j (Bradley-Terry; even if both made all, or none). Such a pair has as many games as others on average.
    """
    games = wins + wins.T + ties
    missing = (games == 0) & ~np.eye(len(games), dtype=bool)
    compared = games[games > 0]
    # Without a game a share of one half: nothing is known.
    played = games.sum(axis=1)
    points = np.where(played > 0, wins.sum(axis=1) + ties.sum(axis=1) / 2, 0.5) / np.maximum(played, 1)
    ahead = points[:, None] * (1 - points)
    decided = ahead + ahead.T
    chance = np.where(decided > 0, ahead / np.where(decided > 0, decided, 1), 0.5)
    expected: FloatArray = missing * chance * (compared.mean() if len(compared) else 0.0)
    return expected


def _scale(values: FloatArray) -> list[float]:
    greatest = float(np.abs(values).max(initial=0.0))
    if greatest < _SAME_SCORE:
        return [0.0] * len(values)
    return [float(value) / greatest for value in values]


def _stretch(values: FloatArray, same: float) -> list[float]:
    if len(values) == 0 or float(np.ptp(values)) < same:
        return [0.0] * len(values)
    low, high = float(values.min()), float(values.max())
    # Clipped, for rounding.
    return [min(1.0, max(-1.0, 2 * (float(value) - low) / (high - low) - 1)) for value in values]
