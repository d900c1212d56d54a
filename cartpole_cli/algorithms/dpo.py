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

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.interface import Algorithm, Loss
from cartpole_cli.algorithms.preferences import bradley_terry_errs, make_pairs, of_pairs, rows_in_windows, windows
from cartpole_cli.algorithms.rows import ROWS_PER_PART, Rows, for_valid_rows, pack
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout, collect_branches, collect_episodes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import DPORecipe

SATURATED = 3.0
"""Where |beta h| is more, a pair's gradient is less than a twentieth of what it was at the reference."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of episodes, best known first: (better, worse), and in a minibatch (chosen, rejected).

    `first` and `last` say which steps are compared, as places in a table [N, T + 1] of each episode's running total.
    """

    first: Int[Tensor, "S *pairs 2"]
    last: Int[Tensor, "S *pairs 2"]
    weight: Float[Tensor, "S *pairs"]
    margin: Float[Tensor, "S *pairs"]
    """Of the returns."""

    @property
    def kept(self) -> Bool[Tensor, "S *pairs"]:
        return self.weight > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DPORows(Rows):
    """A rollout and the pairs of its episodes; `weight` is 1 for the steps that some pair compares.

    A minibatch's rows come in parts, [S, M, B]. `place` is where a row stands in the table that `pairs` refers to.
    """

    reference_log_prob: Float[Tensor, "S *rows"]
    place: Int[Tensor, "S *rows"]
    table: tuple[int, int]
    pairs: Pairs

    def window_sums(self, value: Float[Tensor, "S M B"]) -> Float[Tensor, "S R 2"]:
        """The sum of a column over each window, for the chosen and the rejected episode of each pair."""
        table = value.new_zeros(value.shape[0], self.table[0] * self.table[1])
        table = table.scatter_add(1, self.place.flatten(1), (value * self.weight).flatten(1))
        total = table.view(-1, *self.table).cumsum(dim=2).flatten(1)
        first, last = (total.gather(1, place.flatten(1)) for place in (self.pairs.first, self.pairs.last))
        return (last - first).view(self.pairs.first.shape)


class DPO(Algorithm[DPORecipe, DPORows]):
    """See `DPORecipe` for what each number means."""

    def __init__(self, sections: Sequence[DPORecipe], device: torch.device) -> None:
        super().__init__(sections, device)
        self.min_margin = self.each(lambda section: section.min_margin).view(-1, 1, 1)
        self.rater_temperature = self.each(lambda section: section.rater_temperature)
        self.beta = self.each(lambda section: section.beta)
        self.ipo_target = self.each(lambda section: 1 / (2 * section.beta))
        self.label_smoothing = self.each(lambda section: section.label_smoothing)
        self.complement = self.each(lambda section: 1 - section.label_smoothing)
        self.difference = self.each(lambda section: 1 - 2 * section.label_smoothing)
        self.sft_weight = self.each(lambda section: section.sft_weight)

    @property
    def reference_every(self) -> int:
        return self.section.reference_every

    def collect(
        self, environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
    ) -> Rollout:
        section, size = self.section, self.section.group_size
        if section.branch_from == "start":
            return collect_episodes(environment, policy, streams, iteration, size)
        before = section.steps_before_failure if section.branch_from == "before_failure" else None
        return collect_branches(environment, policy, streams, iteration, size, before)

    @torch.no_grad()
    def targets(self, rollout: Rollout, policy: PolicyNetwork, reference: PolicyNetwork) -> DPORows:
        section, (_, num_steps, num_envs) = self.section, rollout.valid.shape
        returns = rollout.reward.masked_fill(~rollout.valid, 0.0).sum(dim=1)
        length = rollout.valid.sum(dim=1)
        pairs = make_pairs(returns, section.group_size, section.pairs, section.max_pairs)
        margin = of_pairs(returns, pairs).diff(dim=3).squeeze(3).neg()
        kept = (margin > 0) & (margin >= self.min_margin)
        start, end = windows(of_pairs(length, pairs), section.window, section.window_steps)
        row_of_table = pairs * (num_steps + 1)
        first, last = row_of_table + start, row_of_table + end
        compared = rows_in_windows(first, last, kept, rollout.valid.shape)
        time, env = (torch.arange(count, device=pairs.device) for count in (num_steps, num_envs))
        return DPORows(
            observation=rollout.observation,
            action=rollout.action,
            weight=compared.to(returns.dtype),
            reference_log_prob=for_valid_rows(
                lambda o, a: reference.distribution(o).log_prob(a), compared, rollout.observation, rollout.action
            ),
            place=(env * (num_steps + 1) + time.unsqueeze(1) + 1).expand_as(compared),
            table=(num_envs, num_steps + 1),
            pairs=Pairs(first, last, kept.to(returns.dtype), margin),
        )

    def epochs(
        self, targets: DPORows, streams: Streams, iteration: int, progress: Float[Tensor, "S"]
    ) -> Iterator[list[list[DPORows]]]:
        pairs = targets.pairs
        if self.section.rater == "bradley_terry":
            noise = streams.uniform("rater", iteration, shape=pairs.margin.shape[1:])
            errs = bradley_terry_errs(pairs.margin, self.rater_temperature, noise).unsqueeze(3)
            first, last = (torch.where(errs, place.flip(3), place) for place in (pairs.first, pairs.last))
            pairs = replace(pairs, first=first, last=last)
        num_groups = pairs.kept.shape[1]
        size = self.section.groups_per_minibatch or num_groups
        for epoch in range(self.section.num_epochs):
            key = streams.uniform("minibatches", iteration, epoch, shape=(num_groups,))
            minibatch = key.argsort(dim=1).argsort(dim=1) // size
            groups = [minibatch == m for m in range(-(-num_groups // size))]
            # Weights add up over all pairs: a step on one of M minibatches counts its pairs M times.
            num_steps = torch.stack([(pairs.kept.any(dim=2) & chosen).any(dim=1) for chosen in groups]).sum(dim=0)
            share = num_steps / pairs.kept.sum(dim=(1, 2)).clamp(min=1)
            yield [[self._minibatch(replace(targets, pairs=pairs), chosen, share)] for chosen in groups]

    def _minibatch(self, targets: DPORows, groups: Bool[Tensor, "S Q"], share: Float[Tensor, "S"]) -> DPORows:
        """The pairs of some groups, each of which counts `share`, and the rows that they compare."""
        members = groups.repeat_interleave(self.section.group_size, dim=1).unsqueeze(1)
        rows = pack(targets.valid & members, ROWS_PER_PART).filled().take(targets)
        pairs = targets.pairs
        weight = (pairs.kept & groups.unsqueeze(2)).flatten(1) * share.unsqueeze(1)
        return replace(
            rows, pairs=Pairs(pairs.first.flatten(1, 2), pairs.last.flatten(1, 2), weight, pairs.margin.flatten(1))
        )

    def loss(self, policy: PolicyNetwork, batch: DPORows) -> Loss:
        pairs = batch.pairs
        parts = zip(batch.observation.unbind(1), batch.action.unbind(1), strict=True)
        log_prob = torch.stack([policy.distribution(o).log_prob(a) for o, a in parts], dim=1)
        log_ratio = batch.window_sums(log_prob - batch.reference_log_prob)
        length = (pairs.last - pairs.first).clamp(min=1)
        chosen, rejected = log_ratio.unbind(dim=2)
        preference = losses.weighted_sum(self._preference_loss(log_ratio, length), pairs.weight)
        mean_log_prob = (log_ratio + batch.window_sums(batch.reference_log_prob)) / length
        chosen_log_prob, rejected_log_prob = (
            losses.weighted_sum(side, pairs.weight) for side in mean_log_prob.unbind(dim=2)
        )
        total = preference - self.sft_weight * chosen_log_prob if self.section.sft_weight else preference
        margin = self.beta.unsqueeze(1) * (chosen - rejected).detach()

        def share(holds: Bool[Tensor, "S R"]) -> Float[Tensor, "S"]:
            return losses.weighted_sum(holds.to(pairs.weight.dtype), pairs.weight)

        terms = {
            "preference_loss": preference,
            "margin": losses.weighted_sum(margin, pairs.weight),
            "accuracy": share(margin > 0) + share(margin == 0) / 2,
            "saturation": share(margin.abs() > SATURATED),
            "chosen_reward": self.beta * losses.weighted_sum(chosen, pairs.weight),
            "rejected_reward": self.beta * losses.weighted_sum(rejected, pairs.weight),
            "chosen_log_prob": chosen_log_prob,
            "rejected_log_prob": rejected_log_prob,
        }
        return Loss(total, terms)

    def _preference_loss(self, log_ratio: Float[Tensor, "S R 2"], length: Int[Tensor, "S R 2"]) -> Float[Tensor, "S R"]:
        chosen, rejected = log_ratio.unbind(dim=2)
        match self.section.loss:
            case "sigmoid":
                return losses.dpo_sigmoid(chosen - rejected, self.beta, self.label_smoothing, self.complement)
            case "robust":
                return losses.dpo_robust(
                    chosen - rejected, self.beta, self.label_smoothing, self.complement, self.difference
                )
            case "hinge":
                return losses.dpo_hinge(chosen - rejected, self.beta)
            case "ipo":
                mean_chosen, mean_rejected = (log_ratio / length).unbind(dim=2)
                return losses.dpo_ipo(mean_chosen - mean_rejected, self.ipo_target)

    def diagnostics(self, targets: DPORows) -> dict[str, Float[Tensor, "S"]]:
        kept, margin = targets.pairs.kept, targets.pairs.margin
        num_pairs = kept.sum(dim=(1, 2))
        ties = (margin == 0).to(margin.dtype).flatten(1).mean(dim=1)
        return_margin = margin.masked_fill(~kept, 0.0).sum(dim=(1, 2)) / num_pairs
        return {"pairs": num_pairs.to(ties.dtype), "tie_share": ties, "return_margin": return_margin}

    def hint(self, diagnostics: Mapping[str, float]) -> str | None:
        if diagnostics["pairs"] == 0:
            return "no pairs are left, so there is no step: returns within groups are equal or closer than min_margin"
        if diagnostics["saturation"] > 0.5:
            return "most pairs are saturated (|margin| > 3) and teach little: try a lower beta or shorter windows"
        if diagnostics["chosen_reward"] < 0 < diagnostics["margin"]:
            return "chosen_reward < 0 is common: DPO moves only its gap to the rejected; sft_weight keeps it up"
        return None
