"""Scores for people: how a policy balances, not only for how long, and whether one is better than another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.environments.interface import ContinuousActions, VectorEnvironment
from cartpole_cli.intervals import bootstrap_mean
from cartpole_cli.training.evaluation import Evaluation

STEPS_PER_SECOND = 50
PUSH = 10.0


@dataclass(frozen=True, slots=True)
class CartPoleMotion:
    """How a cart-pole was balanced: means over all steps of all episodes."""

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
    is_cart_pole: bool,
    on_step: Callable[[int], None],
) -> tuple[Evaluation, CartPoleMotion | None]:
    """Play the first episode of every environment of one seed (S = 1).

    Args:
        act: observation [1, N, O] -> the environments' actions.
        environment: the judge.
        set_name: what to call these episodes.
        is_cart_pole: whether the first number observed is a position, and actions are pushes or forces.
        on_step: told the number of steps done.
    """
    shape = (1, environment.num_envs)
    returns, position, effort, switches = torch.zeros(4, *shape, dtype=torch.float64, device="cpu")
    running = torch.ones(shape, dtype=torch.bool, device="cpu")
    sign_before = torch.zeros(shape, dtype=torch.float64, device="cpu")
    num_steps = 0
    while running.any():
        action = act(environment.observation)
        transition = environment.step(action)
        returns += torch.where(running, transition.reward.cpu(), 0.0)
        if is_cart_pole:
            force = _force(action.cpu(), environment)
            position += torch.where(running, transition.observation[..., 0].abs().cpu(), 0.0)
            effort += torch.where(running, force.abs(), 0.0)
            switches += running & (force.sign() * sign_before < 0)
            sign_before = torch.where(force == 0, sign_before, force.sign())
        running &= ~(transition.terminated | transition.truncated).cpu()
        num_steps += 1
        on_step(num_steps)
    evaluation = Evaluation(set_name, tuple(returns[0].tolist()))
    if not is_cart_pole:
        return evaluation, None
    steps = returns.sum().item()  # a cart-pole's return is its number of steps
    seconds = steps / STEPS_PER_SECOND
    motion = CartPoleMotion(position.sum().item() / steps, effort.sum().item() / steps, switches.sum().item() / seconds)
    return evaluation, motion


def _force(action: Tensor, environment: VectorEnvironment) -> Float[Tensor, "1 N"]:
    if isinstance(environment.actions, ContinuousActions):
        return action[..., 0].double().clamp(environment.actions.low[0], environment.actions.high[0])
    return (2.0 * action - 1.0).double() * PUSH


def probability_of_improvement(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """How probably `first` returns more than `second` from the same start state, ties counting half.

    With its 95 % percentile bootstrap interval over the start states (Agarwal et al. 2021, eq. 2, paired).
    """
    better = np.sign(np.array(first) - np.array(second)) / 2 + 0.5
    return {"probability": float(better.mean()), "ci95": list(bootstrap_mean(better))}
