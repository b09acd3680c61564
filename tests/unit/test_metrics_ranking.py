"""Ranking accuracy, tie policies and the bias of positions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.metrics.bootstrap import Bootstrap
from grrm.metrics.ranking_accuracy import (
    JudgedGroup,
    accuracy,
    accuracy_by_position,
    best_found_by_position,
    score_order_sensitivity,
    score_rankings,
    tie_threshold,
)
from grrm.ranking import labels, ranking_accuracy

SCORES = st.integers(0, 10)


@st.composite
def judged_groups(draw, n=None):
    n = n or draw(st.integers(2, 6))
    scores = st.lists(SCORES, min_size=n, max_size=n)
    return JudgedGroup(draw(scores), draw(scores), draw(st.permutations(range(n))))


def group(reference, predicted, order=None):
    return JudgedGroup(reference, predicted, order or list(range(len(reference))))


def values(groups):
    bootstrap = Bootstrap(samples=10)
    return {name: bootstrap.estimate(stratum).value for name, (stratum, _) in score_rankings(groups).items()}


@pytest.mark.parametrize(
    ("reference", "predicted", "strict", "half", "untied"),
    [
        ([8, 5, 2], [9, 4, 1], 1, 1, 1),
        ([8, 5, 2], [1, 4, 9], 0, 0, 0),
        ([8, 5, 2], [9, 1, 4], 2 / 3, 2 / 3, 2 / 3),
        ([8, 8], [5, 5], 1, 1, None),
        ([8, 8], [5, 4], 0, 0.5, None),
        ([8, 5], [4, 4], 0, 0.5, 0),
        ([8, 8, 2], [7, 6, 1], 2 / 3, 5 / 6, 1),
        ([8, 5, 2], None, 0, 0, 0),
        ([8, 8], None, 0, 0, None),
        ([-0.5, -3.25], [1, 0], 1, 1, 1),
    ],
)
def test_accuracy_under_each_tie_policy(reference, predicted, strict, half, untied):
    judged = group(reference, predicted)
    assert accuracy(judged) == pytest.approx(strict)
    assert accuracy(judged, "half") == pytest.approx(half)
    assert accuracy(judged, "untied") == pytest.approx(untied)


@given(judged_groups())
def test_strict_accuracy_is_the_ranking_accuracy_of_rankings(judged):
    names = labels(len(judged.reference))
    expected = ranking_accuracy(
        dict(zip(names, judged.predicted, strict=True)), dict(zip(names, judged.reference, strict=True))
    )
    assert accuracy(judged) == pytest.approx(expected)


@given(judged_groups())
def test_half_credit_never_takes_away(judged):
    assert accuracy(judged) <= accuracy(judged, "half") <= 1


@given(st.lists(judged_groups(), min_size=1, max_size=8))
def test_metrics_are_shares(groups):
    assert all(0 <= value <= 1 for value in values(groups).values())


def test_every_group_counts_alike_whatever_its_pairs():
    groups = [group([2, 1], [1, 2]), group([4, 3, 2, 1], [4, 3, 2, 1])]
    assert values(groups)["ranking_accuracy"] == 0.5


def test_an_invalid_answer_is_wrong_and_lowers_the_valid_rate():
    scores = values([group([2, 1], [2, 1]), group([2, 1], None)])
    assert scores == {
        "ranking_accuracy": 0.5,
        "ranking_accuracy_calibrated": 0.5,
        "ranking_accuracy_half_ties": 0.5,
        "ranking_accuracy_untied": 0.5,
        "valid_rate": 0.5,
        "exact_share": 0.5,
    }


def test_groups_of_ties_only_have_no_accuracy_without_ties():
    assert "ranking_accuracy_untied" not in values([group([5, 5], [5, 5])])


def test_signatures_tell_the_metrics_apart():
    signatures = [signature for _, signature in score_rankings([group([2, 1], [2, 1])]).values()]
    assert len(set(signatures)) == len(signatures)
    assert "ranking_accuracy|ties:strict|invalid:0|mean:groups" in signatures


def test_the_position_is_where_the_judge_saw_the_best_candidate():
    found = best_found_by_position([group([1, 9, 4], [1, 9, 4], order=[2, 0, 1])])
    assert list(found) == [(3, 2)]


def test_a_judge_that_prefers_the_first_position_shows_in_the_table():
    groups = [group([9, 1], [9, 1], [0, 1]), group([9, 1], [1, 9], [1, 0])] * 5
    bootstrap = Bootstrap(samples=10)
    found = {place: bootstrap.estimate(stratum) for place, stratum in best_found_by_position(groups).items()}
    assert {place: (estimate.value, estimate.n) for place, estimate in found.items()} == {
        (2, 0): (1, 5),
        (2, 1): (0, 5),
    }


@pytest.mark.parametrize("predicted", [[9, 9], [1, 2], None])
def test_the_best_is_found_only_alone_on_top(predicted):
    (stratum,) = best_found_by_position([group([9, 1], predicted)]).values()
    assert stratum.statistics[0, 0] == 0


def test_groups_without_one_best_do_not_count_for_positions():
    assert best_found_by_position([group([9, 9, 1], [9, 1, 1])]) == {}


def test_no_groups_are_an_error():
    with pytest.raises(ValueError, match="no groups"):
        score_rankings([])


@pytest.mark.parametrize(
    ("reference", "predicted", "order", "message"),
    [
        ([1], [1], [0], "expected 2 or more"),
        ([1, 2], [1], [0, 1], "1 scores for 2 candidates"),
        ([1, 2], [1, 2], [0, 0], "permutation"),
        ([1, 2], [1, 2], [0], "permutation"),
    ],
)
def test_groups_that_do_not_fit_together_are_an_error(reference, predicted, order, message):
    with pytest.raises(ValueError, match=message):
        JudgedGroup(reference, predicted, order)


# ---------------------------------------------------------------- tie calibration


def mean_accuracy(groups, threshold):
    return sum(accuracy(group, threshold=threshold) for group in groups) / len(groups)


@given(st.lists(judged_groups(), min_size=1, max_size=5))
def test_no_other_threshold_is_better(groups):
    best = tie_threshold(groups)
    for threshold in (0.0, 0.5, *range(11)):
        assert mean_accuracy(groups, best) >= mean_accuracy(groups, threshold) - 1e-9


def test_a_judge_that_never_ties_gains_by_calibration():
    groups = [group([5, 5], [8.1, 8.0]), group([5, 9], [2.0, 9.0])]
    assert tie_threshold(groups) == pytest.approx(0.1)
    scores = values(groups)
    assert (scores["ranking_accuracy"], scores["ranking_accuracy_calibrated"]) == (0.5, 1)


def test_without_a_gain_nothing_is_tied():
    assert tie_threshold([group([1, 2], [1, 2]), group([1, 2], None)]) == 0
    assert tie_threshold([group([1, 2], None)]) == 0


# ---------------------------------------------------------------- orders


def order_values(*judgements):
    bootstrap = Bootstrap(samples=100)
    return {
        name: bootstrap.estimate(stratum).value
        for name, (stratum, _) in score_order_sensitivity(judgements).items()
    }


def turned(reference, predicted):
    """The same group, shown in the opposite order."""
    return group(reference, predicted, order=list(range(len(reference)))[::-1])


def test_a_pair_turned_round_is_flipped_and_a_new_tie_only_changed():
    before = [group([3, 2, 1], [3, 2, 1])]
    assert order_values(before, [turned([3, 2, 1], [2, 3, 1])]) == pytest.approx(
        {"flipped_pairs": 1 / 3, "changed_pairs": 1 / 3}
    )
    assert order_values(before, [turned([3, 2, 1], [2, 2, 1])]) == pytest.approx(
        {"flipped_pairs": 0, "changed_pairs": 1 / 3}
    )


def test_groups_without_two_valid_answers_do_not_count_for_orders():
    first = [group([1, 2], [1, 2]), group([1, 2], None), group([1, 2], [1, 2])]
    second = [turned([1, 2], [2, 1]), turned([1, 2], [1, 2]), turned([1, 2], None)]
    assert order_values(first, second)["flipped_pairs"] == 1
    assert order_values(first[1:], second[1:]) == {}


def test_the_same_order_again_says_nothing_about_orders():
    first, second = [group([1, 2], [1, 2])] * 2, [group([1, 2], [2, 1]), turned([1, 2], [1, 2])]
    assert order_values(first, second)["flipped_pairs"] == 0
    assert order_values(first[:1], second[:1]) == {}


def test_three_orders_are_compared_two_by_two():
    orders = ([0, 1, 2], [1, 0, 2], [2, 1, 0])
    judgements = [
        [group([1, 2, 3], predicted, order)]
        for predicted, order in zip(([1, 2, 3], [1, 2, 3], [2, 1, 3]), orders, strict=True)
    ]
    assert order_values(*judgements)["flipped_pairs"] == pytest.approx(2 / 9)


def test_a_group_judged_twice_is_one_group():
    first, second = [group([9, 1], [9, 1])] * 3, [group([9, 1], [1, 9])] * 3
    (stratum,) = best_found_by_position(first, second).values()
    estimate = Bootstrap(samples=100).estimate(stratum)
    assert (estimate.value, estimate.n) == (0.5, 3)
    # Were each judgement a group of its own, the interval would have a width.
    assert estimate.low == estimate.high == 0.5


def test_accuracy_by_position_of_the_best():
    groups = [group([9, 1, 1], [9, 1, 2], order=[0, 1, 2]), group([9, 1, 5], [9, 1, 5], order=[1, 2, 0])]
    accuracies = {
        place: Bootstrap(samples=100).estimate(s).value for place, s in accuracy_by_position(groups).items()
    }
    assert accuracies == pytest.approx({(3, 0): 2 / 3, (3, 2): 1})
