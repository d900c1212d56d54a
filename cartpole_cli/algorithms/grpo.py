"""Group relative policy optimization (Shao et al. 2024, DeepSeekMath, arXiv 2402.03300), for control.

    R_i = return of episode i of a group of G that began in the same state
    A_i = (R_i - mean_G R) / scale                                      below eq. 3, scale = std_G R
    L   = sum_it w_it [ -min(rho A, clip(rho, 1 - eps, 1 + eps_high) A) + kl_weight KL(pi || pi_ref) ]      eq. 3
    rho = pi(a|s) / pi_old(a|s)

A group's other episodes are the baseline, so there is no value network. What a step weighs (`aggregation`):

    grpo     w = 1 / (n |episode i|)   the paper's: here, where long episodes are the good ones, a failure's steps
                                       weigh up to 25 times a success's (the length bias of Liu et al. 2025)
    dapo     w = 1 / total steps       Yu et al. 2025 (DAPO, arXiv 2503.14476), eq. 12
    dr_grpo  w = 1 / (n time limit)    Liu et al. 2025 (Dr. GRPO, arXiv 2503.20783), with advantage_scale = "none"

Where we differ: `scale` has a floor (returns 500, 500, ..., 499 are no reason for an advantage of -2.5). Groups whose
returns are all equal say nothing; they enter no term, the KL included, and no average, and n counts the episodes of
the others; if no group is left, there is no step. `credit = "to_go"` gives each step the return still to come minus
the mean over the other members' at the same time (0 once they have ended), instead of the whole episode's, and may
discount both by `gamma`. The exact KL needs the reference's distributions, not only its log-probs; k2 and k3 use the
actions taken, and are estimates of the current policy's KL only in the first step after these were taken.
`branch_from = "none"` makes groups of episodes that have nothing in common, as where no two can begin in the same
state: to compare with, as their mean also carries how hard each one's start was.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.advantages import (
    deviation,
    group_deviation,
    group_mean,
    has_spread,
    leave_one_out,
    reward_to_go,
)
from cartpole_cli.algorithms.interface import Algorithm, Loss
from cartpole_cli.algorithms.rows import ROWS_PER_PART, Rows, for_valid_rows, pack
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout, collect_branches, collect_episodes
from cartpole_cli.policy.action_heads import Distribution
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import GRPORecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class GRPORows(Rows):
    """Steps of a rollout's groups with what GRPO aims at; those of groups without spread are not valid.

    `weight` is the aggregation's, `share` what each valid row counts in reported means; both add up to 1 over a step's
    rows, on average.
    """

    old_log_prob: Float[Tensor, "S *rows"]
    advantage: Float[Tensor, "S *rows"]
    reference: Float[Tensor, "S *rows P"] | None
    share: Float[Tensor, "S"]
    spread: Bool[Tensor, "S episodes"]


class GRPO(Algorithm[GRPORecipe, GRPORows]):
    """See `GRPORecipe` for what each number means."""

    def __init__(self, sections: Sequence[GRPORecipe], device: torch.device) -> None:
        super().__init__(sections, device)
        self.scale_floor = self.each(lambda section: section.scale_floor).unsqueeze(1)
        self.clip_range = self.each(lambda section: section.clip_range)
        self.clip_range_high = self.each(lambda section: section.clip_range_high or section.clip_range)
        self.least_ratio = self.each(lambda section: 1 - section.clip_range).unsqueeze(1)
        self.most_ratio = self.each(lambda section: 1 + (section.clip_range_high or section.clip_range)).unsqueeze(1)
        self.kl_weight = self.each(lambda section: section.kl_weight)
        self.gamma = self.each(lambda section: section.gamma)

    @property
    def reference_every(self) -> int:
        return self.section.reference_every if self.section.kl_weight else 1

    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout:
        match self.section.branch_from:
            case "episode":
                return collect_branches(environment, policy, streams, iteration, self.section.group_size, None)
            case "start":
                return collect_episodes(environment, policy, streams, iteration, self.section.group_size)
            case "none":
                return collect_episodes(environment, policy, streams, iteration)

    @torch.no_grad()
    def targets(self, rollout: Rollout, policy: PolicyNetwork, reference: PolicyNetwork) -> GRPORows:
        size = self.section.group_size
        reward = rollout.reward.masked_fill(~rollout.valid, 0.0)
        returns = reward.sum(dim=1)
        spread = has_spread(returns, size)
        valid = rollout.valid & spread.unsqueeze(1)
        if self.section.credit == "outcome":
            advantage = (returns - group_mean(returns, size)).unsqueeze(1)
        else:
            to_go = reward_to_go(reward, rollout.ended, self.gamma)
            advantage = to_go - leave_one_out(to_go, rollout.valid, size)
        advantage = advantage / self._scale(returns, spread).unsqueeze(1)
        columns = (valid, rollout.observation, rollout.action)
        num_rows = valid.sum(dim=(1, 2))
        # Weights add up over all rows: a step on one of M minibatches counts its rows M times.
        num_steps = -(-num_rows // (self.section.minibatch_size or valid[0].numel()))
        return GRPORows(
            observation=rollout.observation,
            action=rollout.action,
            weight=aggregation_weight(self.section.aggregation, valid) * num_steps[:, None, None],
            old_log_prob=for_valid_rows(lambda o, a: policy.distribution(o).log_prob(a), *columns),
            advantage=advantage.expand_as(reward).masked_fill(~valid, 0.0),
            reference=(
                for_valid_rows(lambda o, _: reference.distribution(o).parameters(), *columns)
                if self.section.kl_weight
                else None
            ),
            share=num_steps / num_rows.clamp(min=1),
            spread=spread,
        )

    def _scale(self, returns: Float[Tensor, "S N"], spread: Bool[Tensor, "S N"]) -> Float[Tensor, "S N"]:
        match self.section.advantage_scale:
            case "none":
                return torch.ones_like(returns)
            case "group":
                return group_deviation(returns, self.section.group_size).clamp(min=self.scale_floor)
            case "batch":
                return deviation(returns, spread).unsqueeze(1).clamp(min=self.scale_floor).expand_as(returns)

    def epochs(
        self, targets: GRPORows, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[list[list[GRPORows]]]:
        size = self.section.minibatch_size
        for epoch in range(self.section.num_epochs):
            if size is None:
                packing = pack(targets.valid, ROWS_PER_PART).filled()
                yield [packing.split(packing.take(targets))]
            else:
                key = streams.uniform("minibatches", iteration, epoch, shape=targets.weight.shape[1:])
                packing = pack(targets.valid, size, key).filled()
                yield [[minibatch] for minibatch in packing.split(packing.take(targets))]

    def loss(self, policy: PolicyNetwork, batch: GRPORows) -> Loss:
        distribution = policy.distribution(batch.observation)
        log_prob = distribution.log_prob(batch.action)
        log_ratio = log_prob - batch.old_log_prob
        surrogate = losses.clipped_surrogate(
            log_ratio, batch.advantage, self.clip_range, batch.weight, self.clip_range_high
        )
        share = batch.valid * batch.share.unsqueeze(1)
        total, terms = surrogate, {"policy_loss": surrogate}
        if batch.reference is not None:
            kl = self._kl(distribution, log_prob, distribution.with_parameters(batch.reference), batch.action)
            total = total + self.kl_weight * losses.weighted_sum(kl, batch.weight)
            terms["reference_kl"] = losses.weighted_sum(kl, share)
        with torch.no_grad():
            ratio = log_ratio.exp()
            clipped = ((ratio > self.most_ratio) | (ratio < self.least_ratio)).to(ratio.dtype)
            terms["ratio"] = losses.weighted_sum(ratio, share)
            terms["clip_fraction"] = losses.weighted_sum(clipped, share)
            terms["approx_kl"] = losses.weighted_sum(losses.kl_k3(log_ratio), share)
            terms["entropy"] = losses.weighted_sum(distribution.entropy(), share)
        return Loss(total, terms)

    def _kl(
        self, distribution: Distribution, log_prob: Float[Tensor, "S B"], reference: Distribution, action: Tensor
    ) -> Float[Tensor, "S B"]:
        match self.section.kl_estimator:
            case "exact":
                return distribution.kl(reference)
            case "k2":
                return losses.kl_k2(reference.log_prob(action) - log_prob)
            case "k3":
                return losses.kl_k3(reference.log_prob(action) - log_prob)

    def diagnostics(self, targets: GRPORows) -> dict[str, Float[Tensor, "S"]]:
        zero_spread = (~targets.spread).to(targets.advantage.dtype).mean(dim=1)
        spread = deviation(targets.advantage.flatten(1), targets.valid.flatten(1))
        return {"zero_spread_share": zero_spread, "advantage_spread": spread}

    def hint(self, diagnostics: Mapping[str, float]) -> str | None:
        if diagnostics["zero_spread_share"] == 1:
            return (
                "every group's returns are equal, so there is nothing to learn (near the best return this is good news)"
            )
        if self.section.num_epochs == 1 and self.section.minibatch_size is None:
            return (
                "with one epoch every ratio is 1: policy_loss says nothing, near 0 or not, and clip_fraction is 0; "
                "watch advantage_spread and gradient_norm"
            )
        return None


def aggregation_weight(
    aggregation: Literal["grpo", "dapo", "dr_grpo"], valid: Bool[Tensor, "S T N"]
) -> Float[Tensor, "S T N"]:
    """What each valid row of episodes [T, N] counts, T being the time limit; see the module's docstring."""
    length = valid.sum(dim=1, keepdim=True)
    num_episodes = (length > 0).sum(dim=2, keepdim=True)
    match aggregation:
        case "grpo":
            total = num_episodes * length
        case "dapo":
            total = length.sum(dim=2, keepdim=True)
        case "dr_grpo":
            total = num_episodes * valid.shape[1]
    return valid / total.clamp(min=1)
