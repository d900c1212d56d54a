"""What an algorithm is: how it collects, what it aims at, and the loss that gets it there."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.algorithms.rows import RowsT
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.sections import Section, shape_of

SectionT = TypeVar("SectionT", bound=Section)


@dataclass(frozen=True, slots=True)
class Loss:
    """What rows say: `total` is minimized; `terms` are reported; a seed that says `stop` skips the step and the rest of
    the iteration's."""

    total: Float[Tensor, "S"]
    terms: dict[str, Float[Tensor, "S"]]
    stop: Bool[Tensor, "S"] | None = None


class Algorithm(ABC, Generic[SectionT, RowsT]):
    """Collect, fix the targets, then several passes over their rows.

    Its first axis carries members, each with a recipe section of its own: numbers may differ between them, and are
    tensors [S] made by `each`; everything else is the same for all, and stands in `section`.

    Args:
        sections: one per member, of one shape.
        device: where its tensors are.
    """

    def __init__(self, sections: Sequence[SectionT], device: torch.device) -> None:
        self._sections, self._device = tuple(sections), device
        self.section = shape_of(sections[0])

    def each(self, number: Callable[[SectionT], float]) -> Float[Tensor, "S"]:
        """A number of every member's section, computed in float64 and rounded once."""
        return torch.tensor([number(section) for section in self._sections], device=self._device)

    def select(self, indices: Sequence[int]) -> "Algorithm[SectionT, RowsT]":
        """The algorithm of some of the members, by their places among these."""
        return type(self)([self._sections[index] for index in indices], self._device)

    @property
    def needs_value_network(self) -> bool:
        """Whether `policy.value` is used."""
        return False

    @property
    def reference_every(self) -> int:
        """Iterations between renewals of the reference policy; with 1 it is the policy that collects."""
        return 1

    @abstractmethod
    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout: ...

    @abstractmethod
    def targets(self, rollout: Rollout, policy: PolicyNetwork, reference: PolicyNetwork) -> RowsT:
        """What the update aims at: fixed numbers, computed before it and without gradient."""

    @abstractmethod
    def epochs(
        self, targets: RowsT, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[Sequence[Sequence[RowsT]]]:
        """One sequence of steps per epoch; a step is of one minibatch, or of parts whose gradients add up.

        `progress` is each seed's used share of its budget, in [0, 1].
        """

    @abstractmethod
    def loss(self, policy: PolicyNetwork, batch: RowsT) -> Loss: ...

    def diagnostics(self, targets: RowsT) -> dict[str, Float[Tensor, "S"]]:
        """Numbers about a whole rollout, reported beside the loss's terms."""
        del targets
        return {}

    def hint(self, diagnostics: Mapping[str, float]) -> str | None:
        """A line for the user where one of a seed's reported numbers is likely to mislead."""
        del diagnostics
        return None
