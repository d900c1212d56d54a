"""GRPO on rollouts made by hand: two seeds, two groups of three episodes each, a time limit of four steps."""

import math
from copy import deepcopy
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from members import flat, of_members, trainer_of
from tensors import HEADS, close
from torch import Tensor

from cartpole_cli.algorithms import grpo
from cartpole_cli.algorithms.grpo import GRPO, GRPORows, aggregation_weight
from cartpole_cli.algorithms.reinforce import Reinforce, ReinforceRows
from cartpole_cli.environments.build import build_environment
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import GRPORecipe, ReinforceRecipe
from cartpole_cli.recipe.recipe import NativeEnvironment, Recipe, TrainerRecipe

pytestmark = pytest.mark.shapes

S, T, N, O, G = 2, 4, 6, 4, 3  # noqa: E741  (O is the observation size in every signature)
BOTH_HEADS = pytest.mark.parametrize("head", HEADS)
STREAMS = Streams((0, 1))
START = torch.zeros(S)
LN2 = math.log(2)

# Returns are 1 2 3 | 4 4 4, the second group without spread though its lengths differ, and 4 4 1 | 4 6 8.
LENGTH = torch.tensor([[1, 2, 3, 1, 2, 4], [4, 4, 1, 2, 3, 4]])
REWARD = torch.tensor([[1.0, 1, 1, 4, 2, 1], [1, 1, 1, 2, 2, 2]])
VALID = torch.arange(T).view(1, T, 1) < LENGTH.unsqueeze(1)
SPREAD = torch.tensor([[True] * 3 + [False] * 3, [True] * 6])
LEARNS = VALID & SPREAD.unsqueeze(1)  # 6 rows of seed 0, 18 of seed 1
EVERY_GROUP_EQUAL = torch.stack([4.0 / LENGTH[0], REWARD[1]])  # in seed 0


def policy(head: str = "categorical", seed: int = 0) -> PolicyNetwork:
    """Parameters with noise, so that actions are neither equally likely nor all the same."""
    network = PolicyNetwork(Architecture(O, (16,), "tanh", False, **HEADS[head]), STREAMS)
    move(network, seed)
    return network


def move(network: PolicyNetwork, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))


def rollout(head: str = "categorical", reward: Tensor = REWARD) -> Rollout:
    """Episodes of LENGTH with `reward` at each of their steps; what follows an end is garbage."""
    generator = torch.Generator().manual_seed(0)
    shape = (S, T, N)
    observation, next_observation = torch.randn(2, *shape, O, generator=generator)
    discrete = torch.randint(2, shape, generator=generator)
    continuous = torch.randn(*shape, 1, generator=generator)
    last = torch.arange(1, T + 1).view(1, T, 1) == LENGTH.unsqueeze(1)
    in_time = (LENGTH < T).unsqueeze(1)
    return Rollout(
        observation=observation.masked_fill(~VALID.unsqueeze(-1), math.nan),
        action=discrete if head == "categorical" else continuous.masked_fill(~VALID.unsqueeze(-1), math.nan),
        reward=reward.unsqueeze(1).expand(shape).masked_fill(~VALID, math.nan),
        next_observation=next_observation,
        terminated=(last & in_time) | ~VALID,
        truncated=last & ~in_time,
        valid=VALID,
    )


def algorithm(kind: type[GRPO] = GRPO, **changes: object) -> GRPO:
    fields = {
        "group_size": G,
        "credit": "outcome",
        "advantage_scale": "none",
        "scale_floor": 0.0,
        "aggregation": "dapo",
        "num_epochs": 1,
        "minibatch_size": None,
        "clip_range": 0.2,
        "clip_range_high": 0.5,
        "kl_weight": 0.0,
        "kl_estimator": "exact",
        "reference_every": 1,
    }
    return of_members(kind, GRPORecipe(name="grpo", **fields | changes), S)


def targets(experience: Rollout | None = None, **changes: object) -> GRPORows:
    return algorithm(**changes).targets(experience or rollout(), policy(), policy(seed=1))


def batches(learner: GRPO, aims: GRPORows, iteration: int = 0) -> list[list[GRPORows]]:
    return flat(learner.epochs(aims, STREAMS, iteration, START))


def parts_per_step(learner: GRPO, aims: GRPORows) -> list[list[int]]:
    return [[len(step) for step in epoch] for epoch in learner.epochs(aims, STREAMS, 0, START)]


def numbered(aims: GRPORows) -> GRPORows:
    """Each row's number, from 1, in place of its advantage."""
    return replace(aims, advantage=torch.arange(1.0, T * N + 1).view(1, T, N).expand(S, T, N))


def share_of_rows(batch: GRPORows) -> Tensor:
    return batch.valid * batch.share.unsqueeze(1)


def total_and_gradient(learner: GRPO, network: PolicyNetwork, parts: list[GRPORows]) -> tuple[Tensor, list[Tensor]]:
    total = sum(learner.loss(network, part).total for part in parts)
    return total.detach(), list(torch.autograd.grad(total.sum(), [*network.parameters()], materialize_grads=True))


def of_episodes(*seeds: list[float]) -> Tensor:
    """One number per episode at each of its valid rows."""
    return torch.tensor(seeds).unsqueeze(1) * LEARNS


def test_the_outcome_advantage_is_the_return_minus_the_groups_mean_at_every_step():
    # means 2 | 4 and 3 | 6
    close(targets().advantage, of_episodes([-1.0, 0, 1, 0, 0, 0], [1.0, 1, -2, -2, 0, 2]))


def test_the_outcome_advantage_over_the_groups_deviation():
    # squares over 2: (1 + 0 + 1) / 2 = 1 | none; (1 + 1 + 4) / 2 = 3 | (4 + 0 + 4) / 2 = 4
    r = 1 / math.sqrt(3)
    close(targets(advantage_scale="group").advantage, of_episodes([-1.0, 0, 1, 0, 0, 0], [r, r, -2 * r, -1, 0, 1]))


def test_the_outcome_advantage_over_the_batchs_deviation_leaves_groups_without_spread_out():
    # 1 2 3: 1 (with 4 4 4 it were sqrt(8 / 5)); 4 4 1 4 6 8, mean 4.5: (3 * 0.25 + 12.25 + 2.25 + 12.25) / 5 = 5.5
    r = 1 / math.sqrt(5.5)
    expected = of_episodes([-1.0, 0, 1, 0, 0, 0], [r, r, -2 * r, -2 * r, 0, 2 * r])
    close(targets(advantage_scale="batch").advantage, expected)


def test_the_floor_is_the_least_deviation_to_divide_by():
    # Groups' deviations are 1 | none and sqrt 3 | 2, batches' 1 and sqrt 5.5 = 2.35: all but the last two are raised.
    f, r = 1 / 1.8, 1 / math.sqrt(5.5)
    by_group = targets(advantage_scale="group", scale_floor=1.8).advantage
    close(by_group, of_episodes([-f, 0, f, 0, 0, 0], [f, f, -2 * f, -1, 0, 1]))
    by_batch = targets(advantage_scale="batch", scale_floor=1.8).advantage
    close(by_batch, of_episodes([-f, 0, f, 0, 0, 0], [r, r, -2 * r, -2 * r, 0, 2 * r]))
    close(targets(scale_floor=1.8).advantage, targets().advantage)


TO_GO = torch.tensor(
    [
        [  # to go 1 | 2 1 | 3 2 1, minus half of what the other two still get; the equal group is left out
            [1 - 2.5, 2 - 2.0, 3 - 1.5, 0, 0, 0],
            [0, 1 - 1.0, 2 - 0.5, 0, 0, 0],
            [0, 0, 1.0, 0, 0, 0],
            [0, 0, 0, 0, 0, 0],
        ],
        [  # to go 4 3 2 1 | 4 3 2 1 | 1 and 4 2 | 6 4 2 | 8 6 4 2
            [4 - 2.5, 4 - 2.5, 1 - 4.0, 4 - 7.0, 6 - 6.0, 8 - 5.0],
            [3 - 1.5, 3 - 1.5, 0, 2 - 5.0, 4 - 4.0, 6 - 3.0],
            [2 - 1.0, 2 - 1.0, 0, 0, 2 - 2.0, 4 - 1.0],
            [1 - 0.5, 1 - 0.5, 0, 0, 0, 2.0],
        ],
    ]
)


def test_to_go_credit_is_what_is_still_to_come_minus_what_the_others_still_get():
    close(targets(credit="to_go").advantage, TO_GO)


def test_to_go_credit_discounts_what_is_still_to_come():
    gamma = 0.5
    to_go = torch.zeros(S, T + 1, N)
    for t in reversed(range(T)):
        to_go[:, t] = (REWARD + gamma * to_go[:, t + 1]) * VALID[:, t]
    peers = to_go[:, :T].view(S, T, 2, G)
    expected = (peers - (peers.sum(dim=3, keepdim=True) - peers) / (G - 1)).view(S, T, N).masked_fill(~LEARNS, 0.0)
    close(targets(credit="to_go", gamma=gamma).advantage, expected)
    assert not torch.allclose(targets(credit="to_go").advantage, expected)


def test_to_go_credit_is_divided_by_the_deviation_of_whole_returns():
    # as above: group 1 | none and sqrt 3 | 2; batch 1 and sqrt 5.5
    group = torch.tensor([[1.0] * 6, [math.sqrt(3)] * 3 + [2.0] * 3]).unsqueeze(1)
    close(targets(credit="to_go", advantage_scale="group").advantage, TO_GO / group)
    batch = torch.tensor([1.0, math.sqrt(5.5)]).view(S, 1, 1)
    close(targets(credit="to_go", advantage_scale="batch").advantage, TO_GO / batch)


def test_rows_of_groups_without_spread_are_not_valid_and_weigh_nothing():
    for aggregation in ("grpo", "dapo", "dr_grpo"):
        aims = targets(aggregation=aggregation)
        assert torch.equal(aims.valid, LEARNS)
        assert torch.equal(aims.weight > 0, LEARNS)
        assert torch.equal(aims.spread, SPREAD)


# n = 3 and 6 episodes (the equal group does not count), 6 and 18 steps, a time limit of 4.
WEIGHTS = {
    # 1 / (n length)
    "grpo": ([1 / 3, 1 / 6, 1 / 9, 0, 0, 0], [1 / 24, 1 / 24, 1 / 6, 1 / 12, 1 / 18, 1 / 24], [1.0, 1.0]),
    "dapo": ([1 / 6] * 6, [1 / 18] * 6, [1.0, 1.0]),
    # 1 / (n limit): 6 / 12, 18 / 24
    "dr_grpo": ([1 / 12] * 6, [1 / 24] * 6, [0.5, 0.75]),
}


@pytest.mark.parametrize("aggregation", WEIGHTS)
def test_weights_of_each_aggregation(aggregation: str):
    first, second, sums = WEIGHTS[aggregation]
    weight = targets(aggregation=aggregation).weight
    close(weight, of_episodes(first, second))
    close(weight.sum(dim=(1, 2)), sums)
    assert torch.equal(weight, aggregation_weight(aggregation, LEARNS))


@pytest.mark.parametrize("aggregation", WEIGHTS)
def test_without_a_valid_row_all_weights_are_zero(aggregation: str):
    valid = LEARNS.clone()
    valid[0] = False
    weight = aggregation_weight(aggregation, valid)
    assert not weight[0].any()
    close(weight[1], aggregation_weight(aggregation, LEARNS)[1])


def test_diagnostics_count_episodes_without_spread_and_measure_the_advantages_of_the_rest():
    diagnostics = algorithm().diagnostics(targets())
    # seed 0, by rows: -1, twice 0, thrice 1: mean 1/3, (4 - 6 / 9) / 5 = 2/3. Seed 1: 8 * 1, -2, 2 * -2, 3 * 0,
    # 4 * 2: mean 10 / 18, squares 8 + 4 + 8 + 16 = 36: (36 - 100 / 18) / 17
    close(diagnostics["zero_spread_share"], [0.5, 0.0])
    close(diagnostics["advantage_spread"], [math.sqrt(2 / 3), math.sqrt((36 - 100 / 18) / 17)])


@BOTH_HEADS
def test_old_log_probs_are_the_collecting_policys_and_references_parameters_the_references(head: str):
    network, reference, experience = policy(head), policy(head, seed=1), rollout(head)
    aims = algorithm(kl_weight=0.1).targets(experience, network, reference)
    assert not any(column.requires_grad for column in (aims.old_log_prob, aims.advantage, aims.reference, aims.weight))
    for t in range(T):
        observation, action, row = experience.observation[:, t], experience.action[:, t], LEARNS[:, t]
        expected = network.distribution(observation).log_prob(action).detach()
        close(aims.old_log_prob[:, t][row], expected[row])
        close(aims.reference[:, t][row], reference.distribution(observation).parameters().detach()[row])


def test_without_kl_there_is_no_reference_to_store():
    assert targets().reference is None
    [[batch]] = batches(algorithm(), targets())
    assert batch.reference is None
    assert "reference_kl" not in algorithm().loss(policy(), batch).terms


def test_the_reference_is_renewed_as_asked_with_kl_and_is_the_policy_itself_without():
    assert algorithm(kl_weight=0.1, reference_every=7).reference_every == 7
    assert algorithm(kl_weight=0.0, reference_every=7).reference_every == 1


@pytest.mark.parametrize(("branch_from", "starts"), [("start", 4), ("none", 12)])
def test_groups_begin_in_one_state_unless_they_have_nothing_in_common(branch_from: str, starts: int):
    algorithm = GRPO([GRPORecipe(name="grpo", group_size=3, branch_from=branch_from)] * S, STREAMS.device)
    environment = build_environment(NativeEnvironment(num_envs=12), STREAMS)
    begun = algorithm.collect(environment, policy(), STREAMS, 0).observation[:, 0]
    assert [len(of_seed.unique(dim=0)) for of_seed in begun] == [starts] * S


def test_grpo_needs_no_value_network():
    assert not algorithm().needs_value_network


def test_without_minibatches_an_epoch_is_one_step_over_all_rows():
    assert parts_per_step(algorithm(num_epochs=3), targets()) == [[1]] * 3
    for epoch in batches(algorithm(num_epochs=3), targets()):
        [batch] = epoch
        assert (batch.weight > 0).sum(dim=1).tolist() == [6, 18]
        close(batch.weight.sum(dim=1), [1.0, 1.0])
        close(share_of_rows(batch).sum(dim=1), [1.0, 1.0])


def test_several_parts_make_one_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grpo, "ROWS_PER_PART", 7)
    [parts] = batches(algorithm(), targets())
    # 6 rows: 6 + 0 + 0; 18 rows: 7 + 7 + 4
    assert [(part.weight > 0).sum(dim=1).tolist() for part in parts] == [[6, 7], [0, 7], [0, 4]]
    assert parts_per_step(algorithm(), targets()) == [[3]]


def test_every_minibatch_is_a_step():
    [epoch] = batches(algorithm(minibatch_size=4), targets())
    assert parts_per_step(algorithm(minibatch_size=4), targets()) == [[1] * 5]  # of 18 rows
    assert [batch.weight.shape for batch in epoch] == [(S, 4)] * 5


@pytest.mark.parametrize("minibatch_size", [None, 1, 4, 6, 18, 100])
def test_every_valid_row_is_used_once_per_epoch(minibatch_size: int | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(grpo, "ROWS_PER_PART", 5)
    aims = numbered(targets())
    epochs = batches(algorithm(minibatch_size=minibatch_size, num_epochs=3), aims)
    assert len(epochs) == 3
    for epoch in epochs:
        for seed in range(S):
            for used in (lambda batch: batch.weight, share_of_rows):
                rows = [row for b in epoch for row in b.advantage[seed][used(b)[seed] > 0].tolist()]
                assert sorted(rows) == aims.advantage[seed][LEARNS[seed]].tolist()


def test_rows_are_shuffled_anew_in_every_epoch_iteration_and_seed():
    aims = numbered(targets(rollout(reward=torch.stack([REWARD[1], REWARD[1]]))))
    orders = [
        tuple(row for b in epoch for row in b.advantage[seed][b.weight[seed] > 0].tolist())
        for iteration in range(2)
        for epoch in batches(algorithm(minibatch_size=4, num_epochs=2), aims, iteration)
        for seed in range(S)
    ]
    assert len(set(orders)) == len(orders) == 8


@pytest.mark.parametrize("minibatch_size", [None, 4])
def test_a_row_keeps_its_columns_together(minibatch_size: int | None):
    learner = algorithm(minibatch_size=minibatch_size, kl_weight=0.1)
    aims = numbered(targets(kl_weight=0.1))
    for batch in batches(learner, aims)[0]:
        for seed in range(S):
            row = batch.advantage[seed].long() - 1
            for name in ("observation", "action", "old_log_prob", "reference"):
                assert torch.equal(getattr(batch, name)[seed], getattr(aims, name)[seed].flatten(0, 1)[row]), name


@pytest.mark.parametrize("aggregation", WEIGHTS)
@pytest.mark.parametrize(("minibatch_size", "num_steps"), [(1, [6, 18]), (4, [2, 5]), (6, [1, 3]), (100, [1, 1])])
def test_weights_and_shares_of_an_epoch_sum_to_the_aggregations_for_each_step(
    aggregation: str, minibatch_size: int, num_steps: list[int]
):
    options = {"minibatch_size": minibatch_size, "aggregation": aggregation}
    [epoch] = batches(algorithm(**options), targets(**options))
    assert sum((batch.weight > 0).any(dim=1).long() for batch in epoch).tolist() == num_steps
    per_step = 1 / torch.tensor(num_steps)
    close(sum(batch.weight.sum(dim=1) for batch in epoch) * per_step, WEIGHTS[aggregation][2])
    close(sum(share_of_rows(batch).sum(dim=1) for batch in epoch) * per_step, [1.0, 1.0])
    for batch in epoch:
        for share in share_of_rows(batch):
            assert len(set(share[share > 0].tolist())) <= 1


@BOTH_HEADS
@pytest.mark.parametrize("aggregation", WEIGHTS)
def test_parts_add_up_to_the_loss_terms_and_gradient_of_the_whole(
    head: str, aggregation: str, monkeypatch: pytest.MonkeyPatch
):
    learner, network = algorithm(aggregation=aggregation, kl_weight=0.3), policy(head)
    aims = learner.targets(rollout(head), network, policy(head, seed=1))
    move(network, 2)

    def everything() -> list[Tensor]:
        [parts] = batches(learner, aims)
        losses = [learner.loss(network, part) for part in parts]
        terms = [sum(loss.terms[name] for loss in losses) for name in losses[0].terms]
        total, gradient = total_and_gradient(learner, network, parts)
        return [total, *terms, *gradient]

    whole = everything()
    monkeypatch.setattr(grpo, "ROWS_PER_PART", 5)
    assert len(batches(learner, aims)[0]) == 4
    torch.testing.assert_close(everything(), whole, rtol=1e-4, atol=1e-6)


@BOTH_HEADS
def test_before_the_first_step_ratios_are_one_and_the_gradient_is_reinforces(head: str):
    learner, network = algorithm(advantage_scale="group", aggregation="grpo"), policy(head)
    [[batch]] = batches(learner, learner.targets(rollout(head), network, network))
    terms = learner.loss(network, batch).terms
    close(terms["ratio"], [1.0, 1.0])
    close(terms["approx_kl"], [0.0, 0.0])
    assert terms["clip_fraction"].tolist() == [0.0, 0.0]
    _, gradient = total_and_gradient(learner, network, [batch])
    same = ReinforceRows(
        observation=batch.observation,
        action=batch.action,
        advantage=batch.advantage,
        value_target=torch.zeros_like(batch.advantage),
        weight=batch.weight,
    )
    section = ReinforceRecipe(gamma=1.0, baseline="none", normalize_advantage=False)
    plain = of_members(Reinforce, section, S)
    total = plain.loss(network, same).total.sum()
    expected = list(torch.autograd.grad(total, [*network.parameters()], materialize_grads=True))
    assert any(g.abs().max() > 0.01 for g in expected)
    torch.testing.assert_close(gradient, expected, rtol=1e-4, atol=1e-6)


def known_policy(head: str) -> PolicyNetwork:
    """Everywhere the same: probabilities 3/4 and 1/4, or mean 1 and deviation 1."""
    network = PolicyNetwork(Architecture(O, (16,), "tanh", False, **HEADS[head]), STREAMS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.torso[-1].bias.copy_(torch.tensor([math.log(3), 0.0] if head == "categorical" else [1.0]))
    return network


# Actions; parameters of the reference (1/2 and 1/2; mean 0 and deviation 2), and of the policy itself.
KNOWN = {
    "categorical": (torch.tensor([0, 1, 0, 0]), [0.0, 0.0], [math.log(3), 0.0]),
    "gaussian": (torch.tensor([[1.0], [3.0], [1.0], [1.0]]), [0.0, LN2], [1.0, 0.0]),
}
WEIGHT = [0.1, 0.2, 0.3, 0.4]


def hand_batch(
    head: str, ratios: tuple[float, ...], advantage: tuple[float, ...], reference: Tensor | None = None
) -> GRPORows:
    """Four rows of known_policy; seed 0 has these ratios, seed 1 ratio 1."""
    action = torch.stack([KNOWN[head][0]] * 2)
    observation = torch.randn(S, 4, O, generator=torch.Generator().manual_seed(0))
    log_prob = known_policy(head).distribution(observation).log_prob(action).detach()
    return GRPORows(
        observation=observation,
        action=action,
        old_log_prob=log_prob - torch.tensor([ratios, (1.0,) * 4]).log(),
        advantage=torch.tensor([advantage, advantage]),
        reference=reference,
        weight=torch.tensor([WEIGHT, WEIGHT]),
        share=torch.full((S,), 0.25),
        spread=torch.ones(S, 4, dtype=torch.bool),
    )


@BOTH_HEADS
def test_policy_loss_ratio_clip_fraction_and_kl_by_hand(head: str):
    network = known_policy(head)
    loss = algorithm().loss(network, hand_batch(head, (1.4, 0.7, 1.1, 1.6), (2.0, -2.0, -1.0, 4.0)))
    # clipped to 0.8 .. 1.5: seed 0 -(0.1 * 1.4*2 + 0.2 * 0.8*-2 + 0.3 * 1.1*-1 + 0.4 * 1.5*4) = -2.03; seed 1
    # -(0.2 - 0.4 - 0.3 + 1.6)
    close(loss.terms["policy_loss"], [-2.03, -1.1])
    close(loss.total, [-2.03, -1.1])
    # shares are all the same, whatever the weights: 4.8 / 4; 0.7 and 1.6 are outside;
    # (0.4 - 0.3 + 0.1 + 0.6 - ln(1.4 * 0.7 * 1.1 * 1.6)) / 4
    close(loss.terms["ratio"], [1.2, 1.0])
    assert loss.terms["clip_fraction"].tolist() == [0.5, 0.0]
    close(loss.terms["approx_kl"], [(0.8 - math.log(1.7248)) / 4, 0.0])
    entropy = 2 * LN2 - 0.75 * math.log(3) if head == "categorical" else 0.5 * math.log(2 * math.pi * math.e)
    close(loss.terms["entropy"], [entropy, entropy])
    assert loss.stop is None


# KL of the first and the second kind of row (of the first there are three). log rho = log ref - log pi:
# categorical ln(1/2 / 3/4) = ln 2/3 and ln(1/2 / 1/4) = ln 2;
# Gaussian -a^2/8 - ln 2 + (a-1)^2/2: -1/8 - ln 2 at a = 1, 7/8 - ln 2 at a = 3.
KL = {
    # 3/4 ln 3/2 + 1/4 ln 1/2; ln(2/1) + (1 + 1) / 8 - 1/2
    ("categorical", "exact"): (0.75 * math.log(1.5) - 0.25 * LN2,) * 2,
    ("gaussian", "exact"): (LN2 - 0.25,) * 2,
    # (log rho)^2 / 2
    ("categorical", "k2"): (math.log(1.5) ** 2 / 2, LN2**2 / 2),
    ("gaussian", "k2"): ((0.125 + LN2) ** 2 / 2, (0.875 - LN2) ** 2 / 2),
    # rho - 1 - log rho
    ("categorical", "k3"): (math.log(1.5) - 1 / 3, 1 - LN2),
    ("gaussian", "k3"): (math.exp(-0.125) / 2 - 1 + 0.125 + LN2, math.exp(0.875) / 2 - 1 - 0.875 + LN2),
}


@pytest.mark.parametrize(("head", "estimator"), KL)
def test_the_kl_term_by_hand(head: str, estimator: str):
    _, other, itself = KNOWN[head]
    reference = torch.stack([torch.tensor(other).expand(4, 2), torch.tensor(itself).expand(4, 2)])
    batch = hand_batch(head, (1.4, 0.7, 1.1, 1.6), (2.0, -2.0, -1.0, 4.0), reference)
    loss = algorithm(kl_weight=0.5, kl_estimator=estimator).loss(known_policy(head), batch)
    often, once = KL[head, estimator]
    # by weight 0.8 and 0.2 in the loss, by share 3/4 and 1/4 in what is reported; seed 1 is its own reference
    close(loss.terms["reference_kl"], [0.75 * often + 0.25 * once, 0.0])
    close(loss.total, [-2.03 + 0.5 * (0.8 * often + 0.2 * once), -1.1])


@BOTH_HEADS
@pytest.mark.parametrize("estimator", ["exact", "k2"])
def test_the_kl_term_pulls_the_policy_to_the_reference(head: str, estimator: str):
    """The logit of action 0, or the mean."""
    network = known_policy(head)
    reference = torch.tensor(KNOWN[head][1]).expand(S, 4, 2)
    batch = hand_batch(head, (1.0,) * 4, (0.0,) * 4, reference)
    total = algorithm(kl_weight=1.0, kl_estimator=estimator).loss(network, batch).total
    gradient = torch.autograd.grad(total.sum(), network.torso[-1].bias)[0][:, 0, 0]
    # exact: 3/4 (ln 3/2 - KL); (1 - 0) / 4. k2: (log pi - log ref) d log pi, by weight 0.8 and 0.2: ln 3/2 at
    # d = 1 - 3/4 and -ln 2 at d = -3/4; 1/8 + ln 2 at d = 1 - 1 = 0 and ln 2 - 7/8 at d = 3 - 1 = 2
    expected = {
        ("categorical", "exact"): 0.75 * (math.log(1.5) - KL["categorical", "exact"][0]),
        ("gaussian", "exact"): 0.25,
        ("categorical", "k2"): 0.8 * math.log(1.5) / 4 + 0.2 * LN2 * 0.75,
        ("gaussian", "k2"): 0.2 * (LN2 - 0.875) * 2,
    }[head, estimator]
    close(gradient, [expected, expected])


@BOTH_HEADS
@pytest.mark.parametrize("aggregation", WEIGHTS)
@pytest.mark.parametrize("estimator", ["exact", "k2", "k3"])
def test_a_group_without_spread_adds_nothing_to_the_loss_its_terms_or_its_gradient(
    head: str, aggregation: str, estimator: str
):
    learner = algorithm(
        aggregation=aggregation, kl_weight=0.5, kl_estimator=estimator, advantage_scale="batch", credit="to_go"
    )
    network, reference, experience = policy(head), policy(head, seed=1), rollout(head)
    first = {
        name: getattr(experience, name)[:, :, :G] for name in Rollout.__dataclass_fields__ if name != "scout_steps"
    }
    both = learner.targets(experience, network, reference)
    alone = learner.targets(Rollout(**first), network, reference)
    move(network, 2)
    [with_it], [without] = batches(learner, both)[0], batches(learner, alone)[0]
    of_both, of_one = learner.loss(network, with_it), learner.loss(network, without)
    assert of_both.terms["reference_kl"][0] > 0.01
    close(of_both.total[0], of_one.total[0].detach())
    for name, term in of_both.terms.items():
        close(term[0], of_one.terms[name][0].detach())
    gradients = (total_and_gradient(learner, network, [batch])[1] for batch in (with_it, without))
    for ours, theirs in zip(*gradients, strict=True):
        close(ours[0], theirs[0])


@pytest.mark.parametrize("minibatch_size", [None, 4])
@pytest.mark.parametrize("aggregation", WEIGHTS)
def test_a_seed_whose_groups_are_all_equal_has_no_weight_no_loss_and_no_gradient(
    aggregation: str, minibatch_size: int | None
):
    learner = algorithm(
        aggregation=aggregation, minibatch_size=minibatch_size, kl_weight=0.5, advantage_scale="batch", credit="to_go"
    )
    network, experience = policy(), rollout(reward=EVERY_GROUP_EQUAL)
    aims = learner.targets(experience, network, policy(seed=1))
    for column in (aims.weight[0], aims.advantage[0], aims.valid[0], aims.spread[0]):
        assert not column.any()
    assert learner.diagnostics(aims)["zero_spread_share"].tolist() == [1.0, 0.0]
    assert learner.diagnostics(aims)["advantage_spread"][0] == 0
    usual = learner.targets(rollout(), network, policy(seed=1))
    for batch, of_usual in zip(batches(learner, aims)[0], batches(learner, usual)[0], strict=True):
        assert not batch.weight[0].any()
        loss = learner.loss(network, batch)
        assert loss.total[0] == 0
        assert loss.total.isfinite().all()
        assert torch.equal(loss.total[1], learner.loss(network, of_usual).total[1])
        _, gradient = total_and_gradient(learner, network, [batch])
        assert all(not g[0].any() for g in gradient)
        assert any(g[1].any() for g in gradient)


class ByHand(GRPO):
    """Collects what a test has made."""

    experience: ClassVar[Rollout]

    def collect(self, *_: object) -> Rollout:
        return self.experience


@pytest.mark.parametrize("minibatch_size", [None, 4])
def test_where_all_groups_are_equal_a_trainer_takes_no_step(minibatch_size: int | None):
    recipe = Recipe(
        algorithm=ReinforceRecipe(baseline="none"),
        environment=NativeEnvironment(id="CartPole-v1", num_envs=N),
        trainer=TrainerRecipe(evaluate_every=9),
    )
    trainer = trainer_of(recipe, (0, 1))
    trainer.reference = deepcopy(trainer.policy).requires_grad_(False)
    move(trainer.reference, 0)
    trainer.iteration = 1  # at which the reference is not renewed
    # The first rollout's step leaves momentum behind; it must not move a seed either.
    for reward, expected in ((REWARD, [True, True]), (EVERY_GROUP_EQUAL, [False, True])):
        ByHand.experience = rollout(reward=reward)
        trainer.algorithm = algorithm(
            ByHand,
            minibatch_size=minibatch_size,
            num_epochs=2,
            kl_weight=0.5,
            reference_every=100,
        )
        before = [parameter.detach().clone() for parameter in trainer.policy.parameters()]
        report = next(trainer.iterations())
        pairs = list(zip(before, trainer.policy.parameters(), strict=True))
        assert [any(not torch.equal(old[seed], new[seed]) for old, new in pairs) for seed in range(S)] == expected
    assert [seed.failure for seed in report.seeds] == [None, None]
    assert "there is nothing to learn" in report.seeds[0].hint
    assert report.seeds[1].hint is None
    assert math.isnan(report.seeds[0].diagnostics["policy_loss"])
    assert math.isfinite(report.seeds[1].diagnostics["policy_loss"])


@pytest.mark.parametrize("minibatch_size", [None, 4])
def test_garbage_in_invalid_rows_reaches_no_target_of_a_valid_row(minibatch_size: int | None):
    """The rollouts above have nan there already; zeros make the same."""
    learner = algorithm(credit="to_go", advantage_scale="batch", minibatch_size=minibatch_size, kl_weight=0.1)
    spoilt = rollout()
    clean = replace(
        spoilt,
        observation=spoilt.observation.nan_to_num(),
        reward=spoilt.reward.nan_to_num(),
        terminated=spoilt.terminated & VALID,
    )
    of_clean, of_spoilt = (learner.targets(experience, policy(), policy(seed=1)) for experience in (clean, spoilt))
    for name in ("old_log_prob", "advantage", "reference", "weight", "valid", "spread"):
        assert torch.equal(getattr(of_clean, name), getattr(of_spoilt, name)), name
    for batch in batches(learner, of_spoilt)[0]:
        assert learner.loss(policy(), batch).total.isfinite().all()


def test_a_hint_where_every_group_is_equal():
    for learner in (algorithm(), algorithm(num_epochs=4), algorithm(minibatch_size=4)):
        assert "there is nothing to learn" in learner.hint({"zero_spread_share": 1.0})


def test_a_hint_that_one_step_per_rollout_makes_the_policy_loss_say_nothing():
    assert "policy_loss says nothing" in algorithm(num_epochs=1).hint({"zero_spread_share": 0.5})
    assert algorithm(num_epochs=2).hint({"zero_spread_share": 0.5}) is None
    assert algorithm(num_epochs=1, minibatch_size=4).hint({"zero_spread_share": 0.0}) is None
