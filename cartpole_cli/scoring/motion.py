"""How a policy balances, not only for how long."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from cartpole_cli.environments.interface import CartPoleEnvironment, Transition

STEP = 0.02
"""s: the usual time step, which so counts as 1 exactly, and a constant push is its own mean."""


@dataclass(frozen=True, slots=True)
class CartPoleMotion:
    """How a cart-pole was moved: means over the time of all episodes."""

    mean_abs_position: float
    """|x|, in metres."""
    effort: float
    """|force|, in newtons."""
    switches_per_second: float
    """How often the force changed its sign."""


class MotionMeter:
    """Measures the motion of the first episodes of a judge's cart-poles (S = 1), as a watcher of `play`.

    It holds sums of each episode, [1, N]: position and effort times duration, switches, and duration, in steps of
    `STEP`.
    """

    def __init__(self, environment: CartPoleEnvironment) -> None:
        self._environment = environment
        shape = (1, environment.num_envs)
        self._position, self._effort, self._switches, self._duration, self._sign = torch.zeros(
            5, *shape, dtype=torch.float64, device="cpu"
        )

    def __call__(self, action: Tensor, transition: Transition, running: Bool[Tensor, "1 N"]) -> None:
        """Add a step; a force that acted for no time was none."""
        x = transition.observation[..., 0].cpu()
        force = self._environment.force.cpu().double()
        duration = torch.where(running, self._environment.seconds.cpu().double() / STEP, 0.0)
        sign = torch.where(duration > 0, force.sign(), 0.0)
        self._position += torch.where(running, x.abs(), 0.0) * duration
        self._effort += torch.where(running, force.abs(), 0.0) * duration
        self._switches += sign * self._sign < 0
        self._duration += duration
        self._sign = torch.where(sign == 0, self._sign, sign)

    def motion(self) -> CartPoleMotion:
        """The means so far."""
        position, effort, switches = (
            (total.sum() / self._duration.sum()).item() for total in (self._position, self._effort, self._switches)
        )
        return CartPoleMotion(position, effort, switches / STEP)
