"""Losses and divergence estimates: pure functions of tensors. S seeds, B rows; a loss is one number per seed.

`weight` says what a row counts: 0 for padding, and summing to 1 over the rows a loss averages.
"""

import torch
from jaxtyping import Float
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""exp of more than this is no ratio that training should see; of a Gaussian's tails it would overflow."""


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
    clip_range_high: Float[Tensor, "S"] | None = None,
) -> Float[Tensor, "S"]:
    """-sum weight * min(rho A, clip(rho, 1 - eps, 1 + eps_high) A), rho = exp(log_ratio).

    Schulman et al. 2017, eq. 7, where eps_high = eps, the default; Yu et al. 2025 (DAPO), eq. 10, for another.
    """
    ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT).exp()
    high = clip_range if clip_range_high is None else clip_range_high
    clipped = ratio.clamp(1 - clip_range.unsqueeze(1), 1 + high.unsqueeze(1))
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
    value_clip_range: Float[Tensor, "S"],
    weight: Float[Tensor, "S B"],
) -> Float[Tensor, "S"]:
    """As `value_loss`, with the worse of V and V held within value_clip_range of its old value.

    From OpenAI baselines' PPO; Engstrom et al. (2020) found no benefit, so it is off by default.
    """
    most = value_clip_range.unsqueeze(1)
    clipped = old_value + (value - old_value).clamp(-most, most)
    error = torch.maximum((value - value_target).square(), (clipped - value_target).square())
    return 0.5 * weighted_sum(error, weight)


def kl_k3(log_ratio: Float[Tensor, "S B"]) -> Float[Tensor, "S B"]:
    """(rho - 1) - log rho: estimates KL(old || new) on samples of the old policy without bias, and is never negative
    (Schulman 2020, "Approximating KL divergence", estimator k3).

    With log_ratio = log pi_ref - log pi on samples of pi it estimates KL(pi || pi_ref) (Shao et al. 2024, eq. 4); its
    gradient, though, is that of KL(pi_ref || pi).
    """
    log_ratio = log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT)
    return torch.expm1(log_ratio) - log_ratio


def kl_k2(log_ratio: Float[Tensor, "S B"]) -> Float[Tensor, "S B"]:
    """(log rho)^2 / 2: a biased estimate of either KL (Schulman 2020, k2), whose expected gradient on samples of pi
    is that of KL(pi || pi_ref) exactly. (k1, -log rho, is unbiased, but its expected gradient is 0: never a loss.)"""
    return 0.5 * log_ratio.square()


def log_sigmoid(x: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """log(1 / (1 + exp(-x))) by log_softmax, whose bits do not depend on an element's place in the tensor."""
    return torch.stack([x, torch.zeros_like(x)], dim=-1).log_softmax(dim=-1)[..., 0]


def dpo_sigmoid(
    margin: Float[Tensor, "S P"],
    beta: Float[Tensor, "S"],
    label_smoothing: Float[Tensor, "S"],
    complement: Float[Tensor, "S"],
) -> Float[Tensor, "S P"]:
    """-(1 - e) log sigmoid(beta h) - e log sigmoid(-beta h), h = `margin`, the chosen's log-ratio minus the rejected's.

    Rafailov et al. 2023, eq. 7, where the label smoothing e is 0; Mitchell 2023 (cDPO) for e > 0. `complement` is
    1 - e.
    """
    right, wrong = log_sigmoid(beta.unsqueeze(1) * margin), log_sigmoid(-beta.unsqueeze(1) * margin)
    return -complement.unsqueeze(1) * right - label_smoothing.unsqueeze(1) * wrong


def dpo_robust(
    margin: Float[Tensor, "S P"],
    beta: Float[Tensor, "S"],
    label_smoothing: Float[Tensor, "S"],
    complement: Float[Tensor, "S"],
    difference: Float[Tensor, "S"],
) -> Float[Tensor, "S P"]:
    """(-(1 - e) log sigmoid(beta h) + e log sigmoid(-beta h)) / (1 - 2e): where a share e of the labels is wrong, its
    expectation is the loss of the right ones (Ray Chowdhury et al. 2024, "Provably robust DPO").

    `complement` is 1 - e, `difference` 1 - 2e.
    """
    return dpo_sigmoid(margin, beta, -label_smoothing, complement) / difference.unsqueeze(1)


def dpo_ipo(mean_margin: Float[Tensor, "S P"], target: Float[Tensor, "S"]) -> Float[Tensor, "S P"]:
    """(h - 1 / (2 beta))^2, h the difference of log-ratios *per step*, `target` = 1 / (2 beta) (Azar et al. 2023,
    eq. 17)."""
    return (mean_margin - target.unsqueeze(1)).square()


def dpo_hinge(margin: Float[Tensor, "S P"], beta: Float[Tensor, "S"]) -> Float[Tensor, "S P"]:
    """max(0, 1 - beta h) (Zhao et al. 2023, SLiC, with DPO's log-ratios)."""
    return (1 - beta.unsqueeze(1) * margin).clamp(min=0.0)
