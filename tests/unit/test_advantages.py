"""Returns and advantages against numbers worked out by hand."""

import math

import pytest
import torch
from members import per_seed
from tensors import close
from torch import Tensor

from cartpole_cli.algorithms.advantages import (
    batch_mean,
    deviation,
    discounted_sum,
    gae,
    group_deviation,
    group_mean,
    has_spread,
    leave_one_out,
    normalize,
    reward_to_go,
)

pytestmark = pytest.mark.shapes

NAN = math.nan


def series(*values: float) -> Tensor:
    """One seed and one environment: [1, T, 1]."""
    return torch.tensor(values).view(1, -1, 1)


# Shared by the GAE tests; gamma = gae_lambda = 0.5, so gamma * gae_lambda = 0.25.
REWARD, VALUE, NEXT_VALUE = (1.0, 4.0, 3.0), (1.0, 2.0, 4.0), (2.0, 4.0, 8.0)


def gae_of(
    reward: tuple[float, ...] = REWARD,
    value: tuple[float, ...] = VALUE,
    next_value: tuple[float, ...] = NEXT_VALUE,
    terminated: tuple[bool, ...] = (False, False, False),
    truncated: tuple[bool, ...] = (False, False, False),
    valid: tuple[bool, ...] = (True, True, True),
) -> Tensor:
    columns = [series(*column) for column in (reward, value, next_value, terminated, truncated, valid)]
    return gae(*columns, gamma=per_seed(0.5, columns[0]), decay=per_seed(0.25, columns[0]))


def test_discounted_sum_runs_backwards_from_zero():
    # y2 = 3, y1 = 2 + 0.5 * 3 = 3.5, y0 = 1 + 0.5 * 3.5 = 2.75; the last decay meets y_T = 0
    close(discounted_sum(series(1, 2, 3.0), series(0.5, 0.5, 9.0)), series(2.75, 3.5, 3.0))


def test_discounted_sum_decays_each_row_by_its_own_factor():
    # y1 = 2 + 0 * 3 = 2, y0 = 1 + 0.25 * 2 = 1.5
    close(discounted_sum(series(1, 2, 3.0), series(0.25, 0.0, 0.5)), series(1.5, 2.0, 3.0))


def test_discounted_sum_keeps_seeds_and_environments_apart():
    value = torch.tensor([[[1.0, 10.0], [2.0, 20.0]], [[3.0, 30.0], [4.0, 40.0]]])
    decay = torch.tensor([[[0.5, 0.1], [0.0, 0.0]], [[1.0, 0.2], [0.0, 0.0]]])
    # first rows: 1 + 0.5 * 2, 10 + 0.1 * 20, 3 + 1 * 4, 30 + 0.2 * 40
    close(discounted_sum(value, decay), torch.tensor([[[2.0, 12.0], [2.0, 20.0]], [[7.0, 38.0], [4.0, 40.0]]]))


def test_reward_to_go_discounts_within_an_episode_and_starts_anew_after_its_end():
    reward, ended = series(1, 2, 4, 8.0), series(False, True, False, False)
    # G3 = 8, G2 = 4 + 0.5 * 8 = 8 | G1 = 2, G0 = 1 + 0.5 * 2 = 2
    close(reward_to_go(reward, ended, per_seed(0.5, reward)), series(2.0, 2.0, 8.0, 8.0))


def test_gae_without_ends_sums_td_errors():
    # delta = 1 + 0.5*2 - 1 = 1, 4 + 0.5*4 - 2 = 4, 3 + 0.5*8 - 4 = 3
    # A2 = 3, A1 = 4 + 0.25*3 = 4.75, A0 = 1 + 0.25*4.75 = 2.1875
    close(gae_of(), series(2.1875, 4.75, 3.0))


def test_gae_at_a_termination_does_not_bootstrap_and_does_not_leak():
    # delta1 = 4 - 2 = 2 = A1, A0 = 1 + 0.25*2 = 1.5
    close(gae_of(terminated=(False, True, False)), series(1.5, 2.0, 3.0))


def test_gae_at_a_truncation_bootstraps_from_the_true_successor_and_does_not_leak():
    # V(s'_1) = 6 is not the next row's V = 4: delta1 = 4 + 0.5*6 - 2 = 5 = A1, A0 = 1 + 0.25*5 = 2.25
    close(gae_of(next_value=(2.0, 6.0, 8.0), truncated=(False, True, False)), series(2.25, 5.0, 3.0))


def test_gae_lets_termination_win_where_both_flags_are_set():
    both = gae_of(terminated=(False, True, False), truncated=(False, True, False))
    close(both, series(1.5, 2.0, 3.0))


def test_gae_ignores_what_the_next_episode_holds():
    first = gae_of(truncated=(False, True, False))
    second = gae_of(reward=(1, 4, -70.0), value=(1, 2, 50.0), next_value=(2, 4, 9.0), truncated=(False, True, False))
    assert torch.equal(first[:, :2], second[:, :2])
    assert not torch.equal(first[:, 2], second[:, 2])


def test_gae_of_an_invalid_row_is_zero_and_it_passes_nothing_on():
    advantage = gae_of(
        reward=(1.0, NAN, 3.0), value=(1.0, NAN, 4.0), next_value=(2.0, NAN, 8.0), valid=(True, False, True)
    )
    # row 0 does not end, and still gets nothing from row 1 or through it: A0 = delta0 = 1, A2 = 3
    close(advantage, series(1.0, 0.0, 3.0))


def test_gae_of_an_invalid_row_after_an_end_is_zero_whatever_its_flags():
    advantage = gae_of(
        reward=(7.0, 4.0, 3.0),
        terminated=(True, True, False),
        truncated=(False, True, False),
        valid=(True, False, True),
    )
    close(advantage, series(6.0, 0.0, 3.0))  # A0 = delta0 = 7 - 1


def test_batch_mean_is_over_the_valid_rows_of_each_seed():
    value = torch.tensor([[[1.0, 2.0], [6.0, 100.0]], [[5.0, 100.0], [100.0, 7.0]]])
    valid = torch.tensor([[[True, True], [True, False]], [[True, False], [False, True]]])
    # (1 + 2 + 6) / 3 and (5 + 7) / 2
    close(batch_mean(value, valid), torch.tensor([3.0, 6.0]).view(2, 1, 1))


def test_batch_mean_without_a_valid_row_is_zero():
    close(batch_mean(series(3.0, 4.0), series(False, False)), torch.zeros(1, 1, 1))


def test_leave_one_out_is_the_mean_of_the_other_episodes_at_the_same_time():
    value, valid = torch.tensor([[[3.0, 5.0, 10.0]]]), torch.ones(1, 1, 3, dtype=torch.bool)
    # (5 + 10) / 2, (3 + 10) / 2, (3 + 5) / 2
    close(leave_one_out(value, valid), torch.tensor([[[7.5, 6.5, 4.0]]]))


def test_leave_one_out_counts_an_ended_peer_as_zero():
    value, valid = torch.tensor([[[NAN, 2.0, 4.0]]]), torch.tensor([[[False, True, True]]])
    # (2 + 4) / 2, (0 + 4) / 2, (0 + 2) / 2: divided by the two others, not by those still running
    close(leave_one_out(value, valid), torch.tensor([[[3.0, 2.0, 1.0]]]))


def test_leave_one_out_does_not_mix_time_steps():
    value = torch.tensor([[[1.0, 2.0], [30.0, 40.0]]])
    close(leave_one_out(value, torch.ones(1, 2, 2, dtype=torch.bool)), torch.tensor([[[2.0, 1.0], [40.0, 30.0]]]))


def test_leave_one_out_of_groups_takes_the_others_of_ones_own_group():
    value, valid = torch.tensor([[[3.0, 5.0, 10.0, 60.0, 20.0, 40.0]]]), torch.ones(1, 1, 6, dtype=torch.bool)
    # (5 + 10) / 2, (3 + 10) / 2, (3 + 5) / 2; (20 + 40) / 2, (60 + 40) / 2, (60 + 20) / 2
    close(leave_one_out(value, valid, 3), torch.tensor([[[7.5, 6.5, 4.0, 30.0, 50.0, 40.0]]]))
    # pairs: each has the other's
    close(leave_one_out(value, valid, 2), torch.tensor([[[5.0, 3.0, 60.0, 10.0, 40.0, 20.0]]]))


def test_leave_one_out_of_groups_counts_an_ended_peer_as_zero_in_its_own_group_alone():
    value = torch.tensor([[[NAN, 2.0, 4.0, 10.0, 20.0, NAN], [NAN, NAN, 6.0, NAN, NAN, NAN]]])
    # (2 + 4) / 2, (0 + 4) / 2, (0 + 2) / 2; (20 + 0) / 2, (10 + 0) / 2, (10 + 20) / 2; then 6 / 2, 6 / 2, 0 / 2
    expected = torch.tensor([[[3.0, 2.0, 1.0, 10.0, 5.0, 15.0], [3.0, 3.0, 0.0, 0.0, 0.0, 0.0]]])
    close(leave_one_out(value, ~value.isnan(), 3), expected)


def test_leave_one_out_of_groups_keeps_seeds_apart():
    value = torch.tensor([[[1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0, 7.0, 8.0]]])
    expected = torch.tensor([[[2.0, 1.0, 4.0, 3.0]], [[6.0, 5.0, 8.0, 7.0]]])
    close(leave_one_out(value, torch.ones(2, 1, 4, dtype=torch.bool), 2), expected)


# Two seeds of two groups of three
GROUPS = torch.tensor([[1.0, 2.0, 3.0, 40.0, 40.0, 10.0], [5.0, 5.0, 5.0, 0.0, 3.0, -3.0]])


def test_group_mean_is_each_groups_for_each_of_its_members():
    # (1 + 2 + 3) / 3, (40 + 40 + 10) / 3; 5, (0 + 3 - 3) / 3
    close(group_mean(GROUPS, 3), torch.tensor([[2.0, 2, 2, 30, 30, 30], [5, 5, 5, 0, 0, 0]]))


def test_group_deviation_is_each_groups_with_bessels_correction():
    # squares (1 + 0 + 1) / 2 = 1, (100 + 100 + 400) / 2 = 300; 0, (0 + 9 + 9) / 2 = 9
    wide = math.sqrt(300)
    close(group_deviation(GROUPS, 3), torch.tensor([[1.0, 1, 1, wide, wide, wide], [0, 0, 0, 3, 3, 3]]))


def test_has_spread_says_for_each_member_whether_its_group_differs_at_all():
    assert has_spread(GROUPS, 3).tolist() == [[True] * 6, [False] * 3 + [True] * 3]
    pairs = [[True, True, True, True, True, True], [False, False, True, True, True, True]]
    assert has_spread(GROUPS, 2).tolist() == pairs


def test_has_spread_sees_the_least_difference_and_nothing_in_equal_numbers():
    third = 1 / 3
    # 1e-30 squared is less than the least float32: a deviation would not see it
    value = torch.tensor([[third, third, third, 500.0, 500.0, 499.99997, 0.0, 0.0, 1e-30]])
    assert has_spread(value, 3).tolist() == [[False] * 3 + [True] * 6]


def test_deviation_is_over_the_rows_of_the_mask_with_bessels_correction():
    value = torch.tensor([[1.0, 99.0, 3.0, 5.0], [2.0, 4.0, NAN, math.inf]])
    mask = torch.tensor([[True, False, True, True], [True, True, False, False]])
    # mean 3, squares (4 + 0 + 4) / 2 = 4; mean 3, squares (1 + 1) / 1 = 2
    close(deviation(value, mask), torch.tensor([2.0, math.sqrt(2)]))


def test_deviation_of_fewer_than_two_rows_is_zero():
    value = torch.tensor([[NAN, 7.0, NAN], [NAN, NAN, NAN], [1.0, 2.0, 3.0]])
    mask = torch.tensor([[False, True, False], [False, False, False], [False, False, True]])
    assert deviation(value, mask).tolist() == [0.0, 0.0, 0.0]


def test_normalize_divides_by_the_standard_deviation_with_bessels_correction():
    # mean 2, variance (1 + 0 + 1) / (3 - 1) = 1
    close(normalize(torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3)), torch.tensor([[-1.0, 0.0, 1.0]]))


def test_normalize_leaves_rows_of_weight_zero_out_and_sets_them_to_zero():
    # mean (1 + 3) / 2 = 2, variance (1 + 1) / (2 - 1) = 2
    half = 1 / math.sqrt(2)
    close(normalize(torch.tensor([[1.0, 99.0, 3.0]]), torch.tensor([[1.0, 0, 1]])), torch.tensor([[-half, 0, half]]))


def test_normalize_treats_each_minibatch_alone():
    value = torch.tensor([[[1.0, 3.0], [10.0, 30.0]], [[5.0, 5.0], [0.0, -2.0]]])
    half = 1 / math.sqrt(2)
    expected = torch.tensor([[[-half, half], [-half, half]], [[0.0, 0.0], [half, -half]]])
    close(normalize(value, torch.ones(2, 2, 2)), expected)


def test_normalize_only_centres_a_single_row():
    close(normalize(torch.tensor([[7.0, 5.0]]), torch.tensor([[1.0, 0.0]])), torch.zeros(1, 2))


def test_normalize_of_no_rows_is_zero():
    close(normalize(torch.tensor([[7.0, 5.0]]), torch.zeros(1, 2)), torch.zeros(1, 2))
