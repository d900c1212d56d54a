"""Proximal policy optimization (Schulman et al. 2017, arXiv 1707.06347).

    L = -mean min(rho A, clip(rho, 1 - eps, 1 + eps) A)      eq. 7
        + value_coefficient * mean (V - target)^2 / 2        eq. 9, with a sign turned
        - entropy_coefficient * mean entropy
    rho = pi(a|s) / pi_old(a|s);  A = GAE(lambda), target = A + V_old      eq. 11-12

Beyond the paper, as in OpenAI baselines: advantages are normalized per minibatch, gradients clipped, weights
orthogonal; policy and value network share nothing. Where we differ: a truncated episode bootstraps from its true
last state. An update ends, as in stable-baselines3, at the first minibatch on which the KL estimate is above
1.5 * target_kl: the steps before it have led there, its own is not taken.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.advantages import gae, normalize
from cartpole_cli.algorithms.interface import Algorithm, Loss
from cartpole_cli.algorithms.rows import Rows, for_all_rows, pack
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout, collect_steps
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import PPORecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class PPORows(Rows):
    """Steps with PPO's targets; a minibatch's `weight` is 1 / (number of its steps)."""

    old_log_prob: Float[Tensor, "S *rows"]
    old_value: Float[Tensor, "S *rows"]
    advantage: Float[Tensor, "S *rows"]
    value_target: Float[Tensor, "S *rows"]
    clip_range: Float[Tensor, "S"]


class PPO(Algorithm[PPORecipe, PPORows]):
    """The numbers mean what they mean in the paper; see `PPORecipe` for each."""

    needs_value_network = True

    def __init__(self, sections: Sequence[PPORecipe], device: torch.device) -> None:
        super().__init__(sections, device)
        self.gamma = self.each(lambda section: section.gamma)
        self.decay = self.each(lambda section: section.gamma * section.gae_lambda)
        self.clip_range = self.each(lambda section: section.clip_range)
        self.value_clip_range = self.each(lambda section: section.value_clip_range or math.inf)
        self.value_coefficient = self.each(lambda section: section.value_coefficient)
        self.entropy_coefficient = self.each(lambda section: section.entropy_coefficient)
        self.kl_limit = self.each(lambda section: 1.5 * (section.target_kl or math.inf))

    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout:
        return collect_steps(environment, policy, streams, self.section.steps_per_iteration, iteration)

    @torch.no_grad()
    def targets(self, rollout: Rollout, policy: PolicyNetwork, reference: PolicyNetwork) -> PPORows:
        value = for_all_rows(policy.value, rollout.observation)
        advantage = gae(
            rollout.reward,
            value,
            for_all_rows(policy.value, rollout.next_observation),
            rollout.terminated,
            rollout.truncated,
            rollout.valid,
            self.gamma,
            self.decay,
        )
        return PPORows(
            observation=rollout.observation,
            action=rollout.action,
            weight=rollout.valid.to(value.dtype),
            old_log_prob=for_all_rows(
                lambda observation, action: policy.distribution(observation).log_prob(action),
                rollout.observation,
                rollout.action,
            ),
            old_value=value,
            advantage=advantage,
            value_target=advantage + value,
            clip_range=self.clip_range,
        )

    def epochs(
        self, targets: PPORows, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[list[list[PPORows]]]:
        is_linear = self.section.clip_range_schedule == "linear"
        clip_range = self.clip_range * (1 - progress) if is_linear else self.clip_range
        for epoch in range(self.section.num_epochs):
            key = streams.uniform("minibatches", iteration, epoch, shape=targets.weight.shape[1:])
            packing = pack(targets.valid, self.section.minibatch_size, key)
            rows = packing.take(targets)
            advantage = normalize(rows.advantage, rows.weight) if self.section.normalize_advantage else rows.advantage
            weight = rows.weight / rows.weight.sum(dim=-1, keepdim=True).clamp(min=1.0)
            rows = replace(rows, advantage=advantage, weight=weight, clip_range=clip_range)
            yield [[minibatch] for minibatch in packing.split(rows)]

    def loss(self, policy: PolicyNetwork, batch: PPORows) -> Loss:
        distribution = policy.distribution(batch.observation)
        log_ratio = distribution.log_prob(batch.action) - batch.old_log_prob
        surrogate = losses.clipped_surrogate(log_ratio, batch.advantage, batch.clip_range, batch.weight)
        value_loss = self._value_loss(policy.value(batch.observation), batch)
        entropy = losses.weighted_sum(distribution.entropy(), batch.weight)
        total = surrogate + self.value_coefficient * value_loss
        if self.section.entropy_coefficient:
            total = total - self.entropy_coefficient * entropy
        with torch.no_grad():
            kl = losses.weighted_sum(losses.kl_k3(log_ratio), batch.weight)
            clipped = (log_ratio.expm1().abs() > batch.clip_range.unsqueeze(1)).to(kl.dtype)
        terms = {
            "policy_loss": surrogate,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": kl,
            "clip_fraction": losses.weighted_sum(clipped, batch.weight),
        }
        return Loss(total, terms, stop=None if self.section.target_kl is None else kl > self.kl_limit)

    def _value_loss(self, value: Float[Tensor, "S B"], batch: PPORows) -> Float[Tensor, "S"]:
        if self.section.value_clip_range is None:
            return losses.value_loss(value, batch.value_target, batch.weight)
        return losses.clipped_value_loss(
            value, batch.old_value, batch.value_target, self.value_clip_range, batch.weight
        )

    def diagnostics(self, targets: PPORows) -> dict[str, Float[Tensor, "S"]]:
        return {"explained_variance": explained_variance(targets.old_value, targets.value_target, targets.valid)}


def explained_variance(
    value: Float[Tensor, "S T N"], value_target: Float[Tensor, "S T N"], valid: Bool[Tensor, "S T N"]
) -> Float[Tensor, "S"]:
    """1 - Var(target - V) / Var(target) over valid rows: 1 is perfect, 0 no better than a constant."""
    mask = valid.flatten(1)
    return 1 - _variance((value_target - value).flatten(1), mask) / _variance(value_target.flatten(1), mask)


def _variance(value: Float[Tensor, "S R"], mask: Bool[Tensor, "S R"]) -> Float[Tensor, "S"]:
    count = mask.sum(dim=1).clamp(min=1)
    mean = value.masked_fill(~mask, 0.0).sum(dim=1) / count
    return (value - mean[:, None]).masked_fill(~mask, 0.0).square().sum(dim=1) / count
