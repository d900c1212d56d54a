"""What a step is worth, by the state it leads to."""

import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.environments.swing_up import CALM, OFF_CENTER


def balance_reward(state: Float[Tensor, "4 *environments"], position_limit: float) -> Float[Tensor, "*environments"]:
    """1 for every step, as in CartPole-v1."""
    del position_limit
    return torch.ones_like(state[0], dtype=torch.float32)


def swing_up_reward(state: Float[Tensor, "4 *environments"], position_limit: float) -> Float[Tensor, "*environments"]:
    """1 for a pole that stands still over the middle of the rail, 0 for one that hangs.

    (1 + cos theta)/2 * (1 - 0.3 (x / limit)^2) - 0.002 * upright * theta_dot^2, where `upright` is max(cos theta, 0).
    """
    x, _, theta, theta_dot = state.unbind()
    cos = theta.cos()
    centered = 1 - OFF_CENTER * (x / position_limit).square()
    reward = 0.5 * (1 + cos) * centered - CALM * cos.clamp(min=0) * theta_dot.square()
    return reward.to(torch.float32)
