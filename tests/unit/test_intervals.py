"""Bootstrap intervals, however many values there are."""

import tracemalloc

import numpy as np
import pytest

from cartpole_cli import intervals
from cartpole_cli.intervals import RESAMPLES, bootstrap_mean
from cartpole_cli.scoring.motion import probability_of_improvement
from cartpole_cli.scoring.page.outcomes import mean
from cartpole_cli.training.evaluation import Evaluation


@pytest.mark.parametrize("count", [1, 2, 7, 100, 1001])
def test_it_is_that_of_all_resamples_at_once(count, monkeypatch):
    values = np.random.default_rng(1).normal(5, 1, count)
    picks = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    expected = tuple(np.quantile(values[picks].mean(axis=1), [0.025, 0.975]))
    assert bootstrap_mean(values) == expected
    monkeypatch.setattr(intervals, "PICKS_AT_ONCE", 3 * count)
    assert bootstrap_mean(values) == expected


@pytest.mark.parametrize("interval", ["evaluation", "suite", "comparison"])
def test_many_values_take_no_more_memory(interval):
    values = tuple(np.random.default_rng(0).integers(2, size=20_000).astype(float).tolist())
    tracemalloc.start()
    low, high = {
        "evaluation": lambda: Evaluation("many", values).ci95,
        "suite": lambda: mean(np.array(values)).ci95,
        "comparison": lambda: probability_of_improvement(values, values[::-1])["ci95"],
    }[interval]()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6, "all resamples at once take 640 MB"
    assert 0.48 < low < 0.5 < high < 0.52
