"""Whether a cart that stays on its rail for a thousand steps would stay there for thousands more."""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

NUM_PARTS = 3
NOISE = 0.01
"""m: of a cart's mean position, that comes and goes."""


class DriftMeter:
    """Plays on as told, and notes the carts' mean positions at the ends of three parts of their episodes.

    From one to the next a cart moves by d_1 and d_2, and if that is away from the middle, it is taken to go on by
    d_2 r, d_2 r^2, ... with r = sum |d_2| / sum |d_1| over all such carts: with a policy that settles they move less
    and less, with one that does not, more and more. r of a single cart would mistake trembling for drift.

    Args:
        act: observation [S, N, O], whose first number is the cart's position -> actions.
        num_steps: of the episodes.
    """

    def __init__(self, act: Callable[[Tensor], Tensor], num_steps: int) -> None:
        self._act, self._num_steps = act, num_steps
        self._part = num_steps // NUM_PARTS
        self._width = max(1, self._part // 3)
        self._step = 0
        self._sums: list[Float[Tensor, "S N"]] = []

    def __call__(self, observation: Float[Tensor, "S N O"]) -> Tensor:
        """The actions."""
        part, step = divmod(self._step, self._part)
        if part < NUM_PARTS and step >= self._part - self._width:
            x = observation[..., 0].double()
            if step == self._part - self._width:
                self._sums.append(x)
            else:
                self._sums[-1] = self._sums[-1] + x
        self._step += 1
        return self._act(observation)

    def leaves(self, stands: Bool[Tensor, "S N"], position_limit: float, num_steps: int) -> Bool[Tensor, "S N"]:
        """Which carts would be farther from the middle than that, in m, within that many steps in all.

        Args:
            stands: whose episodes are not over; others are taken to leave no more.
            position_limit: m.
            num_steps: more than have been played.
        """
        if len(self._sums) < NUM_PARTS:
            return torch.zeros_like(stands)
        first, second, third = (total.cpu() / self._width for total in self._sums)
        move, before = (third - second).abs(), (second - first).abs()
        outward = stands & (third.abs() > second.abs())
        ratio = (move * outward).sum(dim=1) / (before.clamp(min=NOISE) * outward).sum(dim=1).clamp(min=NOISE)
        further = torch.arange(1, round((num_steps - self._num_steps) / self._part) + 1)
        growth = (ratio.unsqueeze(1) ** further).sum(dim=1, keepdim=True)
        return outward & (third.abs() + move * growth > position_limit)
