"""Simulate episodes, all at once, and note where the pole and the cart are after every step."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cartpole_cli.actions import MAX_FORCE
from cartpole_cli.scoring.page.episodes import Episodes
from cartpole_cli.scoring.page.physics import Flags, Floats, is_on_rail, is_upright, page_step, push
from cartpole_cli.scoring.page.timing import Strengths

Pilot = Callable[[NDArray[np.float32]], Floats]
"""Observations [B, 4] -> forces [B] in newtons."""


@dataclass(frozen=True, slots=True)
class Course:
    """The course of N episodes of T steps: [T + 1, N], the start included."""

    upright: Flags
    on_rail: Flags

    def of(self, first: int, end: int) -> "Course":
        """Some of the episodes."""
        return Course(self.upright[:, first:end], self.on_rail[:, first:end])


def simulate(pilot: Pilot, episodes: Episodes, on_step: Callable[[int], None]) -> Course:
    """Simulate the episodes to their end.

    Args:
        pilot: the policy; it sees what the page gives it, and its force is clamped as the page does.
        episodes: N of T steps.
        on_step: told the number of steps done.
    """
    state, force = episodes.start, np.zeros(episodes.start.shape[1])
    upright, on_rail = [is_upright(state)], [is_on_rail(state)]
    with np.errstate(over="ignore", invalid="ignore"):  # a policy may blow everything up
        for step in range(episodes.num_steps):
            state = _pushed(state, episodes.seen[step], episodes.lifts)
            asking = np.flatnonzero(episodes.asks[step])
            if len(asking):
                seen = np.ascontiguousarray(state[:, asking].T, dtype=np.float32)
                force[asking] = np.clip(pilot(seen), -MAX_FORCE, MAX_FORCE)
            state = page_step(_pushed(state, episodes.late[step], episodes.lifts), force, episodes.sliders)
            upright.append(is_upright(state))
            on_rail.append(is_on_rail(state))
            on_step(step + 1)
    return Course(np.stack(upright), np.stack(on_rail))


def _pushed(state: Floats, strength: Strengths, lifts: Flags) -> Floats:
    return push(state, strength, lifts) if strength.any() else state
