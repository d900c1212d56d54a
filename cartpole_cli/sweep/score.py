"""What a seed of a trial is worth: its held-out returns over the budget, as one number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

GRID_POINTS = 1001


@dataclass(slots=True)
class Curve:
    """Held-out returns of a seed, at their env steps; `after` is the return after the last of them."""

    steps: list[int]
    returns: list[float]
    after: float | None = None

    def mean_held_out(self, budget: int) -> float:
        """The curve's mean from 0 to the budget, drawn from 0 at step 0 to the first evaluation.

        Where it ends early it goes on level: at `after`, which a solved seed had to reach, or at its last value.
        """
        grid = np.linspace(0, budget, GRID_POINTS)
        return float(np.interp(grid, [0, *self.steps], [0.0, *self.returns], right=self.after).mean())

    def score(self, metric: str, budget: int) -> float | None:
        """By `mean_held_out`, or by the last return (`final`); None of a seed that was never evaluated."""
        if not self.returns:
            return None
        return self.mean_held_out(budget) if metric == "mean_held_out" else self.returns[-1]


def mean_score(scores: Sequence[float | None]) -> float | None:
    """Of a trial's seeds; None if one of them has none."""
    known = [score for score in scores if score is not None]
    return float(np.mean(known)) if len(known) == len(scores) else None
