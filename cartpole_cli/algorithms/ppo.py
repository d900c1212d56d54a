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

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.advantages import gae, normalize
from cartpole_cli.algorithms.interface import Loss
from cartpole_cli.algorithms.rows import pack
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout, collect_steps
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams


@dataclass(frozen=True, slots=True)
class Targets:
    """A rollout with what PPO aims at."""

    observation: Float[Tensor, "S T N O"]
    action: Tensor
    old_log_prob: Float[Tensor, "S T N"]
    old_value: Float[Tensor, "S T N"]
    advantage: Float[Tensor, "S T N"]
    value_target: Float[Tensor, "S T N"]
    valid: Bool[Tensor, "S T N"]


@dataclass(frozen=True, slots=True)
class Batch:
    observation: Float[Tensor, "S B O"]
    action: Tensor
    old_log_prob: Float[Tensor, "S B"]
    old_value: Float[Tensor, "S B"]
    advantage: Float[Tensor, "S B"]
    value_target: Float[Tensor, "S B"]
    weight: Float[Tensor, "S B"]
    clip_range: Float[Tensor, "S"]

    @property
    def completes_step(self) -> bool:
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class PPO:
    """The numbers mean what they mean in the paper; see `PPORecipe` for each."""

    steps_per_iteration: int
    num_epochs: int
    minibatch_size: int
    gamma: float
    gae_lambda: float
    clip_range: float
    anneal_clip_range: bool
    normalize_advantage: bool
    value_coefficient: float
    value_clip_range: float | None
    entropy_coefficient: float
    target_kl: float | None

    @property
    def needs_value_network(self) -> bool:
        return True

    @property
    def reference_every(self) -> int:
        return 1

    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout:
        return collect_steps(environment, policy, streams, self.steps_per_iteration, iteration)

    @torch.no_grad()
    def targets(self, rollout: Rollout, policy: PolicyNetwork, _reference: PolicyNetwork) -> Targets:
        shape = rollout.reward.shape
        observation = rollout.observation.flatten(1, 2)
        value = policy.value(observation).view(shape)
        next_value = policy.value(rollout.next_observation.flatten(1, 2)).view(shape)
        log_prob = policy.distribution(observation).log_prob(rollout.action.flatten(1, 2))
        advantage = gae(
            rollout.reward,
            value,
            next_value,
            rollout.terminated,
            rollout.truncated,
            rollout.valid,
            self.gamma,
            self.gae_lambda,
        )
        return Targets(
            observation=rollout.observation,
            action=rollout.action,
            old_log_prob=log_prob.view(shape),
            old_value=value,
            advantage=advantage,
            value_target=advantage + value,
            valid=rollout.valid,
        )

    def epochs(
        self, targets: Targets, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[list[Batch]]:
        clip_range = self.clip_range * (1 - progress if self.anneal_clip_range else torch.ones_like(progress))
        for epoch in range(self.num_epochs):
            key = streams.uniform("minibatches", iteration, epoch, shape=targets.valid.shape[1:])
            packing = pack(targets.valid, self.minibatch_size, key)
            mask = packing.mask.to(key.dtype)
            advantage = packing.take(targets.advantage)
            columns = {
                "observation": packing.take(targets.observation),
                "action": packing.take(targets.action),
                "old_log_prob": packing.take(targets.old_log_prob),
                "old_value": packing.take(targets.old_value),
                "advantage": normalize(advantage, mask) if self.normalize_advantage else advantage,
                "value_target": packing.take(targets.value_target),
                "weight": mask / mask.sum(dim=-1, keepdim=True).clamp(min=1.0),
            }
            yield [Batch(clip_range=clip_range, **minibatch) for minibatch in packing.split(columns)]

    def loss(self, policy: PolicyNetwork, batch: Batch) -> Loss:
        distribution = policy.distribution(batch.observation)
        log_ratio = distribution.log_prob(batch.action) - batch.old_log_prob
        surrogate = losses.clipped_surrogate(log_ratio, batch.advantage, batch.clip_range, batch.weight)
        value = policy.value(batch.observation)
        if self.value_clip_range is None:
            value_loss = losses.value_loss(value, batch.value_target, batch.weight)
        else:
            value_loss = losses.clipped_value_loss(
                value, batch.old_value, batch.value_target, self.value_clip_range, batch.weight
            )
        entropy = losses.weighted_sum(distribution.entropy(), batch.weight)
        total = surrogate + self.value_coefficient * value_loss
        if self.entropy_coefficient:
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
        limit = float("inf") if self.target_kl is None else 1.5 * self.target_kl
        return Loss(total, terms, stop=kl > limit)

    def diagnostics(self, targets: Targets) -> dict[str, Float[Tensor, "S"]]:
        return {"explained_variance": explained_variance(targets.old_value, targets.value_target, targets.valid)}

    def hint(self, diagnostics: Mapping[str, float]) -> str | None:
        return None


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
