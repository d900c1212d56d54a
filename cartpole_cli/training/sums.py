"""Sums kept on the device during an iteration and read by the host once, when it is reported."""

import itertools
import operator
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.experience import Rollout


class EpisodeStatistics:
    """Returns of the training episodes that end in an iteration; an episode may span several iterations."""

    def __init__(self, num_seeds: int, num_envs: int, device: torch.device) -> None:
        self.running: Float[Tensor, "S N"] = torch.zeros(num_seeds, num_envs, device=device)

    def keep_seeds(self, indices: Sequence[int]) -> None:
        """Go on with some of the seeds, by their places among these."""
        self.running = self.running[list(indices)]

    def update(self, rollout: Rollout) -> tuple[Int[Tensor, "S"], Float[Tensor, "S"]]:
        """How many episodes ended, and their mean return (nan where none did)."""
        ended = rollout.ended
        reward = rollout.reward.masked_fill(~rollout.valid, 0.0)
        # total[t] is the reward before step t, the episode under way at the start included.
        total = torch.cat([-self.running.unsqueeze(1), reward.cumsum(dim=1)], dim=1)
        index = torch.arange(1, reward.shape[1] + 1, device=reward.device).view(1, -1, 1)
        after_end = torch.where(ended, index, 0)
        start = torch.cat([torch.zeros_like(after_end[:, :1]), after_end], dim=1).cummax(dim=1).values
        returns = total[:, 1:] - total.gather(1, start[:, :-1])
        self.running = total[:, -1] - total.gather(1, start[:, -1:]).squeeze(1)
        count = ended.flatten(1).sum(dim=1)
        return count, torch.where(ended, returns, 0.0).flatten(1).sum(dim=1) / count


class UpdateStatistics:
    """Means of the loss's terms over the steps a seed took, and whether its gradients stayed finite.

    The batches of one step add up: their weights belong to one average. Sums run batch by batch: a batch that
    does not count for a seed adds an exact zero, so that a seed's means do not depend on how many batches other
    seeds go on for.
    """

    def __init__(self, num_seeds: int, device: torch.device, diagnostics: dict[str, Float[Tensor, "S"]]) -> None:
        self._diagnostics = diagnostics
        self._names: list[str] = []
        self._terms: Float[Tensor, "K S"] | float = 0.0
        self._norms = self._num_steps = torch.zeros(num_seeds, device=device)
        self._finite = torch.ones(num_seeds, dtype=torch.bool, device=device)
        self._finite_terms: Bool[Tensor, "K S"] | bool = True

    def add_loss(self, terms: dict[str, Float[Tensor, "S"]], counted: Bool[Tensor, "S"]) -> None:
        self._names = list(terms)
        values = torch.stack([value.detach() for value in terms.values()])
        self._terms = torch.where(counted, values, 0.0) + self._terms
        self._finite_terms = (values.isfinite() | ~counted) & self._finite_terms

    def add_step(self, gradient_norm: Float[Tensor, "S"], stepped: Bool[Tensor, "S"]) -> None:
        self._norms = self._norms + torch.where(stepped, gradient_norm, 0.0)
        self._num_steps = self._num_steps + stepped
        self._finite = self._finite & (gradient_norm.isfinite() | ~stepped)

    def failures(self) -> list[str | None]:
        """For each seed that met a gradient that is not finite, the first such term of the loss; None for others."""
        finite: list[bool] = self._finite.tolist()
        if all(finite):
            return [None] * len(finite)
        terms: list[list[bool]] = [[]] * len(finite)
        if isinstance(self._finite_terms, Tensor):
            terms = self._finite_terms.T.tolist()
        return [
            None if well else next(itertools.compress(self._names, map(operator.not_, of_seed)), "gradient")
            for well, of_seed in zip(finite, terms, strict=True)
        ]

    def means(self) -> dict[str, Float[Tensor, "S"]]:
        """Each term's mean over steps, the gradient norm's, and the algorithm's diagnostics; nan without a step."""
        terms = (self._terms / self._num_steps).unbind() if self._names else ()
        norm = {"gradient_norm": self._norms / self._num_steps}
        return dict(zip(self._names, terms, strict=True)) | norm | self._diagnostics
