"""Scores from pairwise comparisons: published values, exactness, and what must not matter."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import combinations, combinations_with_replacement, permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grrm import tournament
from grrm.tournament import (
    Comparison,
    copeland,
    dgr,
    elo,
    elo_points,
    elo_sequential,
    solve_feedback_arc_set,
    winrate,
)

GOLDEN = Path(__file__).parents[1] / "data" / "golden"
Method = Callable[[int, list[Comparison]], list[float]]


def rows(name: str) -> list[Any]:
    lines = (GOLDEN / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [pytest.param(row, id=row["id"]) for row in map(json.loads, lines)]


def complete(name: str) -> list[Any]:
    """Rows in which every pair was compared: published Copeland takes a missing comparison for a tie."""
    return [row for row in rows(name) if row.values[0]["kind"] != "missing_pair"]


def comparisons_of(row: dict[str, Any]) -> list[Comparison]:
    return [(c["i"], c["j"], c["winner"]) for c in row["comparisons"]]


@st.composite
def results(draw: st.DrawFn, max_n: int = 7) -> tuple[int, list[Comparison]]:
    """Some pairs compared, in any order, some more than once."""
    n = draw(st.integers(0, max_n))
    pair = st.sampled_from(list(combinations(range(n), 2)) or [(0, 0)])
    pairs = draw(st.lists(pair, max_size=2 * n * n)) if n > 1 else []
    return n, [(i, j, draw(st.sampled_from([i, j, None]))) for i, j in pairs]


# ---------------------------------------------------------------- as published


@pytest.mark.parametrize(
    ("method", "row"),
    [
        pytest.param(method, *case.values, id=str(case.id))
        for method, cases in [
            (winrate, rows("rmg_winrate")),
            (copeland, complete("rmg_copeland")),
            (elo_sequential, rows("rmg_elo")),
        ]
        for case in cases
    ],
)
def test_published_scores(method: Method, row: dict[str, Any]) -> None:
    # The published code fails on an empty group: nothing to score is no scores.
    expected = row["upstream"].get("scores", [])
    assert method(row["n"], comparisons_of(row)) == pytest.approx(expected, abs=1e-9)


# Net wins for each opponent met. In these rows they happen to be the published sums, scaled: whoever misses a
# comparison has as many wins as losses.
@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("copeland-12", [-1.0, -1.0, 0.0, 1.0, 0.0, 1.0]),
        ("copeland-33", [0.0] * 3),
        ("copeland-40", [0.0] * 8),
    ],
)
def test_copeland_with_missing_comparisons(name: str, scores: list[float]) -> None:
    (row,) = [case.values[0] for case in rows("rmg_copeland") if case.id == name]
    assert row["kind"] == "missing_pair"
    assert copeland(row["n"], comparisons_of(row)) == pytest.approx(scores)


@pytest.mark.parametrize("row", rows("rmg_dgr"))
def test_dgr_is_the_mean_over_all_optimal_orders(row: dict[str, Any]) -> None:
    solution = solve_feedback_arc_set(row["n"], comparisons_of(row))
    independent = row["independent"]
    assert solution.conflicts == independent["min_feedback_arcs_nontie"]
    assert solution.orders == independent["n_optimal_orderings"]
    optimal = independent["distinct_optimal_net_wins"]
    if len(optimal) == 1:
        assert solution.net_wins == pytest.approx(optimal[0])
    elif not independent["truncated"]:
        for i, net_wins in enumerate(solution.net_wins):
            values = [vector[i] for vector in optimal]
            assert min(values) - 1e-9 <= net_wins <= max(values) + 1e-9


def unambiguous(row: dict[str, Any]) -> bool:
    """Otherwise the published score depends on indices, and with ties on random numbers."""
    return row["n_ties"] == 0 and len(row["independent"]["distinct_optimal_net_wins"]) == 1


@pytest.mark.parametrize("row", [case for case in rows("rmg_dgr") if unambiguous(case.values[0])])
def test_dgr_is_the_published_score_where_that_is_unambiguous(row: dict[str, Any]) -> None:
    assert dgr(row["n"], comparisons_of(row)) == pytest.approx(row["upstream"]["scores"], abs=1e-9)


@pytest.mark.parametrize("row", rows("rmg_dgr_greedy"))
@pytest.mark.parametrize("limit", [16, 4], ids=["exact", "local search"])
def test_no_more_is_removed_than_by_the_published_greedy_rule(
    row: dict[str, Any], limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tournament, "EXACT_LIMIT", limit)
    comparisons = comparisons_of(row)
    conflicts = solve_feedback_arc_set(row["n"], comparisons).conflicts
    # The published count includes tie edges that point backwards.
    assert conflicts <= row["upstream"]["removed_edges_count"]
    least = row["independent"]["min_feedback_arcs_nontie"]
    if least is not None:
        assert conflicts == least if limit == 16 else conflicts >= least


# ---------------------------------------------------------------- exactness


@given(results(max_n=6))
@settings(max_examples=60)
def test_feedback_arc_set_against_all_orders(case: tuple[int, list[Comparison]]) -> None:
    n, comparisons = case
    surplus: dict[tuple[int, int], int] = {}
    for i, j, winner in comparisons:
        if winner is not None:
            loser = i + j - winner
            surplus[winner, loser] = surplus.get((winner, loser), 0) + 1
            surplus[loser, winner] = surplus.get((loser, winner), 0) - 1
    edges = {pair: weight for pair, weight in surplus.items() if weight > 0}

    def contradicted(order: tuple[int, ...]) -> dict[tuple[int, int], int]:
        return {(a, b): w for (a, b), w in edges.items() if order.index(a) > order.index(b)}

    dropped = [contradicted(order) for order in permutations(range(n))]
    least = min(sum(d.values()) for d in dropped)
    optimal = [d for d in dropped if sum(d.values()) == least]
    net_wins = [0.0] * n
    for removed in optimal:
        for (a, b), weight in edges.items():
            if (a, b) not in removed:
                net_wins[a] += weight / len(optimal)
                net_wins[b] -= weight / len(optimal)

    solution = solve_feedback_arc_set(n, comparisons)
    assert solution.orders == len(optimal)
    assert solution.conflicts == least
    assert solution.net_wins == pytest.approx(net_wins, abs=1e-9)
    for edge, share in solution.removed_edges.items():
        assert share == pytest.approx(sum(d.get(edge, 0) for d in optimal) / len(optimal))


@given(results(max_n=9))
@settings(max_examples=60)
def test_local_search_removes_no_less_than_the_minimum_and_little_more(
    case: tuple[int, list[Comparison]],
) -> None:
    n, comparisons = case
    exact = solve_feedback_arc_set(n, comparisons)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tournament, "EXACT_LIMIT", 1)
        found = solve_feedback_arc_set(n, comparisons)
    decided = sum(winner is not None for _, _, winner in comparisons)
    assert exact.conflicts <= found.conflicts <= decided / 2


@pytest.mark.parametrize("n", [2, 5, 16, 24])
def test_three_results_in_a_circle_leave_nobody_ahead(n: int) -> None:
    circle = [(0, 1, 0), (1, 2, 1), (0, 2, 2)] if n > 2 else [(0, 1, 0), (0, 1, 1)]
    solution = solve_feedback_arc_set(n, circle)
    assert dgr(n, circle) == [0.0] * n
    assert solution.conflicts == (1 if n > 2 else 0)


def test_a_tie_is_no_edge() -> None:
    assert solve_feedback_arc_set(2, [(0, 1, None)]) == (2, {}, [0.0, 0.0])


# ---------------------------------------------------------------- what holds for every method

METHODS: list[Method] = [winrate, copeland, dgr, elo]


@pytest.mark.parametrize("method", [*METHODS, elo_sequential])
@given(results())
@settings(max_examples=40)
def test_scores_are_finite_and_in_range(method: Method, case: tuple[int, list[Comparison]]) -> None:
    n, comparisons = case
    scores = method(n, comparisons)
    assert len(scores) == n
    assert all(-1 <= score <= 1 for score in scores)


@pytest.mark.parametrize("method", METHODS)
@given(results(), st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_the_order_of_candidates_and_comparisons_does_not_matter(
    method: Method, case: tuple[int, list[Comparison]], random: Any
) -> None:
    n, comparisons = case
    name = list(range(n))
    random.shuffle(name)
    renamed: list[Comparison] = [
        (name[i], name[j], None if w is None else name[w]) for i, j, w in comparisons
    ]
    renamed = [(j, i, w) if random.random() < 0.5 else (i, j, w) for i, j, w in renamed]
    random.shuffle(renamed)
    scores, after = method(n, comparisons), method(n, renamed)
    assert [after[name[i]] for i in range(n)] == pytest.approx(scores, abs=1e-6)


@st.composite
def symmetric_results(draw: st.DrawFn) -> tuple[int, list[Comparison]]:
    """More candidates than are solved exactly, in circles: results within and between circles look the same
    from each of their members, so that none of these can be told from another."""
    circles, size = draw(st.sampled_from([(1, 17), (1, 19), (1, 21), (2, 9), (2, 11), (3, 7), (6, 3)]))
    outcome = st.sampled_from([1, 1, -1, -1, 0])
    comparisons: list[Comparison] = []
    for a, b in combinations_with_replacement(range(circles), 2):
        for step in range(1, size // 2 + 1) if a == b else range(size):
            sign = draw(outcome)
            for place in range(size):
                i, j = a * size + place, b * size + (place + step) % size
                comparisons.append((i, j, {1: i, -1: j, 0: None}[sign]))
    return circles * size, comparisons


@st.composite
def complete_results(draw: st.DrawFn) -> tuple[int, list[Comparison]]:
    n = draw(st.integers(17, 24))
    random = draw(st.randoms(use_true_random=False))
    return n, [(i, j, random.choice([i, j])) for i, j in combinations(range(n), 2)]


@given(symmetric_results() | complete_results(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_dgr_above_the_exact_limit_does_not_depend_on_the_order_either(
    case: tuple[int, list[Comparison]], random: Any
) -> None:
    n, comparisons = case
    name = list(range(n))
    random.shuffle(name)
    renamed: list[Comparison] = [
        (name[i], name[j], None if w is None else name[w]) for i, j, w in comparisons
    ]
    before, after = solve_feedback_arc_set(n, comparisons), solve_feedback_arc_set(n, renamed)
    assert [after.net_wins[name[i]] for i in range(n)] == pytest.approx(before.net_wins)
    assert after.conflicts == before.conflicts
    moved = {(name[i], name[j]): share for (i, j), share in before.removed_edges.items()}
    assert after.removed_edges == pytest.approx(moved)
    scores, anew = dgr(n, comparisons), dgr(n, renamed)
    assert [anew[name[i]] for i in range(n)] == pytest.approx(scores)


def test_above_the_exact_limit_a_group_that_wins_is_ahead_and_its_members_are_even() -> None:
    """Two circles of nine, each member beating four of its own; the first circle beats most of the second."""
    circle = [(place, (place + step) % 9) for place in range(9) for step in range(1, 5)]
    comparisons: list[Comparison] = [(i + d, j + d, i + d) for d in (0, 9) for i, j in circle]
    comparisons += [(i, 9 + j, i if (j - i) % 9 < 6 else 9 + j) for i in range(9) for j in range(9)]
    assert dgr(18, comparisons) == pytest.approx([1.0] * 9 + [-1.0] * 9)
    solution = solve_feedback_arc_set(18, comparisons)
    inside = solve_feedback_arc_set(9, [(i, j, i) for i, j in circle]).conflicts
    assert solution.conflicts == 2 * inside + 27


@pytest.mark.parametrize("method", [*METHODS, elo_sequential])
@pytest.mark.parametrize("n", [2, 3, 8, 16, 20])
def test_a_transitive_tournament_gives_the_true_order(method: Method, n: int) -> None:
    truth = [(7 * i) % n if n % 7 else i for i in range(n)]
    comparisons: list[Comparison] = [(i, j, min(i, j, key=truth.index)) for i, j in combinations(range(n), 2)]
    scores = method(n, comparisons)
    assert sorted(range(n), key=lambda i: -scores[i]) == truth
    assert len(set(scores)) == n
    assert max(scores) == 1.0
    assert min(scores) == -1.0


@pytest.mark.parametrize("method", [*METHODS, elo_sequential])
@pytest.mark.parametrize("case", [(0, []), (1, []), (3, []), (3, [(0, 1, None), (1, 2, None), (0, 2, None)])])
def test_nothing_decided_is_zero_for_all(method: Method, case: tuple[int, list[Comparison]]) -> None:
    n, comparisons = case
    assert method(n, comparisons) == [0.0] * n


@pytest.mark.parametrize("comparison", [(0, 0, 0), (0, 3, 0), (-1, 1, 1), (0, 1, 2)])
@pytest.mark.parametrize("method", [*METHODS, elo_sequential])
def test_a_malformed_comparison_is_an_error(method: Method, comparison: Comparison) -> None:
    with pytest.raises(ValueError, match="two different indices below 3"):
        method(3, [comparison])


def test_an_unknown_method_is_an_error() -> None:
    assert tournament.score("copeland", 2, [(0, 1, 1)]) == [-1.0, 1.0]
    with pytest.raises(ValueError, match="expected one of winrate, copeland, dgr, elo"):
        tournament.score("borda", 2, [])  # type: ignore[arg-type]


@pytest.mark.parametrize("method", [winrate, copeland, dgr, elo])
@pytest.mark.parametrize("met", range(7))
@pytest.mark.parametrize("copies", [1, 2])
def test_a_candidate_without_verdicts_does_not_rise(method: Method, met: int, copies: int) -> None:
    """Eight in true order; the worst has lost the one comparison of seven that took place."""
    truth = [(i, j, i) for i, j in combinations(range(8), 2) if j < 7 or i == met] * copies
    scores = method(8, truth)
    assert scores[7] == min(scores) == -1.0
    assert scores[:6] == sorted(scores[:6], reverse=True)
    assert len(set(scores[:7])) == 7


@pytest.mark.parametrize("method", [copeland, dgr, elo])
def test_a_missing_comparison_is_no_tie(method: Method) -> None:
    missing: list[Comparison] = [(0, 2, 0), (1, 2, 1)]
    assert method(3, missing) == pytest.approx([1.0, 1.0, -1.0])


# ---------------------------------------------------------------- Elo


def test_elo_points_are_on_the_elo_scale() -> None:
    # 3 wins of 4 against one opponent are worth 191 points; with many games the prior hardly counts.
    comparisons: list[Comparison] = [(0, 1, 0)] * 3000 + [(0, 1, 1)] * 1000
    first, second = elo_points(2, comparisons)
    assert first - second == pytest.approx(190.85, abs=0.2)
    assert first + second == pytest.approx(3000)


def test_elo_of_the_undefeated_is_finite() -> None:
    points = elo_points(3, [(0, 1, 0), (0, 2, 0), (1, 2, 1)] * 50)
    assert points == sorted(points, reverse=True)
    assert points[0] < 4000


# ---------------------------------------------------------------- speed


@pytest.mark.parametrize(("n", "seconds"), [(8, 0.01), (10, 0.05), (16, 2.0)])
def test_dgr_is_fast(n: int, seconds: float) -> None:
    """Ten times the promised time for small n: benchmarks/tournament.py measures, this guards."""
    comparisons: list[Comparison] = [(i, j, i if i * j % 2 else j) for i, j in combinations(range(n), 2)]
    dgr(n, comparisons)
    start = time.perf_counter()
    dgr(n, comparisons)
    assert time.perf_counter() - start < seconds
