"""What became of a condition's episodes."""

from dataclasses import dataclass

import numpy as np

from cartpole_cli.scoring.page.physics import STEPS_PER_SECOND, Flags, Floats
from cartpole_cli.scoring.page.simulate import Course, Motion

FINAL_SECONDS = 5
STEADY_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Outcomes:
    """One value per episode."""

    stands: Flags
    """Upright and on the rail all through the last 5 s."""
    on_rail: Flags
    """Never beyond 5 m."""
    never_down: Flags
    """The pole never past 90 degrees."""
    upright: Floats
    """The share of time the pole was within 20 degrees of upright."""
    recovery: Floats
    """The longest time without a steady pole, in seconds, of those that stand at the end; nan of others. A pole is
    steady that stays upright for at least 1 s."""
    motion: Motion
    """How the cart was moved, after the first 5 s."""


def outcomes(course: Course) -> Outcomes:
    """Judge each episode."""
    final = FINAL_SECONDS * STEPS_PER_SECOND
    stands = (course.upright & course.on_rail)[-final:].all(axis=0)
    recovery = np.array([_longest_gap(row) for row in course.upright.T])
    return Outcomes(
        stands=np.asarray(stands),
        on_rail=np.asarray(course.on_rail.all(axis=0)),
        never_down=course.never_down,
        upright=course.upright[1:].mean(axis=0),
        recovery=np.where(stands, recovery, np.nan),
        motion=course.motion,
    )


def _longest_gap(upright: Flags) -> float:
    """The longest time between stretches of at least `STEADY_SECONDS`, in seconds."""
    edges = np.flatnonzero(np.diff(upright, prepend=False, append=False)).reshape(-1, 2)
    steady = edges[edges[:, 1] - edges[:, 0] >= STEADY_SECONDS * STEPS_PER_SECOND]
    ends = np.concatenate([[0], steady[:, 1]])
    begins = np.concatenate([steady[:, 0], [len(upright)]])
    return float((begins - ends).max()) / STEPS_PER_SECOND
