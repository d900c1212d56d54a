"""Simulate episodes, all at once, and note where the pole and the cart are after every step."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from cartpole_cli.actions import MAX_FORCE
from cartpole_cli.scoring.page.episodes import Episodes
from cartpole_cli.scoring.page.physics import (
    STEPS_PER_SECOND,
    Flags,
    Floats,
    is_on_rail,
    is_up,
    is_upright,
    page_step,
    push,
)
from cartpole_cli.scoring.page.timing import Strengths

SETTLED_SECONDS = 5
"""After which how a cart is moved is measured: until then a model may load, and a pole swing up."""
Pilot = Callable[[NDArray[np.float32]], Floats]
"""Observations [B, 4] -> forces [B] in newtons."""


@dataclass(frozen=True, slots=True)
class Course:
    """The course of N episodes of T steps: where pole and cart were, [T + 1, N], the start included; whether the pole
    was never past 90 degrees, [N]; and how the carts were moved from `SETTLED_SECONDS` on."""

    upright: Flags
    on_rail: Flags
    never_down: Flags
    motion: "Motion"

    def of(self, first: int, end: int) -> "Course":
        """Some of the episodes."""
        upright, on_rail = self.upright[:, first:end], self.on_rail[:, first:end]
        return Course(upright, on_rail, self.never_down[first:end], self.motion.of(first, end))


@dataclass(frozen=True, slots=True)
class Motion:
    """How carts were moved, one value per episode."""

    effort: Floats
    """Mean of |force|, N."""
    switches: Floats
    """How often the force changed its sign, per second."""
    jerk: Floats
    """Mean of |change of force|, N per second."""
    distance: Floats
    """Mean of |x|, m."""

    def of(self, first: int, end: int) -> "Motion":
        """Of some of the episodes."""
        return Motion(*(getattr(self, field.name)[first:end] for field in fields(self)))


class MotionMeter:
    """Adds up N episodes' motion, step by step."""

    def __init__(self, num_episodes: int) -> None:
        self._steps, self._sums = 0, np.zeros((4, num_episodes))
        self._force: Floats | None = None
        self._sign = np.zeros(num_episodes)

    def add(self, force: Floats, x: Floats) -> None:
        """A step with that force, to that place."""
        before = force if self._force is None else self._force
        sign = np.sign(force)
        self._sums += np.abs(force), sign * self._sign < 0, np.abs(force - before), np.abs(x)
        self._sign = np.where(sign == 0, self._sign, sign)
        self._force, self._steps = force.copy(), self._steps + 1

    def motion(self) -> Motion:
        """The means so far."""
        effort, switches, jerk, distance = self._sums / max(self._steps, 1)
        return Motion(effort, switches * STEPS_PER_SECOND, jerk * STEPS_PER_SECOND, distance)


def simulate(pilot: Pilot, episodes: Episodes, on_step: Callable[[int], None]) -> Course:
    """Simulate the episodes to their end.

    Args:
        pilot: the policy; it sees what the page gives it, and its force is clamped as the page does.
        episodes: N of T steps.
        on_step: told the number of steps done.
    """
    state, force, sliders = episodes.start, np.zeros(episodes.start.shape[1]), episodes.sliders
    meter, moves = MotionMeter(len(force)), episodes.moves
    bounds = np.searchsorted(moves.steps, np.arange(episodes.num_steps + 1)).tolist()
    upright, on_rail, never_down = [is_upright(state)], [is_on_rail(state)], is_up(state)
    with np.errstate(over="ignore", invalid="ignore"):  # a policy may blow everything up
        for step in range(episodes.num_steps):
            first, end = bounds[step : step + 2]
            if first < end:
                sliders = sliders.moved(moves.episodes[first:end], moves.sliders[:, first:end])
            state = _pushed(state, episodes.seen[step], episodes.lifts)
            asking = np.flatnonzero(episodes.asks[step])
            if len(asking):
                seen = np.ascontiguousarray(state[:, asking].T, dtype=np.float32)
                force[asking] = np.clip(pilot(seen), -MAX_FORCE, MAX_FORCE)
            state = page_step(_pushed(state, episodes.late[step], episodes.lifts), force, sliders)
            upright.append(is_upright(state))
            on_rail.append(is_on_rail(state))
            never_down &= is_up(state)
            if step >= SETTLED_SECONDS * STEPS_PER_SECOND:
                meter.add(force, state[0])
            on_step(step + 1)
    return Course(np.stack(upright), np.stack(on_rail), never_down, meter.motion())


def _pushed(state: Floats, strength: Strengths, lifts: Flags) -> Floats:
    return push(state, strength, lifts) if strength.any() else state
