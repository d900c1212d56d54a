"""What is drawn for episodes: all of it is keyed by an episode's key, and so depends on nothing else."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.environments.randomization import Conditions, Starts
from cartpole_cli.environments.simulator import STEPS_PER_BLOCK
from cartpole_cli.environments.spells import NUM_DRAWS, in_peace
from cartpole_cli.randomness import derive, uniform_of
from cartpole_cli.tasks import STANDARD

NEXT_EPISODE, START, VALUES, NOISE, PEACE = -1, -2, -3, -4, -5
"""What is derived from an episode's key besides the keys of its decisions, 0, 1, 2, ..."""


@dataclass(frozen=True, slots=True)
class Episodes:
    """What episodes begin with; `decisions` is a block of those where any is disturbed."""

    keys: Int[Tensor, "*episodes"]
    starts: Float[Tensor, "4 *episodes"]
    values: Float[Tensor, "V *episodes"]
    decisions: Float[Tensor, "B D *episodes"] | None

    def put_(self, rows: Int[Tensor, "K"], others: "Episodes") -> None:
        """Other episodes at these places, in this memory."""
        for name in self.__slots__:
            ours, theirs = getattr(self, name), getattr(others, name)
            if ours is not None:
                ours.flatten(-2).index_copy_(-1, rows, theirs)


@dataclass(frozen=True, slots=True)
class Draws:
    """Draws what `conditions` say, in a precision."""

    conditions: Conditions
    dtype: torch.dtype

    def episodes(self, keys: Int[Tensor, "*episodes"]) -> Episodes:
        """New ones."""
        decisions = self.decisions(keys, 0) if self.conditions.is_disturbed else None
        return Episodes(keys, self.starts(keys), self.values(keys), decisions)

    def starts(self, keys: Int[Tensor, "*episodes"]) -> Float[Tensor, "4 *episodes"]:
        """Where episodes begin."""
        return self.conditions.starts.at(uniform_of(derive(keys, START), Starts.NUM_DRAWS)).to(self.dtype)

    def values(self, keys: Int[Tensor, "*episodes"]) -> Float[Tensor, "V *episodes"]:
        """The numbers of `STANDARD`."""
        return self.conditions.sample(uniform_of(derive(keys, VALUES), len(STANDARD)).to(self.dtype))

    def decisions(
        self, keys: Int[Tensor, "*episodes"], elapsed: Int[Tensor, "*episodes"] | int
    ) -> Float[Tensor, "B D *episodes"]:
        """Of a block of decisions: shares of which the small ones mean a push or a change, how strong it pushes, and
        what spells begin by."""
        steps = torch.arange(STEPS_PER_BLOCK, device=keys.device).view(-1, *[1] * keys.dim())
        num_draws = 3 + (NUM_DRAWS if self.conditions.has_spells else 0)
        push, side, change, *spells = uniform_of(derive(keys, elapsed + steps), num_draws)
        if self.conditions.pushed_share < 1:
            is_peaceful = uniform_of(derive(keys, PEACE), 1)[0] >= self.conditions.pushed_share
            push, spells = in_peace(is_peaceful, push, spells)
        return torch.stack([push, change, self.conditions.strength(side), *spells], dim=1)


def rows_of(mask: Bool[Tensor, "S N"]) -> Int[Tensor, "K"]:
    """Places among all environments."""
    return mask.view(-1).nonzero().squeeze(1)


def take(tensor: Tensor, rows: Int[Tensor, "K"]) -> Tensor:
    """What stands at some places among all environments, along the last two axes together."""
    return tensor.flatten(-2).index_select(-1, rows)


def put(tensor: Tensor, rows: Int[Tensor, "K"], values: Tensor) -> Tensor:
    """The tensor with other values at some places among all environments, along its last two axes together."""
    return tensor.flatten(-2).index_copy(-1, rows, values).view_as(tensor)
