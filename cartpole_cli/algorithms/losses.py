"""Losses and divergence estimates: pure functions of tensors. S seeds, B rows; a loss is one number per seed.

`weight` says what a row counts: 0 for padding, and summing to 1 over the rows a loss averages.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def weighted_sum(value: Float[Tensor, "S B"], weight: Float[Tensor, "S B"]) -> Float[Tensor, "S"]:
    """sum_b weight_b * value_b."""
    return (value * weight).sum(dim=1)


def policy_gradient(
    log_prob: Float[Tensor, "S B"], advantage: Float[Tensor, "S B"], weight: Float[Tensor, "S B"]
) -> Float[Tensor, "S"]:
    """-sum weight * advantage * log pi(a|s): its gradient is REINFORCE's (Williams 1992, eq. 4)."""
    return -weighted_sum(advantage * log_prob, weight)


def clipped_surrogate(
    log_ratio: Float[Tensor, "S B"],
    advantage: Float[Tensor, "S B"],
    clip_range: Float[Tensor, "S"],
    weight: Float[Tensor, "S B"],
) -> Float[Tensor, "S"]:
    """-sum weight * min(rho A, clip(rho, 1 - eps, 1 + eps) A), rho = exp(log_ratio) (Schulman et al. 2017, eq. 7)."""
    ratio = log_ratio.exp()
    epsilon = clip_range.unsqueeze(1)
    clipped = ratio.clamp(1 - epsilon, 1 + epsilon)
    return -weighted_sum(torch.minimum(ratio * advantage, clipped * advantage), weight)


def value_loss(
    value: Float[Tensor, "S B"], value_target: Float[Tensor, "S B"], weight: Float[Tensor, "S B"]
) -> Float[Tensor, "S"]:
    """sum weight * (V - target)^2 / 2."""
    return 0.5 * weighted_sum((value - value_target).square(), weight)


def clipped_value_loss(
    value: Float[Tensor, "S B"],
    old_value: Float[Tensor, "S B"],
    value_target: Float[Tensor, "S B"],
    value_clip_range: float,
    weight: Float[Tensor, "S B"],
) -> Float[Tensor, "S"]:
    """As `value_loss`, with the worse of V and V held within value_clip_range of its old value.

    From OpenAI baselines' PPO; Engstrom et al. (2020) found no benefit, so it is off by default.
    """
    clipped = old_value + (value - old_value).clamp(-value_clip_range, value_clip_range)
    error = torch.maximum((value - value_target).square(), (clipped - value_target).square())
    return 0.5 * weighted_sum(error, weight)


def kl_k3(log_ratio: Float[Tensor, "S B"]) -> Float[Tensor, "S B"]:
    """(rho - 1) - log rho: estimates KL(old || new) on samples of the old policy without bias, and is never negative
    (Schulman 2020, "Approximating KL divergence", estimator k3)."""
    return torch.expm1(log_ratio) - log_ratio
