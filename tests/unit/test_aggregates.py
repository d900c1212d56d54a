"""Figures over seeds: interquartile means and their bootstrap intervals."""

import numpy as np
import pytest

from cartpole_cli.training.aggregates import Aggregate, interquartile_mean, probability_of_improvement


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
    assert interquartile_mean(values).iqm == pytest.approx(expected)


@pytest.mark.parametrize("values", [[500.0], [500.0, 500.0], [3.25] * 32])
def test_equal_values_have_an_interval_of_no_width(values: list[float]) -> None:
    assert interquartile_mean(values) == Aggregate(values[0], (values[0], values[0]))


@pytest.mark.parametrize("values", [[1.0, 2.0], [10.0, 400.0, 500.0], [1.0, 2.0, 3.0, 50.0, 60.0, 500.0]])
def test_the_interval_lies_within_the_values_and_around_their_middle(values: list[float]) -> None:
    aggregate = interquartile_mean(values)
    low, high = aggregate.ci95
    assert min(values) <= low < aggregate.iqm < high <= max(values)


def test_the_same_values_give_the_same_interval_whatever_was_drawn_before() -> None:
    values = np.random.default_rng(3).normal(300, 50, size=12).tolist()
    first = interquartile_mean(values)
    np.random.default_rng().random(5)
    np.random.seed(8)  # the global generator is not asked either
    assert interquartile_mean(values) == first
    assert first.ci95 == pytest.approx(interquartile_mean([*reversed(values)]).ci95, rel=0.03)


def test_the_interval_is_that_of_a_trimmed_mean_for_many_values() -> None:
    """Its variance is that of the winsorized values over n (1 - 2 trim)^2 (Tukey and McLaughlin 1963)."""
    values = np.sort(np.random.default_rng(5).normal(300, 20, size=400))
    low, high = interquartile_mean(values.tolist()).ci95
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
    assert probability_of_improvement(first, second)[0] == expected
    assert probability_of_improvement(second, first)[0] == 1 - expected


def test_the_interval_of_a_probability_of_improvement_is_that_of_its_seeds() -> None:
    """Of 32 seeds each of equal distributions 0.5 is inside, of shifted ones it is not; fewer seeds, a wider one."""
    same, other = np.random.default_rng(0).normal(size=(2, 32))
    low, high = probability_of_improvement(same.tolist(), other.tolist())[1]
    assert low < 0.5 < high
    few = probability_of_improvement(same[:8].tolist(), other[:8].tolist())[1]
    assert few[1] - few[0] > high - low
    assert probability_of_improvement((same + 1).tolist(), other.tolist())[1][0] > 0.5
