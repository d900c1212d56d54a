"""What differs from one episode to the next: physics, pushes, delays and start states.

All of it is a function of an episode's key and, within the episode, of the number of decisions so far: so it is the
same for all members of a group, beside any other seeds, and after resuming.
"""

import math
from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.tasks import STANDARD, START_RANGE


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds, uniform, or with uniform logarithms."""

    low: float
    high: float
    logarithmic: bool = False

    @property
    def log_ratio(self) -> float:
        """Of the bounds, where logarithms are uniform; else 0."""
        return math.log(self.high / self.low) if self.logarithmic else 0.0

    def at(self, share: Float[Tensor, "*draws"]) -> Float[Tensor, "*draws"]:
        """The number below which that share of all numbers are."""
        if self.logarithmic:
            return self.low * (share * self.log_ratio).exp()
        return self.low + (self.high - self.low) * share


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """What a push does at once, per unit of its strength: it shoves the cart and tips the pole.

    velocity m/s; angle rad, by which a pole within +-angle_limit rad is tipped, within that limit; angular_velocity
    rad/s. With `lifts` any pole ends within the limit: one that has fallen is lifted to it.
    """

    velocity: float = 0.4
    angle: float = math.radians(1.5)
    angle_limit: float = math.radians(29.7)
    angular_velocity: float = math.radians(45)
    lifts: bool = False

    def __call__(
        self, state: Float[Tensor, "4 *environments"], strength: Float[Tensor, "*environments"]
    ) -> Float[Tensor, "4 *environments"]:
        """The state after pushes of that strength, positive to the right; 0 is none."""
        per_strength = [0.0, self.velocity, self.angle, self.angular_velocity]
        pushed = state + strength * strength.new_tensor(per_strength).view(4, *[1] * strength.dim())
        theta = state[2]
        tipped = pushed[2].clamp(-self.angle_limit, self.angle_limit)
        is_tipped = (strength != 0) if self.lifts else theta.abs() <= self.angle_limit
        torch.where(is_tipped, tipped, theta, out=pushed[2])
        return pushed


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Where episodes begin: shares of three kinds, which add up to 1.

    balance: all four numbers within +-0.05; hanging: the same around a pole that hangs at rest; anywhere: any angle,
    and x, x_dot, theta_dot within +-position (m), +-velocity (m/s), +-angular_velocity (rad/s).
    """

    NUM_DRAWS = 5
    balance: float = 1.0
    hanging: float = 0.0
    anywhere: float = 0.0
    position: float = 3.0
    velocity: float = 3.0
    angular_velocity: float = 8.0

    def at(self, share: Float[Tensor, "5 *draws"]) -> Float[Tensor, "4 *draws"]:
        kind, spread = share[0], share[1:] * 2 - 1
        widest = spread.new_tensor([self.position, self.velocity, math.pi, self.angular_velocity])
        column = [4, *[1] * kind.dim()]
        near = spread * START_RANGE
        below = near + near.new_tensor([0.0, 0.0, math.pi, 0.0]).view(column)
        start = torch.where(kind < self.balance + self.hanging, below, spread * widest.view(column))
        return torch.where(kind < self.balance, near, start)


DELAY = list(STANDARD).index("delay")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What episodes are drawn from.

    Args:
        values: ranges by the names of `STANDARD`, where an episode's numbers are not those.
        change_rate: how often all values are drawn anew in the middle of an episode, 1/s.
        push_rate: how often the cart is pushed, 1/s.
        push_strength: in multiples of `push`, to either side.
        push: the effect.
        pushed_share: of episodes, that there are any pushes in.
        hitch_rate: how often, 1/s, a force begins to be held for `hitch_seconds`, whatever is decided.
        burst_rate: how often, 1/s, pushes of `burst_strength` to one side begin, for `burst_seconds`; there are
            `burst_pushes` of them a second.
        starts: where episodes begin.
    """

    values: dict[str, Range] = field(default_factory=dict)
    change_rate: float = 0.0
    push_rate: float = 0.0
    push_strength: Range = Range(1.0, 1.0)
    push: Push = Push()
    pushed_share: float = 1.0
    hitch_rate: float = 0.0
    hitch_seconds: Range = Range(0.1, 2.0)
    burst_rate: float = 0.0
    burst_seconds: Range = Range(0.5, 3.0)
    burst_pushes: float = 8.0
    burst_strength: float = 1.0
    starts: Starts = Starts()

    @cached_property
    def max_hold(self) -> int:
        """The most steps one decision may last."""
        return math.ceil(self._range("hold").high)

    @cached_property
    def is_held(self) -> bool:
        """Whether any decision lasts another number of steps than one."""
        hold = self._range("hold")
        return (hold.low, hold.high) != (1, 1)

    @cached_property
    def max_delay(self) -> int:
        """The most decisions a force may be late."""
        return int(self._range("delay").high)

    @cached_property
    def is_noisy(self) -> bool:
        """Whether there is any observation noise."""
        return self._range("observation_noise").high > 0

    @cached_property
    def has_spells(self) -> bool:
        """Whether anything lasts for several decisions: hitches or bursts."""
        return bool(self.hitch_rate or self.burst_rate)

    @cached_property
    def is_disturbed(self) -> bool:
        """Whether anything happens in the middle of an episode."""
        return bool(self.push_rate or self.change_rate or self.has_spells)

    @cached_property
    def varied(self) -> list[int]:
        """Places of the values that differ between episodes."""
        return [place for place, width in enumerate(self._bounds[1]) if width > 0]

    def sample(self, share: Float[Tensor, "V *draws"]) -> Float[Tensor, "V *draws"]:
        """An episode's values, in the order of `STANDARD`."""
        low, width, log_ratio = share.new_tensor(self._bounds).view(3, -1, *[1] * (share.dim() - 1)).unbind()
        values = torch.where(log_ratio > 0, low * (share * log_ratio).exp(), low + width * share)
        delay = self._range("delay")
        values[DELAY] = delay.low + (share[DELAY] * (delay.high - delay.low + 1)).floor()
        return values

    def shown(self, values: Float[Tensor, "V *draws"]) -> Float[Tensor, "K *draws"]:
        """The K varied values as numbers between -1 and 1: where they are in their ranges."""
        low, width, log_ratio = (
            values.new_tensor(self._bounds)[:, self.varied].view(3, -1, *[1] * (values.dim() - 1)).unbind()
        )
        varied = values[self.varied]
        share = torch.where(log_ratio > 0, (varied / low).log() / log_ratio, (varied - low) / width)
        return share * 2 - 1

    @cached_property
    def _bounds(self) -> list[list[float]]:
        """Of `STANDARD`: the lowest values, how far the highest are from them, and the logarithms of their ratios."""
        ranges = [self._range(name) for name in STANDARD]
        return [
            [each.low for each in ranges],
            [each.high - each.low for each in ranges],
            [each.log_ratio for each in ranges],
        ]

    def strength(self, share: Float[Tensor, "*pushes"]) -> Float[Tensor, "*pushes"]:
        """Of pushes: negative to the left."""
        return to_a_side(share, self.push_strength)

    def _range(self, name: str) -> Range:
        value = float(STANDARD[name])
        return self.values.get(name, Range(value, value))


def to_a_side(share: Float[Tensor, "*draws"], size: Range) -> Float[Tensor, "*draws"]:
    """Numbers of sizes in a range, half of them negative: to the left."""
    side = torch.where(share < 0.5, -1.0, 1.0)
    return side * size.at((share * 2) % 1)
