"""What an action is: one of a few, or numbers within a range. Environments, policies and files all say it so."""

from dataclasses import dataclass
from typing import TypeAlias

MAX_FORCE = 10.0
"""N: the cart-pole is pushed with it to the left or to the right, or with any force in between."""


@dataclass(frozen=True, slots=True)
class Discrete:
    """Actions 0 .. n - 1, passed to an environment's `step` as integers [S, N]."""

    n: int

    @property
    def size(self) -> int:
        """How many outputs of a network say which one: a logit each."""
        return self.n

    def __str__(self) -> str:
        return f"{self.n} discrete actions"

    def fits(self, other: "Actions") -> bool:
        """Whether who gives the one can be asked for the other."""
        return self == other


@dataclass(frozen=True, slots=True)
class Continuous:
    """Real actions between `low` and `high` (N for the cart-pole), passed to `step` as floats [S, N, A]."""

    low: tuple[float, ...]
    high: tuple[float, ...]

    @property
    def size(self) -> int:
        """How many outputs of a network give them: a mean each."""
        return len(self.low)

    def __str__(self) -> str:
        return f"{self.size} continuous actions"

    def fits(self, other: "Actions") -> bool:
        """Whether who gives the one can be asked for the other: environments clip to their own ranges."""
        return isinstance(other, Continuous) and self.size == other.size


Actions: TypeAlias = Discrete | Continuous
PUSHES = Discrete(2)
"""The cart-pole's, to the left and to the right."""
FORCE = Continuous((-MAX_FORCE,), (MAX_FORCE,))
"""The continuous cart-pole's."""


def drives_cart_pole(observation_size: int, actions: Actions) -> bool:
    """Whether a policy takes a cart-pole's four numbers, and gives a push or a force."""
    return observation_size == 4 and (actions.fits(PUSHES) or actions.fits(FORCE))
