"""What became of a condition's episodes, each figure with a 95 % interval."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cartpole_cli.intervals import bootstrap_mean
from cartpole_cli.scoring.page.physics import STEPS_PER_SECOND, Flags, Floats
from cartpole_cli.scoring.page.simulate import Course

Z95 = 1.959963984540054
FINAL_SECONDS = 5
STEADY_SECONDS = 1
PRIOR = 20
"""Episodes."""


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


def outcomes(course: Course) -> Outcomes:
    """Judge each episode."""
    final = FINAL_SECONDS * STEPS_PER_SECOND
    stands = (course.upright & course.on_rail)[-final:].all(axis=0)
    recovery = np.array([_longest_gap(row) for row in course.upright.T])
    return Outcomes(
        stands=np.asarray(stands),
        on_rail=np.asarray(course.on_rail.all(axis=0)),
        upright=course.upright[1:].mean(axis=0),
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
    return _wilson(int(events.sum()) / len(events), float(len(events)))


def mean(values: Floats) -> Estimate | None:
    """The mean, with its percentile bootstrap interval; None of nothing."""
    return Estimate(float(values.mean()), bootstrap_mean(values)) if len(values) else None


def mean_of_shares(conditions: Sequence[Flags]) -> Estimate:
    """The plain mean of the shares of several conditions, each given as [cells, episodes]; a stratified sample.

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
