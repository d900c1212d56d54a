"""Action heads: what the torso's outputs mean as a distribution over actions.

A head turns network outputs into a distribution, and a raw action (what is scored by log_prob and stored in a
rollout) into the action an environment takes. Distributions are plain records: they can be stored, compared by
`kl`, and sampled with noise drawn elsewhere.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from cartpole_cli.actions import Continuous

LOG_STD_RANGE = (-3.0, 0.5)
"""Where a log standard deviation stays: `GaussianHead.project` brings it back after a step."""
Kind = TypeVar("Kind", bound="Distribution")


@runtime_checkable
class Distribution(Protocol):
    """Over raw actions, one for each row of a batch."""

    def sample(self, noise: Float[Tensor, "..."]) -> Tensor: ...
    def log_prob(self, action: Tensor) -> Float[Tensor, "*batch"]: ...
    def entropy(self) -> Float[Tensor, "*batch"]: ...
    def kl(self: Kind, other: Kind) -> Float[Tensor, "*batch"]: ...
    def mode(self) -> Tensor: ...

    def parameters(self) -> Float[Tensor, "*batch P"]:
        """What `with_parameters` makes this distribution of."""
        ...

    def with_parameters(self: Kind, parameters: Float[Tensor, "*rows P"]) -> Kind:
        """A distribution of this kind with other parameters, which may be of other rows."""
        ...


@dataclass(frozen=True)
class Categorical:
    """A distribution over A discrete actions."""

    logits: Float[Tensor, "*batch A"]

    @cached_property
    def log_probs(self) -> Float[Tensor, "*batch A"]:
        return self.logits.log_softmax(dim=-1)

    def sample(self, noise: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Inverse transform sampling: the number of cumulative probabilities below uniform noise in [0, 1)."""
        cumulative = self.log_probs.exp().cumsum(dim=-1)[..., :-1]
        return (noise.unsqueeze(-1) >= cumulative).sum(dim=-1)

    def log_prob(self, action: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        return self.log_probs.gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """-sum p log p, in nats."""
        return -(self.log_probs.exp() * self.log_probs).sum(dim=-1)

    def kl(self, other: "Categorical") -> Float[Tensor, "*batch"]:
        """KL(self || other), exact, in nats."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(dim=-1)

    def mode(self) -> Int[Tensor, "*batch"]:
        return self.logits.argmax(dim=-1)

    def parameters(self) -> Float[Tensor, "*batch A"]:
        return self.logits

    def with_parameters(self, parameters: Float[Tensor, "*rows A"]) -> "Categorical":
        return Categorical(parameters)


@dataclass(frozen=True)
class Gaussian:
    """A diagonal normal distribution over A action dimensions; raw actions are unbounded."""

    mean: Float[Tensor, "*batch A"]
    log_std: Float[Tensor, "*#batch A"]

    def sample(self, noise: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """mean + std * standard normal noise."""
        return self.mean + self.log_std.exp() * noise

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """The density's logarithm, summed over the action dimensions."""
        deviation = (action - self.mean) * (-self.log_std).exp()
        return (-0.5 * deviation.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(dim=-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """sum of log std + log(2 pi e) / 2, in nats (of the raw action: squashing is not counted)."""
        entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum(dim=-1)
        return entropy.expand(self.mean.shape[:-1])

    def kl(self, other: "Gaussian") -> Float[Tensor, "*batch"]:
        """KL(self || other), exact, in nats."""
        log_ratio = other.log_std - self.log_std
        distance = ((self.mean - other.mean) * (-other.log_std).exp()).square()
        return (log_ratio + 0.5 * ((-2 * log_ratio).exp() + distance - 1)).sum(dim=-1)

    def mode(self) -> Float[Tensor, "*batch A"]:
        return self.mean

    def parameters(self) -> Float[Tensor, "*batch P"]:
        """Means, then log standard deviations."""
        return torch.cat([self.mean, self.log_std.expand_as(self.mean)], dim=-1)

    def with_parameters(self, parameters: Float[Tensor, "*rows P"]) -> "Gaussian":
        return Gaussian(*parameters.chunk(2, dim=-1))


class CategoricalHead(nn.Module):
    """Logits of the actions of a discrete environment."""

    def __init__(self, num_actions: int) -> None:
        super().__init__()
        self.num_outputs = num_actions

    def forward(self, outputs: Float[Tensor, "S B A"]) -> Categorical:
        return Categorical(outputs)

    def environment_action(self, action: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        return action


class GaussianHead(nn.Module):
    """Means in units of half the action range, with a standard deviation that does not depend on the state.

    Args:
        actions: the environment's range (newtons for the cart-pole), one number per dimension.
        initial_log_std: log standard deviation at the start, in units of half the range.
        squash: how a raw action is brought into the range, `clip` or `tanh`. Losses see the raw action, for
            which the squashing cancels in every ratio and score; only the environment sees the squashed one.
    """

    def __init__(
        self,
        actions: Continuous,
        *,
        initial_log_std: Float[Tensor, "S"],
        squash: Literal["clip", "tanh"],
    ) -> None:
        super().__init__()
        self.num_outputs, device = actions.size, initial_log_std.device
        self.squash = squash
        self.log_std = nn.Parameter(initial_log_std.view(-1, 1, 1).repeat(1, 1, actions.size))
        lower, upper = (torch.tensor(end, device=device) for end in (actions.low, actions.high))
        self.register_buffer("center", (lower + upper) / 2, persistent=False)
        self.register_buffer("half_range", (upper - lower) / 2, persistent=False)

    center: Tensor
    half_range: Tensor

    def forward(self, outputs: Float[Tensor, "S B A"]) -> Gaussian:
        # Outside the range the clamp has no gradient; only a checkpoint from before `project` can still be there.
        return Gaussian(outputs, self.log_std.clamp(*LOG_STD_RANGE))

    @torch.no_grad()
    def project(self, moved: Bool[Tensor, "S"]) -> None:
        """Put the log standard deviations of the seeds that moved back into their range (projected gradient descent).

        On the range's edge the gradient passes, so that a parameter can leave it again.
        """
        inside = self.log_std.clamp(*LOG_STD_RANGE)
        self.log_std.copy_(torch.where(moved.view(-1, 1, 1), inside, self.log_std))

    def environment_action(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """The action in the environment's units: squashed, then scaled to the range."""
        squashed = action.tanh() if self.squash == "tanh" else action.clamp(-1.0, 1.0)
        return self.center + self.half_range * squashed
