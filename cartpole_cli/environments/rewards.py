"""What a step is worth, by the state it leads to."""

import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.environments.swing_up import CALM, HANGING_SHARE, OFF_CENTER


def balance_reward(state: Float[Tensor, "4 *environments"], position_limit: float) -> Float[Tensor, "*environments"]:
    """1 for every step, as in CartPole-v1."""
    del position_limit
    return torch.ones_like(state[0], dtype=torch.float32)


def swing_up_reward(state: Float[Tensor, "4 *environments"], position_limit: float) -> Float[Tensor, "*environments"]:
    """As `swing_up` says."""
    x, _, theta, theta_dot = state.unbind()
    cos = theta.cos()
    upright = HANGING_SHARE + (1 - HANGING_SHARE) * 0.5 * (1 + cos)
    centered = 1 - OFF_CENTER * (x / position_limit).square()
    return (upright * centered - CALM * cos.clamp(min=0) * theta_dot.square()).to(torch.float32)
