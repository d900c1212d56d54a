"""Means, shares and probabilities, and their intervals."""

import tracemalloc

import numpy as np
import pytest

from cartpole_cli import intervals
from cartpole_cli.estimate import Estimate
from cartpole_cli.intervals import (
    RESAMPLES,
    interquartile_difference,
    interquartile_mean,
    interquartile_means,
    mean,
    paired_probability_of_improvement,
    probability_of_improvement,
)

# However many values there are


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1001])
def test_it_is_that_of_all_resamples_at_once(count, monkeypatch):
    values = np.random.default_rng(1).normal(5, 1, count)
    picks = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    expected = Estimate(values.mean(), tuple(np.quantile(values[picks].mean(axis=1), [0.025, 0.975])))
    assert mean(values) == expected
    monkeypatch.setattr(intervals, "PICKS_AT_ONCE", 3 * count)
    assert mean(values) == expected


def test_two_samples_are_resampled_alike_in_blocks_of_any_size(monkeypatch):
    first, second = np.random.default_rng(1).normal(size=(2, 9)).tolist()
    expected = probability_of_improvement(first, second)
    monkeypatch.setattr(intervals, "PICKS_AT_ONCE", 7 * 81)
    assert probability_of_improvement(first, second) == expected


COINS = np.random.default_rng(0).integers(2, size=20_000).astype(float)


@pytest.mark.parametrize(
    ("interval", "margin"),
    [
        (lambda: mean(COINS).interval, 0.02),
        (lambda: paired_probability_of_improvement(COINS.tolist(), COINS[::-1].tolist()).interval, 0.02),
        (lambda: probability_of_improvement(COINS[:400].tolist(), COINS[400:800].tolist()).interval, 0.1),
        (lambda: [ends[0] for ends in interquartile_means(COINS.reshape(2000, 10))[1:]], 0.07),
    ],
    ids=["mean", "paired", "all pairs", "curve"],
)
def test_many_values_take_no_more_memory(interval, margin):
    tracemalloc.start()
    low, high = interval()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6, "all resamples at once take 640 MB"
    assert 0.5 - margin < low < 0.5 < high < 0.5 + margin


# Over seeds


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.0, 2.0, 3.0, 4.0], 2.5),
        ([4.0, 1.0, 3.0, 2.0], 2.5),
        ([100.0, 1.0, 2.0, 3.0, -50.0], 2.0),  # a quarter of five is one, rounded down: 1, 2, 3
        ([0.0, 0.0, 1.0, 2.0, 3.0, 6.0, 500.0, 900.0], 3.0),  # (1 + 2 + 3 + 6) / 4
        ([7.0, 9.0], 8.0),
        ([1.0, 2.0, 6.0], 3.0),
    ],
)
def test_it_is_the_mean_of_the_middle_half(values: list[float], expected: float) -> None:
    assert interquartile_mean(values).value == pytest.approx(expected)


@pytest.mark.parametrize("values", [[500.0], [500.0, 500.0], [3.25] * 32])
def test_equal_values_have_an_interval_of_no_width(values: list[float]) -> None:
    assert interquartile_mean(values) == Estimate(values[0], (values[0], values[0]))


@pytest.mark.parametrize("values", [[1.0, 2.0], [10.0, 400.0, 500.0], [1.0, 2.0, 3.0, 50.0, 60.0, 500.0]])
def test_the_interval_lies_within_the_values_and_around_their_middle(values: list[float]) -> None:
    middle = interquartile_mean(values)
    low, high = middle.interval
    assert min(values) <= low < middle.value < high <= max(values)


def test_the_same_values_give_the_same_interval_whatever_was_drawn_before() -> None:
    values = np.random.default_rng(3).normal(300, 50, size=12).tolist()
    first = interquartile_mean(values)
    np.random.default_rng().random(5)
    np.random.seed(8)  # the global generator is not asked either
    assert interquartile_mean(values) == first
    assert first.interval == pytest.approx(interquartile_mean([*reversed(values)]).interval, rel=0.03)


def test_the_interval_is_that_of_a_trimmed_mean_for_many_values() -> None:
    """Its variance is that of the winsorized values over n (1 - 2 trim)^2 (Tukey and McLaughlin 1963)."""
    values = np.sort(np.random.default_rng(5).normal(300, 20, size=400))
    low, high = interquartile_mean(values.tolist()).interval
    winsorized = values.clip(values[100], values[299])
    margin = 1.96 * winsorized.std() / (0.5 * 20)
    middle = values[100:300].mean()
    assert low == pytest.approx(middle - margin, abs=0.15 * margin)
    assert high == pytest.approx(middle + margin, abs=0.15 * margin)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([2.0, 3.0], [0.0, 1.0], 1.0),
        ([1.0, 3.0], [2.0], 0.5),
        ([500.0] * 4, [500.0] * 3, 0.5),
        ([1.0, 2.0], [2.0], 0.25),
    ],
)
def test_probability_of_improvement_is_over_all_pairs_and_ties_count_half(
    first: list[float], second: list[float], expected: float
) -> None:
    assert probability_of_improvement(first, second).value == expected
    assert probability_of_improvement(second, first).value == 1 - expected


def test_the_interval_of_a_probability_of_improvement_is_that_of_its_seeds() -> None:
    """Of 32 seeds each of equal distributions 0.5 is inside, of shifted ones it is not; fewer seeds, a wider one."""
    same, other = np.random.default_rng(1).normal(size=(2, 32))
    low, high = probability_of_improvement(same.tolist(), other.tolist()).interval
    assert low < 0.5 < high
    few = probability_of_improvement(same[:8].tolist(), other[:8].tolist()).interval
    assert few[1] - few[0] > high - low
    assert probability_of_improvement((same + 1).tolist(), other.tolist()).interval[0] > 0.5


# Over pairs of the same seeds


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([10.0, 20.0, 30.0, 40.0], [1.0, 2.0, 3.0, 4.0], 25 - 2.5),
        ([100.0, 1.0, 2.0, 3.0, -50.0], [0.0, 0.0, 0.0, 9.0, 9.0], 2 - 3),  # 1, 2, 3 less 0, 0, 9
        ([7.0], [9.0], -2.0),
    ],
)
def test_the_difference_is_that_of_the_two_interquartile_means(first, second, expected):
    difference = interquartile_difference(first, second)
    assert difference.value == pytest.approx(expected)
    assert difference.value == pytest.approx(interquartile_mean(first).value - interquartile_mean(second).value)
    low, high = difference.interval
    assert low <= difference.value <= high


def test_what_every_seed_gains_alike_is_certain_however_the_seeds_differ():
    first = [4.0, 500.0, 90.0, 17.0, 250.0]
    assert interquartile_difference(first, [value - 8 for value in first]).interval == pytest.approx((8.0, 8.0))
    shuffled = interquartile_difference(first, [value - 8 for value in sorted(first)])
    assert shuffled.interval[0] < 0 < shuffled.interval[1], "but only of the same seeds"


def test_its_interval_is_that_of_its_pairs_resampled():
    first, second = np.random.default_rng(2).normal(300, 50, size=(2, 12))
    picks = np.random.default_rng(0).integers(12, size=(RESAMPLES, 12))
    middles = [np.sort(values[picks], axis=1)[:, 3:9].mean(axis=1) for values in (first, second)]
    expected = np.quantile(middles[0] - middles[1], [0.025, 0.975])
    found = interquartile_difference(first.tolist(), second.tolist())
    assert found.interval == pytest.approx(tuple(expected))
    back = interquartile_difference(second.tolist(), first.tolist())
    assert (back.value, back.interval) == (
        pytest.approx(-found.value),
        pytest.approx((-found.interval[1], -found.interval[0])),
    )


def test_seeds_without_a_partner_are_refused():
    with pytest.raises(ValueError, match="shape"):
        interquartile_difference([1.0, 2.0], [1.0])


# Over pairs of the same start states


@pytest.mark.parametrize(
    ("first", "second", "probability"),
    [
        ((3.0, 1.0, 2.0), (1.0, 1.0, 3.0), (1 + 0.5 + 0) / 3),
        ((5.0, 5.0, 5.0, 1.0), (1.0, 1.0, 5.0, 5.0), (1 + 1 + 0.5 + 0) / 4),
        ((1.0,), (0.0,), 1.0),
        ((1.0, 2.0), (1.0, 2.0), 0.5),
        ((0.1, 0.2), (500.0, 500.0), 0.0),
    ],
)
def test_the_paired_probability_of_improvement_counts_pairs_and_halves_ties(first, second, probability):
    result = paired_probability_of_improvement(first, second)
    low, high = result.interval
    assert result.value == pytest.approx(probability)
    assert 0 <= low <= result.value <= high <= 1


def test_its_interval_is_a_point_where_every_pair_says_the_same():
    assert paired_probability_of_improvement((3.0, 4.0), (1.0, 1.0)).interval == (1.0, 1.0)
    assert paired_probability_of_improvement((1.0, 1.0), (1.0, 1.0)).interval == (0.5, 0.5)


def test_its_interval_is_that_of_a_coin_where_every_pair_is_won_or_lost():
    # Of 100 pairs 60 are won: a binomial's standard deviation is sqrt(0.6 * 0.4 / 100) = 0.049.
    first, second = [1.0] * 60 + [0.0] * 40, [0.0] * 60 + [1.0] * 40
    low, high = paired_probability_of_improvement(first, second).interval
    assert low == pytest.approx(0.6 - 1.96 * 0.049, abs=0.015)
    assert high == pytest.approx(0.6 + 1.96 * 0.049, abs=0.015)


def test_the_other_way_round_is_the_rest():
    first, second = (3.0, 1.0, 2.0, 9.0), (1.0, 1.0, 3.0, 2.0)
    one, other = paired_probability_of_improvement(first, second), paired_probability_of_improvement(second, first)
    assert one.value == pytest.approx(1 - other.value)
    assert one.interval == pytest.approx(tuple(1 - bound for bound in reversed(other.interval)))
