"""The percentile bootstrap over sufficient statistics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grrm.files import UserError
from grrm.metrics.bootstrap import Bootstrap, Stratum, mean, mean_of_known, over_runs, ratio

VALUES = st.lists(st.floats(-100, 100), min_size=1, max_size=30)
FAST = Bootstrap(samples=100)


@given(VALUES)
def test_the_interval_of_a_mean_lies_within_the_values_and_around_the_resampled_means(values):
    estimate = FAST.estimate(mean(values))
    assert estimate.value == pytest.approx(np.mean(values))
    assert min(values) - 1e-9 <= estimate.low <= estimate.high <= max(values) + 1e-9
    assert estimate.n == len(values)


@given(VALUES)
def test_the_same_seed_gives_the_same_interval(values):
    assert FAST.estimate(mean(values)) == FAST.estimate(mean(values))


def test_another_seed_gives_another_interval():
    values = np.random.default_rng(0).normal(size=50)
    assert Bootstrap(seed=0).estimate(mean(values)) != Bootstrap(seed=1).estimate(mean(values))


@given(st.floats(-100, 100), st.integers(1, 20))
def test_equal_values_have_no_spread(value, n):
    estimate = FAST.estimate(mean([value] * n))
    assert estimate.low == pytest.approx(value)
    assert estimate.high == pytest.approx(value)


@given(VALUES, st.floats(-50, 50))
def test_a_difference_is_paired_so_a_constant_gain_has_no_spread(values, gain):
    difference = FAST.difference([mean(values)], [mean([value + gain for value in values])])
    assert (difference.value, difference.low, difference.high) == pytest.approx((gain,) * 3, abs=1e-6)


@given(VALUES)
def test_a_difference_turned_round_is_its_negative(values):
    other = [mean(values[::-1])]
    there, back = FAST.difference([mean(values)], other), FAST.difference(other, [mean(values)])
    assert there.value == pytest.approx(-back.value, abs=1e-9)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low), abs=1e-6)


SIMULATIONS, SEGMENTS = 1000, 150


def coverage(scores, truth):
    """Share of simulated experiments whose interval holds the truth; one score (resampled) for each."""
    intervals = [Bootstrap(samples=1000).interval(score) for score in scores]
    return sum(estimate.low <= truth <= estimate.high for estimate in intervals) / len(intervals)


def resampled(simulate):
    """Many simulated experiments, resampled in one go."""
    generator = np.random.default_rng(0)
    return Bootstrap(samples=1000).resample([simulate(generator) for _ in range(SIMULATIONS)])


def test_intervals_of_a_mean_cover_the_truth_as_often_as_they_say():
    scores = resampled(lambda generator: mean(generator.normal(size=SEGMENTS)))
    assert 0.93 <= coverage(scores, 0.0) <= 0.97


def test_intervals_of_a_ratio_cover_the_truth_as_often_as_they_say():
    def simulate(generator):
        lengths = generator.integers(5, 40, size=SEGMENTS)
        return ratio(generator.binomial(lengths, 0.3), lengths)

    assert 0.93 <= coverage(resampled(simulate), 0.3) <= 0.97


def two_systems(gain):
    """Pairs of systems that share the difficulty of the segments."""
    hard = np.random.default_rng(1).normal(size=(SIMULATIONS, SEGMENTS))
    rows = iter([*hard, *(hard + gain)])
    scores = [
        Bootstrap(samples=1000).resample(
            [mean(next(rows) + 0.5 * generator.normal(size=SEGMENTS)) for _ in range(SIMULATIONS)]
        )
        for generator in (np.random.default_rng(2), np.random.default_rng(3))
    ]
    return [after - before for before, after in zip(*scores, strict=True)]


def test_intervals_of_a_paired_difference_cover_the_truth_as_often_as_they_say():
    assert 0.93 <= coverage(two_systems(0.2), 0.2) <= 0.97


def test_p_values_of_equal_systems_are_spread_evenly():
    bootstrap = Bootstrap(samples=1000)
    values = [bootstrap.p_value(difference) for difference in two_systems(0.0)]
    assert 0.03 <= np.mean(np.array(values) <= 0.05) <= 0.07
    assert np.mean(values) == pytest.approx(0.5, abs=0.04)


def test_intervals_over_several_runs_cover_the_expected_score():
    """The runs share the segments: more of them do not make the interval narrower than that."""

    def simulate(generator):
        hard = generator.normal(size=SEGMENTS)
        return over_runs([mean(hard + 0.5 * generator.normal(size=SEGMENTS)) for _ in range(3)])

    assert 0.93 <= coverage(resampled(simulate), 0.0) <= 0.97


def test_a_clear_difference_has_the_smallest_p_value():
    one, other = (FAST.resample([mean(np.arange(50) + shift)])[0] for shift in (0, 10))
    assert FAST.p_value(other - one) == 1 / 101


def test_resamples_without_a_score_are_no_evidence():
    """One segment of many counts: where it is not drawn there is no difference, neither 0 nor any other."""
    counted = [1.0] + [0.0] * 49
    one, other = (FAST.resample([ratio([score] + [0.0] * 49, counted)])[0] for score in (1.0, 2.0))
    difference = other - one
    missing = int(np.isnan(difference.scores).sum())
    assert 20 < missing < 60
    assert FAST.p_value(difference) == 1 / (100 - missing + 1)
    assert difference.too_few


@pytest.mark.parametrize(
    ("known", "size", "too_few"), [(9, 40, True), (10, 40, False), (8, 8, False), (7, 8, True), (0, 1, True)]
)
def test_few_segments_are_too_few_unless_there_are_no_more(known, size, too_few):
    (resampled,) = FAST.resample([mean_of_known([0.5] * known + [None] * (size - known))])
    assert resampled.too_few == too_few


def test_a_score_over_runs_is_the_mean_of_their_scores():
    runs = [ratio([1, 9], [2, 10]), ratio([2, 3], [2, 10])]
    combined = over_runs(runs)
    assert combined.value == pytest.approx((10 / 12 + 5 / 12) / 2)
    assert over_runs(runs[:1]) is runs[0]


def test_runs_of_other_segments_cannot_be_averaged():
    with pytest.raises(ValueError, match=r"\[2, 1\] segments"):
        over_runs([mean([1, 2]), mean([1])])


def test_values_that_are_not_known_are_left_out():
    estimate = FAST.estimate(mean_of_known([1.0, None, 3.0, None]))
    assert (estimate.value, estimate.n) == (2, 2)
    assert 1 <= estimate.low <= estimate.high <= 3


def test_a_number_of_segments_is_of_those_that_count():
    one, other = mean_of_known([1.0, None, 3.0, None]), mean_of_known([None, None, 2.0, 4.0])
    assert FAST.estimate(ratio([0, 0, 0], [1, 0, 2])).n == 2
    assert FAST.estimate(over_runs([one, other])).n == 3  # in any of the runs
    assert FAST.difference([one], [other]).n == 1  # in both systems
    assert FAST.estimate(one, mean([1, 2, 3])).n == 5  # in all parts together


def test_metrics_of_the_same_segments_are_resampled_alike_and_in_one_go():
    values = np.random.default_rng(5).normal(size=60)
    together = FAST.resample([mean(values), ratio(values, values**2), mean(values[:20])])
    apart = [FAST.resample([stratum])[0] for stratum in (mean(values), ratio(values, values**2))]
    for one, other in zip(together, apart, strict=False):
        assert one.scores == pytest.approx(other.scores)


def test_a_mean_has_the_width_that_theory_gives():
    values = np.random.default_rng(1).normal(size=2000)
    estimate = Bootstrap(samples=4000).estimate(mean(values))
    expected = 2 * 1.96 * values.std() / np.sqrt(len(values))
    assert estimate.high - estimate.low == pytest.approx(expected, rel=0.08)


def test_a_ratio_is_of_sums_not_a_mean_of_ratios():
    assert FAST.estimate(ratio([1, 9], [2, 10])).value == pytest.approx(10 / 12)


def test_strata_count_alike_whatever_their_size():
    estimate = FAST.estimate(mean([0.0] * 9), mean([1.0]))
    assert estimate.value == 0.5
    assert estimate.n == 10


def test_strata_are_resampled_apart():
    """Were they resampled alike, the mean of a column and its negative would always be 0."""
    values = np.random.default_rng(2).normal(size=50)
    estimate = FAST.estimate(mean(values), mean(-values))
    assert estimate.value == pytest.approx(0, abs=1e-12)
    assert estimate.high - estimate.low > 0.05


def test_a_wider_level_gives_a_wider_interval():
    stratum = mean(np.random.default_rng(3).normal(size=50))
    narrow, wide = Bootstrap(level=0.5).estimate(stratum), Bootstrap(level=0.95).estimate(stratum)
    assert wide.low < narrow.low < narrow.high < wide.high


def test_many_segments_are_resampled_in_parts():
    values = np.random.default_rng(4).normal(size=30_000)
    estimate = Bootstrap(samples=300).estimate(mean(values))
    assert estimate.low < values.mean() < estimate.high


def test_other_segments_cannot_be_paired():
    with pytest.raises(ValueError, match=r"same segments, got \[2\] and \[3\]"):
        FAST.difference([mean([1, 2])], [mean([1, 2, 3])])


def test_no_segments_are_an_error():
    with pytest.raises(ValueError, match="segments > 0"):
        Stratum(np.empty((0, 2)), lambda sums: sums[:, 0])
    with pytest.raises(ValueError, match="nothing to score"):
        FAST.estimate()


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_a_level_out_of_range_is_an_error(level):
    with pytest.raises(ValueError, match="expected a number between 0 and 1"):
        Bootstrap(level=level)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"samples": 0}, "samples of the bootstrap are 0"), ({"seed": -1}, "seed of the bootstrap is -1")],
)
def test_options_of_the_command_are_refused_in_one_line(settings, words):
    with pytest.raises(UserError, match=words):
        Bootstrap(**settings)
