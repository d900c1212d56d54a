"""The tasks, a row each, and the standard cart-pole. No torch here: recipes and Gymnasium's users pay for none."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from cartpole_cli.actions import FORCE, MAX_FORCE, PUSHES, Actions

TaskId = Literal["CartPole-v1", "ContinuousCartPole-v1", "CartPoleSwingUp-v1", "ContinuousCartPoleSwingUp-v1"]

MAX_EPISODE_STEPS = 500
LIMIT, TILT = 2.4, math.radians(12)
START_RANGE = 0.05
"""All four numbers of a start state are within this of an upright, or hanging, pole at rest."""
PHYSICS = {
    "gravity": 9.8,
    "cart_mass": 1.0,
    "pole_mass": 0.1,
    "pole_half_length": 0.5,
    "force_magnitude": MAX_FORCE,
    "time_step": 0.02,
    "cart_drag": 0.0,
    "pole_drag": 0.0,
}
"""CartPole-v1's, in SI units."""
STANDARD = PHYSICS | {"hold": 1.0, "delay": 0, "observation_noise": 0.0}
"""All that an episode has values of; hold in steps per decision, delay in decisions."""


def swing_up_reward(x: Any, cos: Any, theta_dot: Any, position_limit: float) -> Any:
    """(h + (1 - h) (1 + cos theta) / 2) (1 - c (x / limit)^2) - d max(cos theta, 0) theta_dot^2, of tensors or floats.

    1 for a pole that stands still over the middle of the rail, and h for one that hangs there. Without h a cart that
    cannot swing its pole up would have nothing to lose at the rail's end.
    """
    hanging, off_center, calm = 0.4, 0.7, 0.002
    upright = hanging + (1 - hanging) * 0.5 * (1 + cos)
    offset = x / position_limit
    centered = 1 - off_center * (offset * offset)
    return upright * centered - calm / 2 * (cos + abs(cos)) * (theta_dot * theta_dot)


def sparse_swing_up_reward(x: Any, cos: Any, theta_dot: Any, position_limit: float) -> Any:
    """1 while the pole is within 12 degrees of upright and slower than 1 rad/s, and the cart in the middle fifth of the
    rail; otherwise 0. Of tensors or floats."""
    return 1.0 * ((cos >= math.cos(TILT)) & (abs(theta_dot) <= 1.0) & (abs(x) <= position_limit / 5))


@dataclass(frozen=True, slots=True)
class Costs:
    """Weights of what is subtracted from a reward in each step."""

    effort: float = 0.0
    change: float = 0.0
    distance: float = 0.0

    def __call__(self, force: Any, before: Any, offset: Any) -> Any:
        """effort |f| + change |f - f'| / 2 + distance |o|, of tensors or floats.

        Args:
            force, before: what acts, and what acted in the step before, in units of the largest force.
            offset: x in units of the position limit.
        """
        return self.effort * abs(force) + self.change / 2 * abs(force - before) + self.distance * abs(offset)


@dataclass(frozen=True, slots=True)
class Task:
    """What an episode asks for: it fails beyond `position_limit` (m) or `angle_limit` (rad).

    `reward` is of x, cos theta, theta_dot and the position limit, less the costs; None: 1 for every step.
    """

    id: TaskId
    gymnasium_id: str
    actions: Actions
    position_limit: float
    angle_limit: float
    start: Literal["balance", "hanging"]
    reward: Callable[[Any, Any, Any, float], Any] | None
    costs: Costs = Costs()

    @property
    def counts_steps(self) -> bool:
        """Whether a return is the number of steps survived."""
        return self.reward is None


RAIL, ANY_ANGLE = 5.0, math.inf
OURS = "cartpole_cli"
TASKS = {
    task.id: task
    for task in (
        Task("CartPole-v1", "CartPole-v1", PUSHES, LIMIT, TILT, "balance", None),
        Task("ContinuousCartPole-v1", f"{OURS}/ContinuousCartPole-v1", FORCE, LIMIT, TILT, "balance", None),
        Task("CartPoleSwingUp-v1", f"{OURS}/CartPoleSwingUp-v1", PUSHES, RAIL, ANY_ANGLE, "hanging", swing_up_reward),
        Task(
            "ContinuousCartPoleSwingUp-v1",
            f"{OURS}/ContinuousCartPoleSwingUp-v1",
            FORCE,
            RAIL,
            ANY_ANGLE,
            "hanging",
            swing_up_reward,
        ),
    )
}
