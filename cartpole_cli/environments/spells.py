"""Disturbances that last for several decisions of an episode: slow frames, and bursts of pushes to one side."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.environments.randomization import Conditions, to_a_side

NUM_DRAWS = 4
"""Of each decision: a hitch's share and seconds, a burst's share, and its seconds with its side."""


@dataclass(frozen=True, slots=True)
class Spells:
    """Of S x N episodes, between one decision and the next.

    hitch: seconds for which the force that acts is still held; burst: seconds for which pushes still come, negative if
    to the left; acted: the force that acted last, N.
    """

    hitch: Float[Tensor, "*episodes"]
    burst: Float[Tensor, "*episodes"]
    acted: Float[Tensor, "*episodes"]

    def begun(
        self, conditions: Conditions, draws: Float[Tensor, "4 *episodes"], seconds: Float[Tensor, "*episodes"]
    ) -> "Spells":
        """With the hitches and bursts that begin at this decision, where none is under way."""
        hitch_begins, burst_begins = (
            draws[0] < conditions.hitch_rate * seconds,
            draws[2] < conditions.burst_rate * seconds,
        )
        # The first decision's own force is the one that is held.
        hitch = conditions.hitch_seconds.at(draws[1]).to(seconds.dtype) * hitch_begins
        burst = to_a_side(draws[3], conditions.burst_seconds).to(seconds.dtype) * burst_begins
        return replace(
            self,
            hitch=torch.where(self.hitch > 0, self.hitch, -hitch),
            burst=torch.where(self.burst == 0, burst, self.burst),
        )

    def pushes(
        self, conditions: Conditions, elapsed: Int[Tensor, "*episodes"], seconds: Float[Tensor, "*episodes"]
    ) -> Float[Tensor, "*episodes"]:
        """Strengths of what bursts push now, evenly in time."""
        each = conditions.burst_pushes * seconds
        count = ((elapsed + 1) * each).floor() - (elapsed * each).floor()
        return self.burst.sign() * count * conditions.burst_strength

    def acting(self, force: Float[Tensor, "*episodes"]) -> Float[Tensor, "*episodes"]:
        """The force that acts now, if this one is due: in a hitch the one before."""
        return torch.where(self.hitch > 0, self.acted, force)

    def after(self, force: Float[Tensor, "*episodes"], seconds: Float[Tensor, "*episodes"]) -> "Spells":
        """After a decision at which that force acted; what is left is 0 where it rounds to no step."""
        hitch, burst = self.hitch.abs() - seconds, self.burst.abs() - seconds
        return Spells(hitch * (hitch > seconds / 2), self.burst.sign() * burst * (burst > seconds / 2), force)

    def shown(self, conditions: Conditions, force_magnitude: Float[Tensor, "*episodes"]) -> list[Tensor]:
        """Its numbers from -1 to 1."""
        return [
            self.hitch / conditions.hitch_seconds.high,
            self.burst / conditions.burst_seconds.high,
            self.acted / force_magnitude,
        ]


def in_peace(
    is_peaceful: Bool[Tensor, "*#draws"], push: Float[Tensor, "*draws"], draws: list[Float[Tensor, "*draws"]]
) -> tuple[Float[Tensor, "*draws"], list[Float[Tensor, "*draws"]]]:
    """Shares of a decision that mean no push and no burst, in the episodes where nobody pushes."""
    push = push.masked_fill(is_peaceful, 1.0)
    if draws:
        draws[2] = draws[2].masked_fill(is_peaceful, 1.0)
    return push, draws
