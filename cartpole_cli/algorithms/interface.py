"""What an algorithm is: how it collects, what it aims at, and the loss that gets it there."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams


@dataclass(frozen=True, slots=True)
class Loss:
    """What a batch says: `total` is minimized; `terms` are reported; a seed that says `stop` skips the step
    and the rest of the iteration's batches."""

    total: Float[Tensor, "S"]
    terms: dict[str, Float[Tensor, "S"]]
    stop: Bool[Tensor, "S"]


@runtime_checkable
class Batch(Protocol):
    """Rows of a rollout with their targets. Each algorithm has its own, with the columns its loss reads."""

    @property
    def weight(self) -> Float[Tensor, "S B"]:
        """What each row counts; a seed whose weights are all 0 takes no step."""
        ...

    @property
    def completes_step(self) -> bool:
        """Whether the optimizer steps after this batch, or adds up gradients until one that completes."""
        ...


@runtime_checkable
class Algorithm(Protocol):
    """Collect, fix the targets, then several passes over the batches."""

    @property
    def needs_value_network(self) -> bool:
        """Whether `policy.value` is used."""
        ...

    @property
    def reference_every(self) -> int:
        """Iterations between renewals of the reference policy; with 1 it is the policy that collects."""
        ...

    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout: ...

    def targets(self, rollout: Rollout, policy: PolicyNetwork, reference: PolicyNetwork, /) -> Any:
        """What the update aims at: fixed numbers, computed before it and without gradient."""
        ...

    def epochs(
        self, targets: Any, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[Sequence[Batch]]:
        """One sequence of batches per epoch. `progress` is each seed's used share of its budget, in [0, 1]."""
        ...

    def loss(self, policy: PolicyNetwork, batch: Any) -> Loss: ...

    def diagnostics(self, targets: Any) -> dict[str, Float[Tensor, "S"]]:
        """Numbers about a whole rollout, reported beside the loss's terms."""
        ...

    def hint(self, diagnostics: Mapping[str, float]) -> str | None:
        """A line for the user where one of a seed's reported numbers is likely to mislead."""
        ...
