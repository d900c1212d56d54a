"""Means, shares and probabilities with 95 % intervals. The same values give the same interval.

Figures over training seeds are those of Agarwal et al. (2021), "Deep RL at the edge of the statistical precipice".
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Bool, Float

from cartpole_cli.estimate import Estimate

Z95 = 1.959963984540054
RESAMPLES = 2000
PICKS_AT_ONCE = 2**20
"""Of all resamples together; a number takes 16 bytes: its place and its value."""
PRIOR = 20
"""Episodes."""


def bootstrap(
    statistic: Callable[..., Float[np.ndarray, "resamples *figures"]], *samples: Float[np.ndarray, "_ *axes"]
) -> Float[np.ndarray, "2 *figures"]:
    """The ends of the 95 % percentile bootstrap interval (Efron 1979) of a statistic of independent samples.

    Its memory does not grow with the samples beyond a few resamples. Each sample has a generator, which draws all
    blocks in turn, so how many resamples a block holds changes no number.

    Args:
        statistic: takes resamples of each sample, one along each first axis; gives a row of figures for each.
        samples: their first axis is resampled.
    """
    generators = [np.random.default_rng(place) for place in range(len(samples))]
    per_block = max(1, PICKS_AT_ONCE // math.prod(sample.size for sample in samples))
    blocks = []
    for first in range(0, RESAMPLES, per_block):
        count = min(per_block, RESAMPLES - first)
        pairs = zip(samples, generators, strict=True)
        blocks.append(statistic(*(each[draw.integers(len(each), size=(count, len(each)))] for each, draw in pairs)))
    return np.asarray(np.quantile(np.concatenate(blocks), [0.025, 0.975], axis=0))


def _estimate(
    statistic: Callable[..., Float[np.ndarray, "resamples"]], *samples: Float[np.ndarray, "_ *axes"]
) -> Estimate:
    (value,) = statistic(*(sample[None] for sample in samples)).tolist()
    low, high = bootstrap(statistic, *samples).tolist()
    return Estimate(value, (low, high))


def mean(values: Float[np.ndarray, "N"]) -> Estimate:
    """The mean of N values."""
    return _estimate(lambda resamples: resamples.mean(axis=1), values)


def interquartile_mean(values: Sequence[float]) -> Estimate:
    """The mean of the middle half of one number per seed.

    Agarwal et al. resample within each task (stratified); a study has one.
    """
    return _estimate(_middle_half, np.array(values, dtype=np.float64))


def interquartile_means(
    values: Float[np.ndarray, "S P"],
) -> tuple[Float[np.ndarray, "P"], Float[np.ndarray, "P"], Float[np.ndarray, "P"]]:
    """The same of each column, and the two ends of its interval.

    All columns are of the same resampled seeds, as a curve's points have to be.
    """
    return _middle_half(values[None])[0], *bootstrap(_middle_half, values)


def interquartile_difference(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The interquartile mean of the first less that of the second, one number per seed, the same seeds in both.

    The interquartile mean is that of Agarwal et al. 2021. The bootstrap resamples the seeds, each with both of its
    numbers, so what a seed does to both alike does not widen the interval.

    Args:
        first: at least one number.
        second: as many, of the same seeds in the same order.
    """

    def difference(pairs: Float[np.ndarray, "resamples S 2"]) -> Float[np.ndarray, "resamples"]:
        middles = _middle_half(pairs)
        return np.asarray(middles[:, 0] - middles[:, 1])

    return _estimate(difference, np.array([first, second], dtype=np.float64).T)


def _middle_half(resamples: Float[np.ndarray, "resamples S *P"]) -> Float[np.ndarray, "resamples *P"]:
    cut = resamples.shape[1] // 4
    return np.asarray(np.sort(resamples, axis=1)[:, cut : resamples.shape[1] - cut].mean(axis=1))


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """That a seed of the first scores more than one of the second, ties counting half.

    Agarwal et al. 2021, eq. 2, over all pairs of seeds; the bootstrap resamples the seeds of each.
    """

    def share_of_pairs(
        mine: Float[np.ndarray, "resamples N"], others: Float[np.ndarray, "resamples M"]
    ) -> Float[np.ndarray, "resamples"]:
        return np.asarray(_better(mine[:, :, None], others[:, None, :]).mean(axis=(1, 2)))

    return _estimate(share_of_pairs, np.array(first, dtype=np.float64), np.array(second, dtype=np.float64))


def paired_probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> Estimate:
    """The same where the first value of both is of one start state, and so on; the start states are resampled."""
    return mean(_better(np.array(first), np.array(second)))


def _better(mine: Float[np.ndarray, "*mine"], others: Float[np.ndarray, "*others"]) -> Float[np.ndarray, "*pairs"]:
    return np.asarray((mine > others) + (mine == others) / 2)


def share(events: Bool[np.ndarray, "N"]) -> Estimate:
    """How often something was so, with Wilson's (1927) score interval."""
    return _wilson(int(events.sum()) / len(events), float(len(events)))


def mean_of_shares(conditions: Sequence[Bool[np.ndarray, "_ _"]]) -> Estimate:
    """The plain mean of the shares of several conditions, each [cells, episodes]; a stratified sample.

    Wilson's interval for the effective sample size theta (1 - theta) / V, V the mean's variance (Kish 1965, "Survey
    sampling", 8.2; Korn and Graubard 1998, Survey Methodology 24; Yan and Su 2010, "Stratified Wilson and Newcombe
    confidence intervals"). The strata's own estimate of V, the sum of w^2 p (1 - p) / (n - 1), is worth little where
    hardly any episode failed (or stood): it counts as many times as effective episodes did, against `PRIOR` times the
    variance of strata that are all alike. A stratum of one episode is taken to be like all.

    benchmarks/interval_coverage.py holds it against the truth.
    """
    theta = float(np.mean([flags.mean() for flags in conditions]))
    shares = np.concatenate([flags.mean(axis=1) for flags in conditions])
    cells, sizes = np.repeat([flags.shape for flags in conditions], [len(flags) for flags in conditions], axis=0).T
    weights = 1 / (len(conditions) * cells)
    alike = theta * (1 - theta) * np.sum(weights**2 / sizes)
    within = np.where(sizes > 1, shares * (1 - shares) / np.maximum(sizes - 1, 1), theta * (1 - theta))
    most = 1 / float(np.sum(weights**2 / sizes))
    seen = most * min(theta, 1 - theta)
    variance = (seen * np.sum(weights**2 * within) + PRIOR * alike) / (seen + PRIOR)
    return _wilson(theta, theta * (1 - theta) / float(variance) if variance else most)


def _wilson(value: float, total: float) -> Estimate:
    """A share of `total` independent episodes, and Wilson's (1927) score interval."""
    centre = (value + Z95**2 / (2 * total)) / (1 + Z95**2 / total)
    half = Z95 / (1 + Z95**2 / total) * np.sqrt(value * (1 - value) / total + Z95**2 / (4 * total**2))
    # At 0 and all the bound is the share itself, but for rounding.
    return Estimate(value, (float(min(max(centre - half, 0.0), value)), float(max(min(centre + half, 1.0), value))))
