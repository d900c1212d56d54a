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
        self._terms: list[Float[Tensor, "S"]] = []
        self._counted: list[Bool[Tensor, "S"]] = []
        # The first step is one that no seed takes, so that there is something to add up.
        self._norms: list[Float[Tensor, "S"]] = [torch.zeros(num_seeds, device=device)]
        self._stepped: list[Bool[Tensor, "S"]] = [torch.zeros(num_seeds, dtype=torch.bool, device=device)]

    def add_loss(self, terms: dict[str, Float[Tensor, "S"]], counted: Bool[Tensor, "S"]) -> None:
        self._names = list(terms)
        self._terms.extend(term.detach() for term in terms.values())
        self._counted.append(counted)

    def add_step(self, gradient_norm: Float[Tensor, "S"], stepped: Bool[Tensor, "S"]) -> None:
        self._norms.append(gradient_norm)
        self._stepped.append(stepped)

    def failures(self) -> list[str | None]:
        """For each seed that met a gradient that is not finite, the first such term of the loss; None for others."""
        finite = _all_finite(torch.stack(self._norms), torch.stack(self._stepped)).tolist()
        if all(finite):
            return [None] * len(finite)
        terms = _all_finite(*self._stacked_terms()).T.tolist() if self._names else [[]] * len(finite)
        return [
            None if well else next(itertools.compress(self._names, map(operator.not_, of_seed)), "gradient")
            for well, of_seed in zip(finite, terms, strict=True)
        ]

    def means(self) -> dict[str, Float[Tensor, "S"]]:
        """Each term's mean over steps, the gradient norm's, and the algorithm's diagnostics; nan without a step."""
        stepped = torch.stack(self._stepped)
        num_steps = stepped.sum(dim=0)
        sums = _sum_of(*self._stacked_terms()) if self._names else ()
        terms = {name: total / num_steps for name, total in zip(self._names, sums, strict=True)}
        norm = {"gradient_norm": _sum_of(torch.stack(self._norms), stepped) / num_steps}
        return terms | norm | self._diagnostics

    def _stacked_terms(self) -> tuple[Float[Tensor, "M K S"], Bool[Tensor, "M 1 S"]]:
        """Of M batches K terms, and for which seeds they count."""
        terms, counted = torch.stack(self._terms), torch.stack(self._counted)
        return terms.view(len(counted), -1, terms.shape[1]), counted.unsqueeze(1)


def _sum_of(values: Float[Tensor, "M *rest"], counted: Bool[Tensor, "M *#rest"]) -> Float[Tensor, "*rest"]:
    """One after the other: how a reduction adds up depends on S."""
    return torch.where(counted, values, 0.0).cumsum(dim=0)[-1]


def _all_finite(values: Float[Tensor, "M *rest"], counted: Bool[Tensor, "M *#rest"]) -> Bool[Tensor, "*rest"]:
    return (values.isfinite() | ~counted).all(dim=0)
