"""What became of a condition's episodes, each figure with a 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cartpole_cli.intervals import bootstrap_mean
from cartpole_cli.robustness.page import STEPS_PER_SECOND, Flags, Floats
from cartpole_cli.robustness.play import Played

Z95 = 1.959963984540054
FINAL_SECONDS = 5
STEADY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A share or a mean, and its 95 % interval."""

    value: float
    ci95: tuple[float, float]

    def as_plain_data(self) -> dict[str, float | list[float]]:
        return {"value": self.value, "ci95": list(self.ci95)}


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One value per episode."""

    stands: Flags
    """Upright and on the rail all through the last 5 s."""
    on_rail: Flags
    """Never beyond 5 m."""
    upright: Floats
    """The share of time the pole was within 20 degrees of upright."""
    recovery: Floats
    """The longest time without a steady pole, in seconds, of those that stand at the end; nan of others. A pole is
    steady that stays upright for at least 1 s."""


def outcomes(played: Played) -> Outcomes:
    """Judge each episode."""
    final = FINAL_SECONDS * STEPS_PER_SECOND
    stands = (played.upright & played.on_rail)[-final:].all(axis=0)
    recovery = np.array([_longest_gap(row) for row in played.upright.T])
    return Outcomes(
        stands=np.asarray(stands),
        on_rail=np.asarray(played.on_rail.all(axis=0)),
        upright=played.upright[1:].mean(axis=0),
        recovery=np.where(stands, recovery, np.nan),
    )


def _longest_gap(upright: Flags) -> float:
    """The longest time between stretches of at least `STEADY_SECONDS`, in seconds."""
    edges = np.flatnonzero(np.diff(upright, prepend=False, append=False)).reshape(-1, 2)
    steady = edges[edges[:, 1] - edges[:, 0] >= STEADY_SECONDS * STEPS_PER_SECOND]
    ends = np.concatenate([[0], steady[:, 1]])
    begins = np.concatenate([steady[:, 0], [len(upright)]])
    return float((begins - ends).max()) / STEPS_PER_SECOND


def share(events: Flags) -> Estimate:
    """How often something was so, with Wilson's (1927) score interval."""
    count, total = int(events.sum()), len(events)
    mean = count / total
    centre = (mean + Z95**2 / (2 * total)) / (1 + Z95**2 / total)
    half = Z95 / (1 + Z95**2 / total) * np.sqrt(mean * (1 - mean) / total + Z95**2 / (4 * total**2))
    # At 0 and all the bound is the share itself, but for rounding.
    return Estimate(mean, (float(min(max(centre - half, 0.0), mean)), float(max(min(centre + half, 1.0), mean))))


def mean(values: Floats) -> Estimate | None:
    """The mean, with its percentile bootstrap interval; None of nothing."""
    return Estimate(float(values.mean()), bootstrap_mean(values)) if len(values) else None


def mean_of_shares(shares: Sequence[Estimate]) -> Estimate:
    """The plain mean of independent shares, its interval by the method of variance estimates recovery.

    Zou and Donner 2008: each share's distance to its own bound takes the place of its standard error.
    """
    value = float(np.mean([each.value for each in shares]))
    down = float(np.linalg.norm([each.value - each.ci95[0] for each in shares])) / len(shares)
    up = float(np.linalg.norm([each.ci95[1] - each.value for each in shares])) / len(shares)
    return Estimate(value, (value - down, value + up))
