"""What a page does with a policy's outputs is the contract.

It feeds `[x, x_dot, theta, theta_dot]` (m, m/s, rad, rad/s) and reads the first output by its number of values:

    1        a force in newtons, positive to the right
    2        logits of pushing with 10 N to the left and to the right
    n > 2    logits of n forces, evenly spaced from -10 to 10 N
"""

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor

from cartpole_cli.actions import FORCE, MAX_FORCE, PUSHES, Actions

OBSERVATION_SIZE = 4


class PagePolicy(ABC):
    """A greedy policy, whatever it is made of."""

    num_values: int
    """How many numbers the first output has; the module's docstring says what they mean."""

    @abstractmethod
    def values(self, observation: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch V"]:
        """The first output."""

    def force(self, observation: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 1"]:
        """What the page pushes with, in newtons."""
        values = self.values(observation)
        if self.num_values == 1:
            return values.clamp(-MAX_FORCE, MAX_FORCE)
        choice = values.argmax(dim=-1, keepdim=True)
        return choice * (2 * MAX_FORCE / (self.num_values - 1)) - MAX_FORCE

    def greedy_action(self, observation: Float[Tensor, "*batch 4"]) -> Tensor:
        """The action for CartPole-v1 where there are two values, for ContinuousCartPole-v1 otherwise."""
        return self.values(observation).argmax(dim=-1) if self.actions == PUSHES else self.force(observation)

    @property
    def observation_size(self) -> int:
        return OBSERVATION_SIZE

    @property
    def actions(self) -> Actions:
        """The cart-pole's that `greedy_action` gives."""
        return PUSHES if self.num_values == PUSHES.n else FORCE
