"""Scores for people: how a policy balances, not only for how long."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.environments.interface import CartPoleEnvironment, VectorEnvironment
from cartpole_cli.training.evaluation import Evaluation

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


@torch.inference_mode()
def score(
    act: Callable[[Tensor], Tensor],
    environment: VectorEnvironment,
    *,
    set_name: str,
    on_step: Callable[[int], None],
) -> tuple[Evaluation, CartPoleMotion | None]:
    """Play the first episode of every environment of one seed (S = 1); there is motion of a `CartPoleEnvironment`.

    Args:
        act: observation [1, N, O] -> the environments' actions.
        environment: the judge.
        set_name: what to call these episodes.
        on_step: told the number of steps done.
    """
    shape = (1, environment.num_envs)
    returns = torch.zeros(shape, dtype=torch.float64, device="cpu")
    running = torch.ones(shape, dtype=torch.bool, device="cpu")
    motion = _Motion(environment) if isinstance(environment, CartPoleEnvironment) else None
    num_steps = 0
    while running.any():
        transition = environment.step(act(environment.observation))
        returns += torch.where(running, transition.reward.cpu(), 0.0)
        if motion is not None:
            motion.add(transition.observation[..., 0].cpu(), running)
        running &= ~(transition.terminated | transition.truncated).cpu()
        num_steps += 1
        on_step(num_steps)
    return Evaluation(set_name, tuple(returns[0].tolist())), None if motion is None else motion.means()


class _Motion:
    """Sums of each episode [1, N]: position and effort times duration, switches, and duration, in steps of `STEP`."""

    def __init__(self, environment: CartPoleEnvironment) -> None:
        self._environment = environment
        shape = (1, environment.num_envs)
        self._position, self._effort, self._switches, self._duration, self._sign = torch.zeros(
            5, *shape, dtype=torch.float64, device="cpu"
        )

    def add(self, x: Float[Tensor, "1 N"], running: Bool[Tensor, "1 N"]) -> None:
        """What the last step was; a force that acted for no time was none."""
        force = self._environment.force.cpu().double()
        duration = torch.where(running, self._environment.seconds.cpu().double() / STEP, 0.0)
        sign = torch.where(duration > 0, force.sign(), 0.0)
        self._position += torch.where(running, x.abs(), 0.0) * duration
        self._effort += torch.where(running, force.abs(), 0.0) * duration
        self._switches += sign * self._sign < 0
        self._duration += duration
        self._sign = torch.where(sign == 0, self._sign, sign)

    def means(self) -> CartPoleMotion:
        position, effort, switches = (
            (total.sum() / self._duration.sum()).item() for total in (self._position, self._effort, self._switches)
        )
        return CartPoleMotion(position, effort, switches / STEP)
