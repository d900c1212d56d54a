"""Sums of an iteration: returns of the episodes that end in it, means of the loss's terms."""

import math

import pytest
import torch
from torch import Tensor

from cartpole_cli.experience import Rollout
from cartpole_cli.training.sums import EpisodeStatistics, UpdateStatistics

pytestmark = pytest.mark.shapes

NAN = math.nan
CPU = torch.device("cpu")


def rollout(
    reward: list[list[list[float]]], ended: list[list[list[int]]], valid: list[list[list[int]]] | None = None
) -> Rollout:
    """Nested as [S][N][T], so that an environment's rewards stand in a row."""
    rewards = torch.tensor(reward).mT
    ends = torch.tensor(ended, dtype=torch.bool).mT
    observation = torch.zeros(*rewards.shape, 1)
    odd_time = (torch.arange(rewards.shape[1]) % 2 == 1).view(1, -1, 1)
    return Rollout(
        observation=observation,
        action=torch.zeros(rewards.shape, dtype=torch.int64),
        reward=rewards,
        next_observation=observation,
        terminated=ends & odd_time,  # either flag ends an episode
        truncated=ends & ~odd_time,
        valid=torch.ones_like(ends) if valid is None else torch.tensor(valid, dtype=torch.bool).mT,
    )


def check(result: tuple[Tensor, Tensor], counts: list[int], means: list[float]) -> None:
    assert result[0].tolist() == counts
    assert result[1].tolist() == pytest.approx(means, rel=1e-6, nan_ok=True)


def test_an_episode_may_span_iterations():
    statistics = EpisodeStatistics(1, 2, CPU)
    # environment 0 ends with 1 + 1 = 2 and is under way with 1; environment 1 is under way with 2 + 2 + 2 = 6
    first = statistics.update(rollout([[[1.0, 1, 1], [2, 2, 2]]], [[[0, 1, 0], [0, 0, 0]]]))
    check(first, [1], [2.0])
    # environment 0 ends with 1 + 1 + 1 + 1 = 4; environment 1 with 6 + 2 = 8, and again with 2 + 2 = 4
    second = statistics.update(rollout([[[1.0, 1, 1], [2, 2, 2]]], [[[0, 0, 1], [1, 0, 1]]]))
    check(second, [3], [16 / 3])


def test_an_episode_may_span_more_than_two_iterations():
    statistics = EpisodeStatistics(1, 1, CPU)
    for _ in range(2):
        check(statistics.update(rollout([[[1.0, 2.0]]], [[[0, 0]]])), [0], [NAN])
    check(statistics.update(rollout([[[1.0, 2.0]]], [[[0, 1]]])), [1], [9.0])  # three times 1 + 2
    check(statistics.update(rollout([[[1.0, 2.0]]], [[[1, 1]]])), [2], [1.5])  # nothing left of it: 1 and 2


def test_where_no_episode_ended_the_mean_is_nan_and_seeds_do_not_mix():
    statistics = EpisodeStatistics(2, 1, CPU)
    check(statistics.update(rollout([[[1.0, 1.0]], [[5.0, 7.0]]], [[[0, 0]], [[1, 0]]])), [0, 1], [NAN, 5.0])
    check(statistics.update(rollout([[[1.0, 1.0]], [[5.0, 7.0]]], [[[1, 0]], [[1, 0]]])), [1, 1], [3.0, 12.0])


def test_invalid_rows_neither_pay_nor_end_an_episode():
    statistics = EpisodeStatistics(1, 2, CPU)
    # environment 0: ends with 1 + 1 at t = 1, t = 2 is a reset row with garbage, then 3 is under way;
    # environment 1: an invalid row with an end of its own inside a running episode of 1 + 1 + 1
    rewards = [[[1.0, 1, NAN, 3], [1, 1e30, 1, 1]]]
    result = statistics.update(rollout(rewards, [[[0, 1, 1, 0], [0, 1, 0, 1]]], [[[1, 1, 0, 1], [1, 0, 1, 1]]]))
    check(result, [2], [2.5])
    check(statistics.update(rollout([[[4.0], [6.0]]], [[[1], [1]]])), [2], [6.5])  # 3 + 4 and 6


def test_an_episode_that_ended_before_the_rollout_did_leaves_nothing_under_way():
    statistics = EpisodeStatistics(1, 1, CPU)
    # as REINFORCE collects: the rows after the end are invalid
    check(statistics.update(rollout([[[1.0, 1, 9, 9]]], [[[0, 1, 0, 1]]], [[[1, 1, 0, 0]]])), [1], [2.0])
    check(statistics.update(rollout([[[1.0, 1, 1, 9]]], [[[0, 0, 1, 1]]], [[[1, 1, 1, 0]]])), [1], [3.0])


def add(statistics: UpdateStatistics, entropy: list[float], stepped: list[bool]) -> None:
    """One batch that is one step."""
    statistics.add_loss({"entropy": torch.tensor(entropy)}, torch.tensor(stepped))
    statistics.add_step(torch.ones(len(stepped)), torch.tensor(stepped))


def test_update_means_are_over_the_steps_each_seed_took():
    statistics = UpdateStatistics(2, CPU, {})
    add(statistics, [1.0, 2.0], [True, True])
    add(statistics, [4.0, NAN], [True, False])
    assert statistics.means()["entropy"].tolist() == [2.5, 2.0]


def test_update_means_add_the_batches_of_one_step_up():
    statistics = UpdateStatistics(1, CPU, {})
    statistics.add_loss({"entropy": torch.tensor([0.25])}, torch.tensor([True]))
    add(statistics, [0.5], [True])
    add(statistics, [0.25], [True])
    assert statistics.means()["entropy"].tolist() == [0.5]  # (0.25 + 0.5 + 0.25) / 2


def test_update_means_keep_the_terms_apart():
    statistics = UpdateStatistics(1, CPU, {})
    for factor in (1.0, 3.0):
        terms = {"entropy": torch.tensor([factor]), "policy_loss": torch.tensor([-factor])}
        statistics.add_loss(terms, torch.tensor([True]))
        statistics.add_step(torch.tensor([5.0]), torch.tensor([True]))
    means = {name: value.item() for name, value in statistics.means().items()}
    assert means == {"entropy": 2.0, "policy_loss": -2.0, "gradient_norm": 5.0}


def test_update_means_of_gradient_norms_are_over_the_steps_each_seed_took():
    statistics = UpdateStatistics(2, CPU, {})
    statistics.add_step(torch.tensor([1.0, 2.0]), torch.tensor([True, True]))
    statistics.add_step(torch.tensor([3.0, 50.0]), torch.tensor([True, False]))
    assert statistics.means()["gradient_norm"].tolist() == [2.0, 2.0]


def test_update_means_without_a_step_are_nan():
    statistics = UpdateStatistics(2, CPU, {})
    add(statistics, [1.0, 2.0], [True, False])
    means = statistics.means()
    assert means["entropy"].isnan().tolist() == [False, True]
    assert means["gradient_norm"].isnan().tolist() == [False, True]


def test_update_means_pass_diagnostics_on():
    diagnostics = {"explained_variance": torch.tensor([0.25, 0.5])}
    means = UpdateStatistics(2, CPU, diagnostics).means()
    assert means["explained_variance"].tolist() == [0.25, 0.5]


def test_update_means_keep_no_graph():
    statistics = UpdateStatistics(1, CPU, {})
    statistics.add_loss({"entropy": torch.ones(1, requires_grad=True) * 2}, torch.tensor([True]))
    assert not statistics.means()["entropy"].requires_grad


def test_a_seed_fails_by_one_gradient_that_is_not_finite():
    statistics = UpdateStatistics(3, CPU, {})
    assert statistics.failures() == [None, None, None]
    statistics.add_step(torch.tensor([1.0, NAN, 1.0]), torch.tensor([True, True, True]))
    statistics.add_step(torch.tensor([1.0, 1.0, math.inf]), torch.tensor([True, True, True]))
    assert statistics.failures() == [None, "gradient", "gradient"]


def test_the_first_term_that_is_not_finite_is_named_where_a_gradient_is_not():
    statistics = UpdateStatistics(3, CPU, {})
    terms = {"policy_loss": torch.tensor([1.0, 1.0, NAN]), "entropy": torch.tensor([math.inf, NAN, NAN])}
    statistics.add_loss(terms, torch.tensor([True, True, True]))
    statistics.add_loss({name: torch.ones(3) for name in terms}, torch.tensor([True, True, True]))
    statistics.add_step(torch.tensor([1.0, NAN, NAN]), torch.tensor([True, True, True]))
    assert statistics.failures() == [None, "entropy", "policy_loss"]


def test_a_seed_that_did_not_step_does_not_fail():
    statistics = UpdateStatistics(2, CPU, {})
    statistics.add_step(torch.tensor([1.0, NAN]), torch.tensor([True, False]))
    assert statistics.failures() == [None, None]
    assert statistics.means()["gradient_norm"][0].item() == 1.0


def test_kept_seeds_go_on_in_their_episodes():
    statistics = EpisodeStatistics(3, 1, CPU)
    statistics.update(rollout([[[1.0, 1.0]], [[5.0, 7.0]], [[2.0, 2.0]]], [[[0, 0]], [[1, 0]], [[0, 0]]]))
    statistics.keep_seeds([1, 2])
    # seed 1 is under way with 7, seed 2 with 2 + 2 = 4
    check(statistics.update(rollout([[[1.0]], [[2.0]]], [[[1]], [[1]]])), [1, 1], [8.0, 6.0])
