"""REINFORCE (Williams 1992), with reward-to-go and a baseline (Sutton and Barto 2018, 13.3-13.4).

    L = -mean (G_t - b_t) log pi(a_t|s_t)  [+ value_coefficient * mean (V - G_t)^2 / 2]  [- entropy bonus]

One step of the optimizer per batch of whole episodes: after it the data are no longer on policy. The mean is over
the batch's steps, so that the learning rate does not depend on the episodes' lengths, and each step counts the
same. The factor gamma^t before the gradient (eq. 13.8's algorithm) is dropped, as everywhere in practice.

Baselines b_t: `none`; `batch`, the mean return over the batch (contains the step's own: slightly biased);
`leave_one_out`, the mean return of the other episodes at the same t; `value`, a learned V(s_t), fitted to the raw
returns. With `value` a truncated episode bootstraps from V of its last state; without, the time limit counts as
the end of the task.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.advantages import batch_mean, leave_one_out, normalize, reward_to_go
from cartpole_cli.algorithms.interface import Algorithm, Loss
from cartpole_cli.algorithms.rows import ROWS_PER_PART, Rows, pack
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout, collect_episodes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import ReinforceRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class ReinforceRows(Rows):
    """Steps of whole episodes; `weight` is 1 / (number of the batch's steps)."""

    advantage: Float[Tensor, "S *rows"]
    value_target: Float[Tensor, "S *rows"]


class Reinforce(Algorithm[ReinforceRecipe, ReinforceRows]):
    """See `ReinforceRecipe` for what each number means."""

    def __init__(self, sections: Sequence[ReinforceRecipe], device: torch.device) -> None:
        super().__init__(sections, device)
        self.gamma = self.each(lambda section: section.gamma)
        self.value_coefficient = self.each(lambda section: section.value_coefficient)
        self.entropy_coefficient = self.each(lambda section: section.entropy_coefficient)

    @property
    def needs_value_network(self) -> bool:
        return self.section.baseline == "value"

    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout:
        return collect_episodes(environment, policy, streams, iteration)

    @torch.no_grad()
    def targets(self, rollout: Rollout, policy: PolicyNetwork, reference: PolicyNetwork) -> ReinforceRows:
        valid = rollout.valid
        reward = rollout.reward.masked_fill(~valid, 0.0)
        if self.needs_value_network:
            cut = rollout.truncated & ~rollout.terminated & valid
            last_value = policy.value(rollout.next_observation.flatten(1, 2)).view(reward.shape)
            reward = reward + self.gamma.view(-1, 1, 1) * last_value.masked_fill(~cut, 0.0)
        returns = reward_to_go(reward, rollout.ended, self.gamma)
        advantage = (returns - self._baseline(rollout, returns, policy)).masked_fill(~valid, 0.0)
        mask = valid.to(returns.dtype)
        if self.section.normalize_advantage:
            advantage = normalize(advantage.flatten(1), mask.flatten(1)).view(advantage.shape)
        return ReinforceRows(
            observation=rollout.observation,
            action=rollout.action,
            weight=mask / mask.sum(dim=(1, 2), keepdim=True).clamp(min=1.0),
            advantage=advantage,
            value_target=returns,
        )

    def _baseline(
        self, rollout: Rollout, returns: Float[Tensor, "S T N"], policy: PolicyNetwork
    ) -> Float[Tensor, "S #T #N"]:
        match self.section.baseline:
            case "none":
                return torch.zeros_like(returns)
            case "batch":
                return batch_mean(returns, rollout.valid)
            case "leave_one_out":
                return leave_one_out(returns, rollout.valid)
            case "value":
                return policy.value(rollout.observation.flatten(1, 2)).view(returns.shape)

    def epochs(
        self, targets: ReinforceRows, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[list[list[ReinforceRows]]]:
        packing = pack(targets.valid, ROWS_PER_PART).filled()
        yield [packing.split(packing.take(targets))]

    def loss(self, policy: PolicyNetwork, batch: ReinforceRows) -> Loss:
        distribution = policy.distribution(batch.observation)
        log_prob = distribution.log_prob(batch.action)
        policy_loss = losses.policy_gradient(log_prob, batch.advantage, batch.weight)
        entropy = losses.weighted_sum(distribution.entropy(), batch.weight)
        total = policy_loss
        if self.section.entropy_coefficient:
            total = total - self.entropy_coefficient * entropy
        terms = {"policy_loss": policy_loss, "entropy": entropy}
        if self.needs_value_network:
            value = policy.value(batch.observation)
            terms["value_loss"] = losses.value_loss(value, batch.value_target, batch.weight)
            total = total + self.value_coefficient * terms["value_loss"]
        return Loss(total, terms)
