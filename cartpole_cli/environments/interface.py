"""What every environment offers to the training loop."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.actions import Actions
from cartpole_cli.environments.physics import Physics


@dataclass(frozen=True, slots=True)
class Transition:
    """What one step of S x N environments did.

    `next_observation` is the true successor, before any reset. `terminated` is failure, `truncated` the time
    limit; where both hold, termination wins. A row that is not `valid` is no transition at all (the reset row of
    Gymnasium's next-step autoreset) and enters no loss, statistic or count.
    """

    observation: Float[Tensor, "S N O"]
    reward: Float[Tensor, "S N"]
    next_observation: Float[Tensor, "S N O"]
    terminated: Bool[Tensor, "S N"]
    truncated: Bool[Tensor, "S N"]
    valid: Bool[Tensor, "S N"]


@runtime_checkable
class VectorEnvironment(Protocol):
    """N environments for each of S seeds. An episode that ends is followed by a new one by itself."""

    @property
    def num_seeds(self) -> int: ...
    @property
    def num_envs(self) -> int: ...
    @property
    def observation_size(self) -> int: ...
    @property
    def actions(self) -> Actions: ...
    @property
    def max_episode_steps(self) -> int: ...

    @property
    def observation(self) -> Float[Tensor, "S N O"]:
        """What the next action is chosen on: after an episode's end, the first observation of the next one."""
        ...

    def reset(self) -> None:
        """Start a new episode in every environment."""
        ...

    def step(self, action: Tensor) -> Transition:
        """Act in every environment."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class CartPoleEnvironment(VectorEnvironment, Protocol):
    """Cart-poles that tell how they were pushed; their first observed number is the cart's position in metres."""

    physics: Physics

    @property
    def position_limit(self) -> float:
        """An episode fails when the cart is farther from the middle, m."""
        ...

    @property
    def reached(self) -> Float[Tensor, "S N 4"]:
        """The states where the last step led, before any reset and without noise; before any step, the starts."""
        ...

    @property
    def force(self) -> Float[Tensor, "S N"]:
        """What acted on the carts in the last step, N, positive to the right."""
        ...

    @property
    def seconds(self) -> Float[Tensor, "S N"]:
        """How long it acted: what the last step lasted, s."""
        ...


@runtime_checkable
class TrainingEnvironment(VectorEnvironment, Protocol):
    """A vector environment that can start groups, and whose place in the experience can be saved."""

    def reset(self, group_size: int = 1) -> None:
        """Start a new episode in every environment; those of a group (consecutive ones) from one start state.

        Raises:
            ValueError: the environments cannot be divided into groups of that size.
        """
        ...

    def keep_seeds(self, indices: Sequence[int]) -> None:
        """Go on with some of the seeds, by their places among these."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on from here: tensors and lists that have the seeds first, and numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Whether the episodes that were under way go on; if not, new ones have begun."""
        ...


@runtime_checkable
class BranchingEnvironment(TrainingEnvironment, Protocol):
    """A training environment whose episodes can be put anywhere; its observations are its states."""

    def reset_to(self, state: Float[Tensor, "S N O"], elapsed: Int[Tensor, "S N"]) -> None:
        """Let every environment go on from a state, that many steps into its episode."""
        ...

    def fork(self, group_size: int) -> None:
        """Let every group go on from where its first member is."""
        ...


def check_divides(num_envs: int, group_size: int) -> None:
    """Raises ValueError unless the environments can be divided into groups of that size."""
    if num_envs % group_size:
        raise ValueError(f"{num_envs} environments do not make groups of {group_size}")
