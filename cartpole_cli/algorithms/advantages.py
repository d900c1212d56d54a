"""Returns and advantages: pure functions of rewards and values. S seeds, T steps, N environments."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def discounted_sum(value: Float[Tensor, "S T N"], decay: Float[Tensor, "S T N"]) -> Float[Tensor, "S T N"]:
    """y_t = value_t + decay_t * y_{t+1}, with y_T = 0: the recursion behind returns and GAE."""
    result = torch.empty_like(value)
    running = torch.zeros_like(value[:, 0])
    for t in reversed(range(value.shape[1])):
        running = torch.addcmul(value[:, t], decay[:, t], running)
        result[:, t] = running
    return result


def reward_to_go(
    reward: Float[Tensor, "S T N"], ended: Bool[Tensor, "S T N"], gamma: Float[Tensor, "S"]
) -> Float[Tensor, "S T N"]:
    """G_t = r_t + gamma * G_{t+1} within an episode (Sutton and Barto 2018, eq. 3.8)."""
    return discounted_sum(reward, gamma.view(-1, 1, 1) * (~ended).to(reward.dtype))


def gae(
    reward: Float[Tensor, "S T N"],
    value: Float[Tensor, "S T N"],
    next_value: Float[Tensor, "S T N"],
    terminated: Bool[Tensor, "S T N"],
    truncated: Bool[Tensor, "S T N"],
    valid: Bool[Tensor, "S T N"],
    gamma: Float[Tensor, "S"],
    decay: Float[Tensor, "S"],
) -> Float[Tensor, "S T N"]:
    """Generalized advantage estimation (Schulman et al. 2016, eq. 16).

        delta_t = r_t + gamma * (1 - terminated_t) * V(s'_t) - V(s_t)
        A_t     = delta_t + decay * (1 - ended_t) * A_{t+1},    decay = gamma * lambda

    s'_t is the true successor, before any reset: a truncated episode bootstraps from it, a terminated one does
    not, and neither lets advantage leak in from the next episode. A row that is not valid has advantage 0 and
    passes none on.
    """
    delta = reward + gamma.view(-1, 1, 1) * next_value.masked_fill(terminated, 0.0) - value
    goes_on = ~(terminated | truncated) & valid
    return discounted_sum(delta.masked_fill(~valid, 0.0), decay.view(-1, 1, 1) * goes_on.to(reward.dtype))


def batch_mean(value: Float[Tensor, "S T N"], valid: Bool[Tensor, "S T N"]) -> Float[Tensor, "S 1 1"]:
    """The mean over all valid rows of a seed. As a baseline it contains a row's own return: a small bias."""
    total = value.masked_fill(~valid, 0.0).flatten(1).sum(dim=1)
    return (total / valid.flatten(1).sum(dim=1).clamp(min=1))[:, None, None]


def leave_one_out(
    value: Float[Tensor, "S T N"], valid: Bool[Tensor, "S T N"], group_size: int | None = None
) -> Float[Tensor, "S T N"]:
    """The mean of the *other* episodes' value at the same time; an episode that has ended counts as 0.

    Independent of the row's own action, so a baseline without bias (RLOO: Kool et al. 2019, eq. 8;
    Ahmadian et al. 2024, eq. 6; here per time step). The others are those of the same group of `group_size`
    consecutive episodes (default: all), of which there must be at least two.
    """
    size = group_size or value.shape[2]
    present = value.masked_fill(~valid, 0.0).reshape(*value.shape[:2], -1, size)
    others = present.sum(dim=3, keepdim=True) - present
    return (others / (size - 1)).flatten(2)


def group_mean(value: Float[Tensor, "S N"], group_size: int) -> Float[Tensor, "S N"]:
    """The mean over each group of `group_size` consecutive episodes, for each of its members."""
    mean = value.view(value.shape[0], -1, group_size).mean(dim=2)
    return mean.repeat_interleave(group_size, dim=1)


def group_deviation(value: Float[Tensor, "S N"], group_size: int) -> Float[Tensor, "S N"]:
    """The standard deviation (with Bessel's correction) over each group, for each of its members."""
    spread = value.view(value.shape[0], -1, group_size).std(dim=2)
    return spread.repeat_interleave(group_size, dim=1)


def has_spread(value: Float[Tensor, "S N"], group_size: int) -> Bool[Tensor, "S N"]:
    """Whether the members of each group differ at all, for each of its members."""
    groups = value.view(value.shape[0], -1, group_size)
    return (groups.amax(dim=2) > groups.amin(dim=2)).repeat_interleave(group_size, dim=1)


def deviation(value: Float[Tensor, "S B"], mask: Bool[Tensor, "S B"]) -> Float[Tensor, "S"]:
    """The standard deviation (with Bessel's correction) over the rows where `mask` holds; 0 of fewer than two."""
    count = mask.sum(dim=1)
    mean = value.masked_fill(~mask, 0.0).sum(dim=1) / count.clamp(min=1)
    squares = (value - mean[:, None]).masked_fill(~mask, 0.0).square().sum(dim=1)
    return (squares / (count - 1).clamp(min=1)).sqrt()


def normalize(value: Float[Tensor, "S *M B"], weight: Float[Tensor, "S *M B"]) -> Float[Tensor, "S *M B"]:
    """Shift and scale each last axis to weighted mean 0 and standard deviation 1 (with Bessel's correction).

    `weight` is 1 for rows that count and 0 for the rest. Fewer than two rows are only centred.
    """
    count = weight.sum(dim=-1, keepdim=True)
    mean = (weight * value).sum(dim=-1, keepdim=True) / count.clamp(min=1.0)
    centred = (value - mean) * weight
    variance = centred.square().sum(dim=-1, keepdim=True) / (count - 1.0).clamp(min=1.0)
    scale = torch.where(count > 1.0, variance.sqrt() + 1e-8, 1.0)
    return centred / scale
