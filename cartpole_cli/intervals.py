"""Bootstrap intervals."""

import numpy as np
from jaxtyping import Float

RESAMPLES = 2000
PICKS_AT_ONCE = 2**20
"""Of all resamples together; a number takes 16 bytes: its place and its value."""


def bootstrap_mean(values: Float[np.ndarray, "N"]) -> tuple[float, float]:
    """The 95 % percentile bootstrap interval of the mean of N values (Efron 1979), the same for the same values.

    Its memory does not grow with N beyond a few resamples. One generator draws all blocks in turn, so how many
    resamples a block holds changes no number.
    """
    generator = np.random.default_rng(0)
    per_block = max(1, PICKS_AT_ONCE // len(values))
    means: Float[np.ndarray, "resamples"] = np.empty(RESAMPLES)
    for first in range(0, RESAMPLES, per_block):
        block = means[first : first + per_block]
        picks = generator.integers(len(values), size=(len(block), len(values)))
        block[:] = values[picks].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)
