"""Figures over training seeds, after Agarwal et al. (2021), "Deep RL at the edge of the statistical precipice"."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Aggregate:
    """An interquartile mean and the 95 % bootstrap interval of it."""

    iqm: float
    ci95: tuple[float, float]


def interquartile_mean(values: Sequence[float]) -> Aggregate:
    """The mean of the middle half of one number per seed, with its 95 % percentile bootstrap interval over seeds.

    Agarwal et al. resample within each task (stratified); a study has one. The same values give the same interval.
    """
    from scipy import stats  # noqa: PLC0415  # two thirds of a second, and only studies need it

    sample = np.array(values, dtype=np.float64)
    iqm = float(stats.trim_mean(sample, 0.25))
    if np.ptp(sample) == 0:
        return Aggregate(iqm, (iqm, iqm))
    interval = stats.bootstrap(
        (sample,),
        lambda resample, axis: stats.trim_mean(resample, 0.25, axis=axis),
        n_resamples=RESAMPLES,
        method="percentile",
        rng=0,
    ).confidence_interval
    return Aggregate(iqm, (float(interval.low), float(interval.high)))


def interquartile_means(
    values: Float[np.ndarray, "S P"],
) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P"], Float[np.ndarray, "P"]]:
    """For each column the interquartile mean over seeds, and the two ends of its 95 % percentile bootstrap interval.

    All columns are of the same resampled seeds, as a curve's points have to be.
    """
    num_seeds = len(values)
    picks = np.random.default_rng(0).integers(num_seeds, size=(RESAMPLES, num_seeds))
    resampled = np.stack([_middle_half(column[picks]) for column in values.T], axis=1)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    return _middle_half(values.T), low, high


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """That a seed of the first scores more than one of the second, ties counting half, and its 95 % interval.

    Agarwal et al. 2021, eq. 2, over all pairs of seeds; the percentile bootstrap resamples the seeds of each.
    """
    better = np.array([[(mine > other) + (mine == other) / 2 for other in second] for mine in first])
    generator = np.random.default_rng(0)
    rows, columns = (generator.integers(len(each), size=(RESAMPLES, len(each))) for each in (first, second))
    resampled = [better[np.ix_(down, across)].mean() for down, across in zip(rows, columns, strict=True)]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return float(better.mean()), (float(low), float(high))


def _middle_half(values: Float[np.ndarray, "P S"]) -> Float[np.ndarray, "P"]:
    cut = values.shape[1] // 4
    return np.asarray(np.sort(values, axis=1)[:, cut : values.shape[1] - cut].mean(axis=1))
