"""REINFORCE on rollouts made by hand. Gamma is 0.5 throughout."""

from dataclasses import replace

import pytest
import torch
from members import of_members
from torch import Tensor

from cartpole_cli.actions import PUSHES
from cartpole_cli.algorithms import reinforce
from cartpole_cli.algorithms.reinforce import Reinforce, ReinforceRows
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import ReinforceRecipe

pytestmark = pytest.mark.shapes

S, T, N, O = 2, 3, 2, 3  # noqa: E741  (O is the observation size in every signature)
STREAMS = Streams((0, 1))
START = torch.zeros(S)
GARBAGE = 777.0

# Seed 0: episode 0 is rewards 1 2 4, episode 1 is 8 16 and over. Seed 1: 2 2 2 and a single 6. [S, N, T]
REWARD = torch.tensor([[[1.0, 2, 4], [8, 16, GARBAGE]], [[2.0, 2, 2], [6, GARBAGE, GARBAGE]]]).mT
VALID = torch.tensor([[[1, 1, 1], [1, 1, 0]], [[1, 1, 1], [1, 0, 0]]], dtype=torch.bool).mT
LAST = torch.tensor([[[0, 0, 1], [0, 1, 0]], [[0, 0, 1], [1, 0, 0]]], dtype=torch.bool).mT
# Returns: 1 + 0.5 * (2 + 0.5 * 4) = 3, 4, 4 and 8 + 8 = 16, 16; 2 + 1 + 0.5 = 3.5, 3, 2 and 6
RETURNS = torch.tensor([[[3.0, 4, 4], [16, 16, 0]], [[3.5, 3, 2], [6, 0, 0]]]).mT


class FirstFeatureIsValue(PolicyNetwork):
    """V(observation) = observation[0]: values as a test sets them."""

    def value(self, observation: Tensor) -> Tensor:
        return observation[..., 0]


def policy(kind: type[PolicyNetwork] = PolicyNetwork, *, value_network: bool = True) -> PolicyNetwork:
    network = kind(Architecture(O, (8,), "tanh", value_network, actions=PUSHES), STREAMS)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))
    return network


def rollout(**changes: Tensor) -> Rollout:
    """Episodes that end by failure; the first feature, the stub's value, is 1 before a step and 10 after it."""
    generator = torch.Generator().manual_seed(0)
    observation, next_observation = torch.randn(2, S, T, N, O, generator=generator)
    observation[..., 0], next_observation[..., 0] = 1.0, 10.0
    experience = Rollout(
        observation=observation,
        action=torch.randint(2, (S, T, N), generator=generator),
        reward=REWARD,
        next_observation=next_observation,
        terminated=LAST,
        truncated=torch.zeros_like(LAST),
        valid=VALID,
    )
    return replace(experience, **changes)


def algorithm(baseline: str = "none", **changes: object) -> Reinforce:
    fields = {"gamma": 0.5, "normalize_advantage": False, "value_coefficient": 0.5, "entropy_coefficient": 0.0}
    return of_members(Reinforce, ReinforceRecipe(baseline=baseline, **fields | changes), S)


def targets(baseline: str = "none", experience: Rollout | None = None, **changes: object) -> ReinforceRows:
    return algorithm(baseline, **changes).targets(experience or rollout(), policy(FirstFeatureIsValue), policy())


def parts_of(learner: Reinforce, aims: ReinforceRows) -> list[ReinforceRows]:
    """Of the only step of the only epoch."""
    [[parts]] = learner.epochs(aims, STREAMS, 0, START)
    return list(parts)


def check_advantage(aims: ReinforceRows, expected: Tensor) -> None:
    torch.testing.assert_close(aims.advantage, torch.where(VALID, expected, 0.0), rtol=1e-6, atol=1e-6)


def test_without_a_baseline_the_advantage_is_the_reward_to_go():
    check_advantage(targets("none"), RETURNS)


def test_the_batch_baseline_is_the_mean_return_over_a_seeds_steps():
    # (3 + 4 + 4 + 16 + 16) / 5 = 8.6 and (3.5 + 3 + 2 + 6) / 4 = 3.625
    check_advantage(targets("batch"), RETURNS - torch.tensor([8.6, 3.625]).view(S, 1, 1))


def test_the_leave_one_out_baseline_is_the_other_episodes_return_at_the_same_time():
    # With two episodes the other's return, or 0 after its end.
    check_advantage(targets("leave_one_out"), RETURNS - RETURNS.flip(2))


def test_the_value_baseline_is_the_value_before_the_step():
    check_advantage(targets("value"), RETURNS - 1.0)


@pytest.mark.parametrize("baseline", ["none", "batch", "leave_one_out", "value"])
def test_value_targets_are_raw_returns_whatever_the_advantage(baseline: str):
    aims = targets(baseline, normalize_advantage=True)
    torch.testing.assert_close(aims.value_target[VALID], RETURNS[VALID])


def truncated_at_the_end() -> Rollout:
    return rollout(terminated=torch.zeros_like(LAST), truncated=LAST)


def test_a_truncated_episode_bootstraps_from_its_last_state_with_a_learned_value():
    # V = 10 after the last step of each episode: 0.5 * 10 more there, half as much each step before
    more = torch.tensor([[[1.25, 2.5, 5], [2.5, 5, 0]], [[1.25, 2.5, 5], [5, 0, 0]]]).mT
    aims = targets("value", truncated_at_the_end())
    check_advantage(aims, RETURNS + more - 1.0)
    torch.testing.assert_close(aims.value_target[VALID], (RETURNS + more)[VALID])


@pytest.mark.parametrize("baseline", ["none", "batch", "leave_one_out"])
def test_without_a_learned_value_a_truncated_episode_is_at_its_end(baseline: str):
    assert torch.equal(targets(baseline, truncated_at_the_end()).advantage, targets(baseline).advantage)


def test_where_an_episode_is_terminated_and_truncated_it_does_not_bootstrap():
    check_advantage(targets("value", rollout(truncated=LAST)), RETURNS - 1.0)


def test_flags_of_invalid_rows_neither_bootstrap_nor_end_anything():
    check_advantage(targets("value", rollout(truncated=~VALID)), RETURNS - 1.0)
    check_advantage(targets("value", rollout(terminated=LAST | ~VALID)), RETURNS - 1.0)


def test_weights_are_equal_over_a_seeds_valid_rows_and_sum_to_one():
    expected = VALID / torch.tensor([5.0, 4.0]).view(S, 1, 1)
    torch.testing.assert_close(targets().weight, expected)


def test_normalized_advantages_have_mean_0_and_deviation_1_over_a_seeds_valid_rows():
    aims = targets("batch", normalize_advantage=True)
    for seed in range(S):
        advantage = aims.advantage[seed][VALID[seed]]
        assert advantage.mean().item() == pytest.approx(0, abs=1e-6)
        assert advantage.std().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(aims.advantage[~VALID], torch.zeros(3))


def test_targets_carry_no_gradient():
    aims = algorithm("value").targets(rollout(), policy(), policy())
    assert not any(column.requires_grad for column in (aims.advantage, aims.value_target, aims.weight))


def test_small_batches_are_one_part_of_one_step():
    [part] = parts_of(algorithm(), targets())
    torch.testing.assert_close(part.weight.sum(dim=1), torch.ones(S))


def test_several_parts_make_one_step(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reinforce, "ROWS_PER_PART", 2)
    parts = parts_of(algorithm(), targets())
    # seed 0 has 5 rows: 2 + 2 + 1; seed 1 has 4: 2 + 2 + 0
    assert [(part.weight > 0).sum(dim=1).tolist() for part in parts] == [[2, 2], [2, 2], [1, 0]]
    torch.testing.assert_close(sum(part.weight.sum(dim=1) for part in parts), torch.ones(S))


def test_parts_without_a_valid_row_are_left_out(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reinforce, "ROWS_PER_PART", 1)
    assert len(parts_of(algorithm(), targets())) == 5  # of 6 rows


@pytest.mark.parametrize("baseline", ["none", "value"])
def test_parts_add_up_to_the_loss_terms_and_gradient_of_the_whole(baseline: str, monkeypatch: pytest.MonkeyPatch):
    learner, network = algorithm(baseline, entropy_coefficient=0.1), policy()
    aims = learner.targets(rollout(), network, policy())
    parameters = [*network.torso.parameters()] + ([*network.value_network.parameters()] if baseline == "value" else [])

    def everything() -> list[Tensor]:
        losses = [learner.loss(network, part) for part in parts_of(learner, aims)]
        total = sum(loss.total for loss in losses)
        terms = [sum(loss.terms[name] for loss in losses) for name in losses[0].terms]
        return [total, *terms, *torch.autograd.grad(total.sum(), parameters)]

    whole = everything()
    monkeypatch.setattr(reinforce, "ROWS_PER_PART", 2)
    torch.testing.assert_close(everything(), whole, rtol=1e-5, atol=1e-6)


def test_policy_loss_and_entropy_are_means_over_the_valid_rows():
    learner, network, experience = algorithm(), policy(), rollout()
    [part] = parts_of(learner, learner.targets(experience, network, policy()))
    terms = learner.loss(network, part).terms
    for seed in range(S):
        distribution = network.distribution(experience.observation.flatten(1, 2))
        log_prob = distribution.log_prob(experience.action.flatten(1, 2))[seed][VALID[seed].flatten()]
        expected = -(RETURNS[seed][VALID[seed]] * log_prob).mean()
        torch.testing.assert_close(terms["policy_loss"][seed], expected)
        torch.testing.assert_close(terms["entropy"][seed], distribution.entropy()[seed][VALID[seed].flatten()].mean())


def test_value_loss_is_half_the_mean_squared_distance_from_the_returns():
    learner, network = algorithm("value"), policy(FirstFeatureIsValue)
    [part] = parts_of(learner, learner.targets(rollout(), network, policy()))
    # V = 1: ((3-1)^2 + 3^2 + 3^2 + 15^2 + 15^2) / 5 / 2 and (2.5^2 + 2^2 + 1^2 + 5^2) / 4 / 2
    expected = torch.tensor([472 / 10, 36.25 / 8])
    torch.testing.assert_close(learner.loss(network, part).terms["value_loss"], expected)


def test_total_is_policy_loss_plus_weighted_value_loss_minus_weighted_entropy():
    learner, network = algorithm("value", value_coefficient=0.3, entropy_coefficient=0.7), policy()
    [part] = parts_of(learner, learner.targets(rollout(), network, policy()))
    loss = learner.loss(network, part)
    expected = loss.terms["policy_loss"] + 0.3 * loss.terms["value_loss"] - 0.7 * loss.terms["entropy"]
    torch.testing.assert_close(loss.total, expected)
    assert loss.stop is None


def test_the_policy_loss_does_not_move_the_value_network():
    learner, network = algorithm("value", value_coefficient=0.0), policy()
    [part] = parts_of(learner, learner.targets(rollout(), network, policy()))
    total = learner.loss(network, part).total.sum()
    gradients = torch.autograd.grad(total, [*network.value_network.parameters()], materialize_grads=True)
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("baseline", ["none", "batch", "leave_one_out"])
def test_only_the_learned_value_needs_a_value_network(baseline: str):
    learner, network = algorithm(baseline), policy(value_network=False)
    assert not learner.needs_value_network
    assert algorithm("value").needs_value_network
    [part] = parts_of(learner, learner.targets(rollout(), network, policy()))
    assert "value_loss" not in learner.loss(network, part).terms


def test_a_seed_without_a_valid_row_does_not_disturb_the_other():
    learner, network = algorithm("value", normalize_advantage=True), policy()
    valid = VALID.clone()
    valid[0] = False
    [one_empty] = parts_of(learner, learner.targets(rollout(valid=valid), network, policy()))
    [both_full] = parts_of(learner, learner.targets(rollout(), network, policy()))
    assert one_empty.weight[0].sum() == 0
    assert torch.equal(learner.loss(network, one_empty).total[1], learner.loss(network, both_full).total[1])


def test_rows_stay_in_order_with_their_columns():
    aims = targets()
    [part] = parts_of(algorithm(), aims)
    for seed in range(S):
        used = part.weight[seed] > 0
        assert torch.equal(part.observation[seed][used], aims.observation[seed][VALID[seed]])
        assert torch.equal(part.action[seed][used], aims.action[seed][VALID[seed]])
        assert torch.equal(part.advantage[seed][used], aims.advantage[seed][VALID[seed]])
