"""Sums kept on the device during an iteration and read by the host once, when it is reported."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.experience import Rollout


class EpisodeStatistics:
    """Returns of the training episodes that end in an iteration; an episode may span several iterations."""

    def __init__(self, num_seeds: int, num_envs: int, device: torch.device) -> None:
        self.running: Float[Tensor, "S N"] = torch.zeros(num_seeds, num_envs, device=device)

    def update(self, rollout: Rollout) -> tuple[Float[Tensor, "S"], Float[Tensor, "S"]]:
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
    """Means of the loss's terms over the steps a seed took, and whether its gradients stayed finite."""

    def __init__(self, diagnostics: dict[str, Float[Tensor, "S"]]) -> None:
        self._diagnostics = diagnostics
        self._terms: dict[str, list[Tensor]] = {}
        self._counted: list[Tensor] = []
        self._norms: list[Tensor] = []
        self._stepped: list[Tensor] = []

    def add_loss(self, terms: dict[str, Float[Tensor, "S"]], counted: Bool[Tensor, "S"]) -> None:
        for name, value in terms.items():
            self._terms.setdefault(name, []).append(value.detach())
        self._counted.append(counted)

    def add_step(self, gradient_norm: Float[Tensor, "S"], stepped: Bool[Tensor, "S"]) -> None:
        self._norms.append(gradient_norm)
        self._stepped.append(stepped)

    def failed(self) -> Bool[Tensor, "S"]:
        """Seeds that met a gradient that is not finite."""
        if not self._norms:
            return torch.zeros(0, dtype=torch.bool)
        return (torch.stack(self._stepped) & ~torch.stack(self._norms).isfinite()).any(dim=0)

    def means(self) -> dict[str, Float[Tensor, "S"]]:
        """Each term's mean, the gradient norm's, and the algorithm's diagnostics; nan for a seed without a step."""
        means = {name: _masked_mean(values, self._counted) for name, values in self._terms.items()}
        means["gradient_norm"] = _masked_mean(self._norms, self._stepped)
        return means | self._diagnostics


def _masked_mean(values: list[Tensor], masks: list[Tensor]) -> Float[Tensor, "S"]:
    mask = torch.stack(masks, dim=1)
    return torch.where(mask, torch.stack(values, dim=1), 0.0).sum(dim=1) / mask.sum(dim=1)
