"""PPO on rollouts made by hand."""

import math
from dataclasses import replace

import pytest
import torch
from members import flat, of_members
from tensors import HEADS
from torch import Tensor

from cartpole_cli.algorithms.ppo import PPO, PPORows, explained_variance
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import PPORecipe

pytestmark = pytest.mark.shapes

S, T, N, O = 2, 4, 2, 3  # noqa: E741  (O is the observation size in every signature)
STREAMS = Streams((0, 1))
START = torch.zeros(S)


class FirstFeatureIsValue(PolicyNetwork):
    """V(observation) = observation[0]: values as a test sets them."""

    def value(self, observation: Tensor) -> Tensor:
        return observation[..., 0]


def policy(head: str = "categorical", kind: type[PolicyNetwork] = PolicyNetwork) -> PolicyNetwork:
    network = kind(Architecture(O, (8,), "tanh", True, **HEADS[head]), STREAMS)
    move(network, 0)
    return network


def move(network: PolicyNetwork, seed: int, of: slice = slice(None), by: float = 0.5) -> None:
    """Add noise to the parameters of some seeds, so that actions are neither equally likely nor all the same."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter[of] += by * torch.randn(parameter.shape, generator=generator)[of]


def rollout(head: str = "categorical", num_steps: int = T) -> Rollout:
    """Rewards, observations and actions at random; all valid, no ends."""
    generator = torch.Generator().manual_seed(0)
    shape = (S, num_steps, N)
    observation, next_observation = torch.randn(2, *shape, O, generator=generator)
    discrete = torch.randint(2, shape, generator=generator)
    continuous = torch.randn(*shape, 1, generator=generator)
    flags = torch.zeros(shape, dtype=torch.bool)
    return Rollout(
        observation=observation,
        action=discrete if head == "categorical" else continuous,
        reward=torch.randn(shape, generator=generator),
        next_observation=next_observation,
        terminated=flags,
        truncated=flags,
        valid=~flags,
    )


def ppo(**changes: object) -> PPO:
    fields = {
        "steps_per_iteration": T,
        "num_epochs": 1,
        "minibatch_size": 3,
        "gamma": 0.9,
        "gae_lambda": 0.8,
        "clip_range": 0.2,
        "normalize_advantage": False,
        "value_coefficient": 0.5,
        "value_clip_range": None,
        "entropy_coefficient": 0.0,
        "target_kl": None,
    }
    return of_members(PPO, PPORecipe(**fields | changes), S)


def batches(algorithm: PPO, targets: PPORows, iteration: int = 0, progress: Tensor = START) -> list[list[PPORows]]:
    return flat(algorithm.epochs(targets, STREAMS, iteration, progress))


def some_invalid() -> Tensor:
    """Seed 0 has 5 of its 8 rows, seed 1 all but the last."""
    valid = torch.ones(S, T, N, dtype=torch.bool)
    valid[0, 1, 0] = valid[0, 2, 0] = valid[0, 3, 1] = valid[1, 3, 1] = False
    return valid


def numbered(targets: PPORows) -> PPORows:
    """Each row's number, from 1, in place of its advantage."""
    number = torch.arange(1.0, T * N + 1).view(1, T, N).expand(S, T, N)
    return replace(targets, advantage=number)


def used_rows(epoch: list[PPORows], seed: int) -> list[float]:
    return [row for batch in epoch for row in batch.advantage[seed][batch.weight[seed] > 0].tolist()]


def test_targets_are_gae_and_what_it_leads_to():
    # As in test_advantages: gamma = lambda = 0.5, T = 3; the columns are without an end, terminated at 1,
    # truncated at 1 (true successor's value 6), and both at 1.
    columns = torch.tensor(
        [  # reward, value, next_value at t = 0, 1, 2
            [[1.0, 1, 2], [4, 2, 4], [3, 4, 8]],
            [[1.0, 1, 2], [4, 2, 4], [3, 4, 8]],
            [[1.0, 1, 2], [4, 2, 6], [3, 4, 8]],
            [[1.0, 1, 2], [4, 2, 6], [3, 4, 8]],
        ]
    )
    reward, value, next_value = columns.view(S, N, 3, 3).permute(3, 0, 2, 1)
    base = rollout(num_steps=3)
    observation, next_observation = base.observation.clone(), base.next_observation.clone()
    observation[..., 0], next_observation[..., 0] = value, next_value
    terminated, truncated = torch.zeros(2, S, 3, N, dtype=torch.bool)
    terminated[0, 1, 1] = terminated[1, 1, 1] = truncated[1, 1, 0] = truncated[1, 1, 1] = True
    targets = ppo(gamma=0.5, gae_lambda=0.5).targets(
        replace(
            base,
            observation=observation,
            reward=reward,
            next_observation=next_observation,
            terminated=terminated,
            truncated=truncated,
        ),
        policy(kind=FirstFeatureIsValue),
        policy(),
    )
    expected = torch.tensor([[2.1875, 4.75, 3], [1.5, 2, 3], [2.25, 5, 3], [1.5, 2, 3]]).view(S, N, 3).mT
    torch.testing.assert_close(targets.advantage, expected)
    torch.testing.assert_close(targets.old_value, value)
    torch.testing.assert_close(targets.value_target, expected + value)


@pytest.mark.parametrize("head", HEADS)
def test_old_log_prob_is_that_of_the_collecting_policy_row_by_row(head: str):
    network, experience = policy(head), rollout(head)
    targets = ppo().targets(experience, network, policy())
    for t in range(T):
        distribution = network.distribution(experience.observation[:, t])
        expected = distribution.log_prob(experience.action[:, t]).detach()
        torch.testing.assert_close(targets.old_log_prob[:, t], expected, rtol=1e-6, atol=1e-6)


def test_targets_carry_no_gradient():
    targets = ppo().targets(rollout(), policy(), policy())
    columns = (targets.advantage, targets.value_target, targets.old_log_prob, targets.old_value)
    assert not any(column.requires_grad for column in columns)


@pytest.mark.parametrize("head", HEADS)
def test_the_ratio_is_one_and_the_kl_zero_before_the_first_step(head: str):
    network, algorithm = policy(head), ppo()
    [epoch] = batches(algorithm, algorithm.targets(rollout(head), network, policy()))
    for batch in epoch:
        ratio = (network.distribution(batch.observation).log_prob(batch.action) - batch.old_log_prob).exp()
        torch.testing.assert_close(ratio, torch.ones_like(ratio), rtol=0, atol=1e-6)
        loss = algorithm.loss(network, batch)
        assert loss.terms["approx_kl"].abs().max() < 1e-12
        assert loss.terms["clip_fraction"].tolist() == [0.0, 0.0]
        expected = -(batch.weight * batch.advantage).sum(dim=1)
        torch.testing.assert_close(loss.terms["policy_loss"].detach(), expected, rtol=1e-5, atol=1e-6)


def test_the_clip_range_stays_or_falls_with_each_seeds_progress():
    targets, progress = ppo().targets(rollout(), policy(), policy()), torch.tensor([0.25, 1.0])
    [constant] = batches(ppo(), targets, progress=progress)
    [annealed] = batches(ppo(clip_range_schedule="linear"), targets, progress=progress)
    for batch in constant:
        torch.testing.assert_close(batch.clip_range, torch.tensor([0.2, 0.2]))
    for batch in annealed:
        torch.testing.assert_close(batch.clip_range, torch.tensor([0.15, 0.0]))


def test_every_valid_row_is_used_once_per_epoch():
    valid = some_invalid()
    targets = numbered(ppo().targets(replace(rollout(), valid=valid), policy(), policy()))
    epochs = batches(ppo(num_epochs=3), targets)
    assert len(epochs) == 3
    for epoch in epochs:
        assert [batch.weight.shape for batch in epoch] == [(S, 3)] * 3  # ceil(8 / 3)
        for seed in range(S):
            assert sorted(used_rows(epoch, seed)) == targets.advantage[seed][valid[seed]].tolist()


def test_rows_are_shuffled_anew_in_every_epoch_iteration_and_seed():
    targets = numbered(ppo().targets(rollout(), policy(), policy()))
    orders = [
        tuple(used_rows(epoch, seed))
        for iteration in range(2)
        for epoch in batches(ppo(num_epochs=2), targets, iteration)
        for seed in range(S)
    ]
    assert len(set(orders)) == len(orders) == 8


def test_a_row_keeps_its_columns_together():
    algorithm = ppo()
    targets = numbered(algorithm.targets(rollout(), policy(), policy()))
    [epoch] = batches(algorithm, targets)
    for batch in epoch:
        for seed in range(S):
            row = batch.advantage[seed].long() - 1
            for name in ("observation", "action", "old_log_prob", "old_value", "value_target"):
                expected = getattr(targets, name)[seed].flatten(0, 1)[row]
                assert torch.equal(getattr(batch, name)[seed], expected), name


def test_weights_average_over_the_valid_rows_of_a_minibatch():
    targets = ppo().targets(replace(rollout(), valid=some_invalid()), policy(), policy())
    [epoch] = batches(ppo(), targets)
    assert [len(step) for step in next(ppo().epochs(targets, STREAMS, 0, START))] == [1, 1, 1]
    # seed 0: 5 rows as 3 + 2 + 0; seed 1: 7 rows as 3 + 3 + 1
    assert [(batch.weight > 0).sum(dim=1).tolist() for batch in epoch] == [[3, 3], [2, 3], [0, 1]]
    for batch, sums in zip(epoch, ([1.0, 1.0], [1.0, 1.0], [0.0, 1.0]), strict=True):
        torch.testing.assert_close(batch.weight.sum(dim=1), torch.tensor(sums))
        for weight in batch.weight:
            assert len(set(weight[weight > 0].tolist())) <= 1


def test_the_advantage_of_a_minibatch_is_normalized_to_mean_0_and_deviation_1():
    algorithm = ppo(normalize_advantage=True)
    targets = algorithm.targets(replace(rollout(), valid=some_invalid()), policy(), policy())
    [epoch] = batches(algorithm, targets)
    for batch in epoch:
        for seed in range(S):
            advantage = batch.advantage[seed][batch.weight[seed] > 0]
            if len(advantage) > 1:
                assert advantage.mean().item() == pytest.approx(0, abs=1e-6)
                assert advantage.std().item() == pytest.approx(1, abs=1e-5)
            else:
                assert advantage.tolist() in ([], [0.0])


def test_without_normalization_advantages_stay_what_they_are():
    targets = ppo().targets(rollout(), policy(), policy())
    [epoch] = batches(ppo(), targets)
    for seed in range(S):
        assert sorted(used_rows(epoch, seed)) == sorted(targets.advantage[seed].flatten().tolist())


def moved_batch(algorithm: PPO, network: PolicyNetwork) -> PPORows:
    """A minibatch after which only seed 1's policy has moved."""
    targets = algorithm.targets(rollout(), network, policy())
    move(network, 1, of=slice(1, 2), by=0.3)
    return batches(algorithm, targets)[0][0]


def test_target_kl_stops_the_seeds_whose_kl_passes_one_and_a_half_times_it():
    network = policy()
    batch = moved_batch(ppo(), network)
    kl = ppo().loss(network, batch).terms["approx_kl"]
    assert kl[1] > 1e-3 > kl[0]
    limit = kl[1].item() / 1.5
    assert ppo(target_kl=0.99 * limit).loss(network, batch).stop.tolist() == [False, True]
    assert ppo(target_kl=1.01 * limit).loss(network, batch).stop.tolist() == [False, False]
    assert ppo(target_kl=None).loss(network, batch).stop is None


def hand_batch(ratios: tuple[float, ...], advantage: tuple[float, ...], network: PolicyNetwork) -> PPORows:
    """Seed 0 has these ratios, seed 1 ratio 1; values are 3, old values 0, value targets 4."""
    observation = torch.randn(S, len(ratios), O, generator=torch.Generator().manual_seed(0))
    observation[..., 0] = 3.0
    action = torch.zeros(S, len(ratios), dtype=torch.int64)
    log_prob = network.distribution(observation).log_prob(action).detach()
    return PPORows(
        observation=observation,
        action=action,
        old_log_prob=log_prob - torch.stack([torch.tensor(ratios), torch.ones(len(ratios))]).log(),
        old_value=torch.zeros(S, len(ratios)),
        advantage=torch.tensor([advantage, advantage]),
        value_target=torch.full((S, len(ratios)), 4.0),
        weight=torch.full((S, len(ratios)), 1 / len(ratios)),
        clip_range=torch.full((S,), 0.2),
    )


def test_policy_loss_kl_and_clip_fraction_by_hand():
    network = policy(kind=FirstFeatureIsValue)
    terms = ppo().loss(network, hand_batch((1.5, 0.5, 1.1, 1.0), (2.0, 2.0, -1.0, 4.0), network)).terms
    # seed 0: -(1.2*2 + 0.5*2 + 1.1*-1 + 1*4) / 4 = -6.3 / 4; seed 1: -(2 + 2 - 1 + 4) / 4
    torch.testing.assert_close(terms["policy_loss"].detach(), torch.tensor([-1.575, -1.75]), rtol=1e-5, atol=1e-6)
    # |ratio - 1| > 0.2 in two of four rows
    assert terms["clip_fraction"].tolist() == [0.5, 0.0]
    # mean of ratio - 1 - ln ratio: (0.5 - 0.5 + 0.1 + 0 - ln(1.5 * 0.5 * 1.1)) / 4
    expected_kl = torch.tensor([(0.1 - math.log(0.825)) / 4, 0.0])
    torch.testing.assert_close(terms["approx_kl"], expected_kl, rtol=1e-5, atol=1e-6)


def test_value_loss_is_clipped_only_where_a_range_is_given():
    network = policy(kind=FirstFeatureIsValue)
    batch = hand_batch((1.0, 1.0), (0.0, 0.0), network)
    # (3 - 4)^2 / 2; held within 1 of the old value 0: max((3 - 4)^2, (1 - 4)^2) / 2
    assert ppo().loss(network, batch).terms["value_loss"].tolist() == [0.5, 0.5]
    assert ppo(value_clip_range=1.0).loss(network, batch).terms["value_loss"].tolist() == [4.5, 4.5]


def test_total_is_policy_loss_plus_weighted_value_loss_minus_weighted_entropy():
    network = policy()
    targets = ppo().targets(rollout(), network, policy())
    algorithm = ppo(value_coefficient=0.3, entropy_coefficient=0.7)
    batch = batches(algorithm, targets)[0][0]
    loss = algorithm.loss(network, batch)
    terms = loss.terms
    expected = terms["policy_loss"] + 0.3 * terms["value_loss"] - 0.7 * terms["entropy"]
    torch.testing.assert_close(loss.total, expected)
    entropy = network.distribution(batch.observation).entropy().mean(dim=1)
    torch.testing.assert_close(terms["entropy"], entropy)
    value_loss = (network.value(batch.observation) - batch.value_target).square().mean(dim=1) / 2
    torch.testing.assert_close(terms["value_loss"], value_loss)


def test_a_seed_without_a_valid_row_does_not_disturb_the_other():
    network, algorithm = policy(), ppo(normalize_advantage=True, entropy_coefficient=0.1)
    valid = torch.ones(S, T, N, dtype=torch.bool)
    valid[0] = False
    one_empty = batches(algorithm, algorithm.targets(replace(rollout(), valid=valid), network, policy()))[0]
    both_full = batches(algorithm, algorithm.targets(rollout(), network, policy()))[0]
    for empty, full in zip(one_empty, both_full, strict=True):
        assert empty.weight[0].tolist() == [0.0] * 3
        assert torch.equal(algorithm.loss(network, empty).total[1], algorithm.loss(network, full).total[1])


def test_explained_variance_by_hand():
    # targets 1 and 3: variance 1. Errors 0 and 1: variance 1/4. Seed 1: off by a constant 5. The rest is invalid.
    target = torch.tensor([[[1.0, 3.0, 99.0]], [[1.0, 3.0, math.nan]]])
    value = torch.tensor([[[1.0, 2.0, -99.0]], [[-4.0, -2.0, 0.0]]])
    valid = torch.tensor([True, True, False]).expand(2, 1, 3)
    torch.testing.assert_close(explained_variance(value, target, valid), torch.tensor([0.75, 1.0]))
    constant = torch.full_like(value, 2.0)
    torch.testing.assert_close(explained_variance(constant, target, valid), torch.tensor([0.0, 0.0]))


def test_diagnostics_compare_old_values_with_value_targets():
    algorithm = ppo()
    targets = algorithm.targets(replace(rollout(), valid=some_invalid()), policy(), policy())
    expected = explained_variance(targets.old_value, targets.value_target, targets.valid)
    assert torch.equal(algorithm.diagnostics(targets)["explained_variance"], expected)


def test_ppo_needs_a_value_network():
    assert ppo().needs_value_network
