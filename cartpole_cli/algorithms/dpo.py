"""Direct preference optimization (Rafailov et al. 2023, arXiv 2305.18290), iterated, on episodes of control.

    h    = sum_t log pi/pi_ref (a_t|s_t) of the chosen episode - the same of the rejected one
    L    = mean over pairs of -log sigmoid(beta h)                                          eq. 7

Both episodes begin in the same state, so that the partition function, which depends on it alone, cancels in h; the
transition probabilities cancel in pi/pi_ref; and the world is deterministic, which the derivation for sequences of
actions needs (Rafailov et al. 2024, "From r to Q*", arXiv 2404.12358). Where we differ: preferences come from a
synthetic rater who sees the returns; what collects is the policy that learns, iteration after iteration; ties are
dropped; and only equal windows of the two are compared (`window`), as whole episodes differ in length up to 25 times.

Losses: `sigmoid`, with label_smoothing cDPO's; `robust`, `ipo` (with means per step instead of sums) and `hinge`.
`sft_weight` adds the chosen window's negative log-likelihood per step (Pang et al. 2024, arXiv 2404.19733).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.interface import Loss
from cartpole_cli.algorithms.preferences import bradley_terry_errs, make_pairs, of_pairs, rows_in_windows, windows
from cartpole_cli.algorithms.rows import ROWS_PER_PART, for_valid_rows, pack
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout, collect_branches, collect_episodes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams

SATURATED = 3.0
"""Where |beta h| is more, a pair's gradient is less than a twentieth of what it was at the reference."""


@dataclass(frozen=True, slots=True)
class Targets:
    """A rollout and the pairs of its episodes, best known first: (better, worse).

    `first` and `last` say which steps are compared, as places in a table [N, T + 1] of each episode's running total.
    """

    observation: Float[Tensor, "S T N O"]
    action: Tensor
    reference_log_prob: Float[Tensor, "S T N"]
    compared: Bool[Tensor, "S T N"]
    first: Int[Tensor, "S Q P 2"]
    last: Int[Tensor, "S Q P 2"]
    margin: Float[Tensor, "S Q P"]
    kept: Bool[Tensor, "S Q P"]


@dataclass(frozen=True, slots=True)
class Batch:
    """The rows that some pairs compare, as M parts of B, and the pairs: (chosen, rejected).

    `place` is where a row stands in the table [N, T + 1] that `first` and `last` refer to.
    """

    observation: Float[Tensor, "S M B O"]
    action: Tensor
    reference_log_prob: Float[Tensor, "S M B"]
    mask: Bool[Tensor, "S M B"]
    place: Int[Tensor, "S M B"]
    table: tuple[int, int]
    first: Int[Tensor, "S P 2"]
    last: Int[Tensor, "S P 2"]
    weight: Float[Tensor, "S P"]

    @property
    def completes_step(self) -> bool:
        return True

    def window_sums(self, value: Float[Tensor, "S M B"]) -> Float[Tensor, "S P 2"]:
        """The sum of a column over each window, for the chosen and the rejected episode of each pair."""
        table = value.new_zeros(value.shape[0], self.table[0] * self.table[1])
        table = table.scatter_add(1, self.place.flatten(1), (value * self.mask).flatten(1))
        total = table.view(-1, *self.table).cumsum(dim=2).flatten(1)
        first, last = (total.gather(1, place.flatten(1)) for place in (self.first, self.last))
        return (last - first).view(self.first.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class DPO:
    """See `DPORecipe` for what each number means."""

    group_size: int
    steps_before_failure: int | None
    pairs: Literal["best_worst", "all"]
    max_pairs: int
    min_margin: float
    rater_temperature: float | None
    window: Literal["same_length", "last_k", "full"]
    window_steps: int
    variant: Literal["sigmoid", "ipo", "hinge", "robust"]
    beta: float
    label_smoothing: float
    sft_weight: float
    num_epochs: int
    groups_per_minibatch: int | None
    reference_every: int

    @property
    def needs_value_network(self) -> bool:
        return False

    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout:
        if self.steps_before_failure is None:
            return collect_episodes(environment, policy, streams, iteration, self.group_size)
        return collect_branches(environment, policy, streams, iteration, self.group_size, self.steps_before_failure)

    @torch.no_grad()
    def targets(self, rollout: Rollout, _policy: PolicyNetwork, reference: PolicyNetwork) -> Targets:
        returns = rollout.reward.masked_fill(~rollout.valid, 0.0).sum(dim=1)
        length = rollout.valid.sum(dim=1)
        pairs = make_pairs(returns, self.group_size, self.pairs, self.max_pairs)
        margin = of_pairs(returns, pairs).diff(dim=3).squeeze(3).neg()
        kept = (margin > 0) & (margin >= self.min_margin)
        start, end = windows(of_pairs(length, pairs), self.window, self.window_steps)
        row_of_table = pairs * (rollout.valid.shape[1] + 1)
        first, last = row_of_table + start, row_of_table + end
        compared = rows_in_windows(first, last, kept, rollout.valid.shape)
        return Targets(
            observation=rollout.observation,
            action=rollout.action,
            reference_log_prob=for_valid_rows(
                lambda o, a: reference.distribution(o).log_prob(a), compared, rollout.observation, rollout.action
            ),
            compared=compared,
            first=first,
            last=last,
            margin=margin,
            kept=kept,
        )

    def epochs(
        self, targets: Targets, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[list[Batch]]:
        first, last = targets.first, targets.last
        if self.rater_temperature is not None:
            noise = streams.uniform("rater", iteration, shape=targets.margin.shape[1:])
            errs = bradley_terry_errs(targets.margin, self.rater_temperature, noise).unsqueeze(3)
            first, last = (torch.where(errs, place.flip(3), place) for place in (first, last))
        num_groups = targets.kept.shape[1]
        size = self.groups_per_minibatch or num_groups
        for epoch in range(self.num_epochs):
            key = streams.uniform("minibatches", iteration, epoch, shape=(num_groups,))
            minibatch = key.argsort(dim=1).argsort(dim=1) // size
            used = [targets.kept & (minibatch == m).unsqueeze(2) for m in range(-(-num_groups // size))]
            # Weights sum over all pairs: a step on one of M minibatches counts its pairs M times.
            num_steps = torch.stack([pairs.any(dim=2).any(dim=1) for pairs in used]).sum(dim=0)
            weight = (num_steps / targets.kept.sum(dim=(1, 2)).clamp(min=1))[:, None]
            yield [
                self._batch(targets, first, last, pairs.flatten(1) * weight, minibatch == m)
                for m, pairs in enumerate(used)
            ]

    def _batch(
        self,
        targets: Targets,
        first: Int[Tensor, "S Q P 2"],
        last: Int[Tensor, "S Q P 2"],
        weight: Float[Tensor, "S R"],
        groups: Bool[Tensor, "S Q"],
    ) -> Batch:
        _, num_steps, num_envs = targets.compared.shape
        members = groups.repeat_interleave(self.group_size, dim=1).unsqueeze(1)
        packing = pack(targets.compared & members, ROWS_PER_PART).filled()
        return Batch(
            observation=packing.take(targets.observation),
            action=packing.take(targets.action),
            reference_log_prob=packing.take(targets.reference_log_prob),
            mask=packing.mask,
            place=packing.index % num_envs * (num_steps + 1) + packing.index // num_envs + 1,
            table=(num_envs, num_steps + 1),
            first=first.flatten(1, 2),
            last=last.flatten(1, 2),
            weight=weight,
        )

    def loss(self, policy: PolicyNetwork, batch: Batch) -> Loss:
        parts = zip(batch.observation.unbind(1), batch.action.unbind(1), strict=True)
        log_prob = torch.stack([policy.distribution(o).log_prob(a) for o, a in parts], dim=1)
        log_ratio = batch.window_sums(log_prob - batch.reference_log_prob)
        length = (batch.last - batch.first).clamp(min=1)
        chosen, rejected = log_ratio.unbind(dim=2)
        preference = losses.weighted_sum(self._preference_loss(log_ratio, length), batch.weight)
        mean_log_prob = (log_ratio + batch.window_sums(batch.reference_log_prob)) / length
        chosen_log_prob, rejected_log_prob = (
            losses.weighted_sum(side, batch.weight) for side in mean_log_prob.unbind(dim=2)
        )
        total = preference - self.sft_weight * chosen_log_prob if self.sft_weight else preference
        margin = self.beta * (chosen - rejected).detach()

        def share(holds: Bool[Tensor, "S P"]) -> Float[Tensor, "S"]:
            return losses.weighted_sum(holds.to(batch.weight.dtype), batch.weight)

        terms = {
            "preference_loss": preference,
            "margin": losses.weighted_sum(margin, batch.weight),
            "accuracy": share(margin > 0) + share(margin == 0) / 2,
            "saturation": share(margin.abs() > SATURATED),
            "chosen_reward": self.beta * losses.weighted_sum(chosen, batch.weight),
            "rejected_reward": self.beta * losses.weighted_sum(rejected, batch.weight),
            "chosen_log_prob": chosen_log_prob,
            "rejected_log_prob": rejected_log_prob,
        }
        return Loss(total, terms, stop=torch.zeros_like(total, dtype=torch.bool))

    def _preference_loss(self, log_ratio: Float[Tensor, "S P 2"], length: Int[Tensor, "S P 2"]) -> Float[Tensor, "S P"]:
        chosen, rejected = log_ratio.unbind(dim=2)
        match self.variant:
            case "sigmoid":
                return losses.dpo_sigmoid(chosen - rejected, self.beta, self.label_smoothing)
            case "robust":
                return losses.dpo_robust(chosen - rejected, self.beta, self.label_smoothing)
            case "hinge":
                return losses.dpo_hinge(chosen - rejected, self.beta)
            case "ipo":
                mean_chosen, mean_rejected = (log_ratio / length).unbind(dim=2)
                return losses.dpo_ipo(mean_chosen - mean_rejected, self.beta)

    def diagnostics(self, targets: Targets) -> dict[str, Float[Tensor, "S"]]:
        num_pairs = targets.kept.sum(dim=(1, 2))
        ties = (targets.margin == 0).to(targets.margin.dtype).flatten(1).mean(dim=1)
        return_margin = targets.margin.masked_fill(~targets.kept, 0.0).sum(dim=(1, 2)) / num_pairs
        return {"pairs": num_pairs.to(ties.dtype), "tie_share": ties, "return_margin": return_margin}

    def hint(self, diagnostics: Mapping[str, float]) -> str | None:
        if diagnostics["pairs"] == 0:
            return "no pair left, so no step: returns within groups are equal or closer than min_margin"
        if diagnostics["saturation"] > 0.5:
            return "most pairs are saturated (|margin| > 3) and teach little: try a lower beta or shorter windows"
        if diagnostics["chosen_reward"] < 0 < diagnostics["margin"]:
            return "chosen_reward < 0 is common: DPO moves only the difference to the rejected; sft_weight holds it up"
        return None
