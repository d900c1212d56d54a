"""Pairs, windows and a noisy rater, by hand."""

import math

import pytest
import torch
from members import per_seed

from cartpole_cli.algorithms.preferences import bradley_terry_errs, make_pairs, of_pairs, windows

pytestmark = pytest.mark.shapes

# Two seeds, two groups of four. In order of return, the first of equals first:
# seed 0: episodes 1 (9), 2 (5), 0 (3), 3 (1) and 6 (7), 4, 5, 7 (2 each)
# seed 1: episodes 0, 1, 2, 3 (4 each)        and 7 (4), 6 (3), 5 (2), 4 (1)
RETURNS = torch.tensor([[3.0, 9, 5, 1, 2, 2, 7, 2], [4.0, 4, 4, 4, 1, 2, 3, 4]])
BEST_WORST = [[[[1, 3], [2, 0]], [[6, 7], [4, 5]]], [[[0, 3], [1, 2]], [[7, 4], [6, 5]]]]
# Margins between ranks (0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3), of which the widest comes first, and of equals
# the one that is earlier in this list:
ALL = [
    [
        [[1, 3], [1, 0], [1, 2], [2, 3], [2, 0], [0, 3]],  # 4, 6, 8, 2, 4, 2
        [[6, 4], [6, 5], [6, 7], [4, 5], [4, 7], [5, 7]],  # 5, 5, 5, 0, 0, 0
    ],
    [
        [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]],  # 0 six times
        [[7, 4], [7, 5], [6, 4], [7, 6], [6, 5], [5, 4]],  # 1, 2, 3, 1, 2, 1
    ],
]


def test_the_best_meets_the_worst_and_the_second_best_the_second_worst():
    assert make_pairs(RETURNS, 4, "best_worst", 8).tolist() == BEST_WORST


def test_all_meet_all_the_widest_margin_first_and_ties_are_among_them():
    assert make_pairs(RETURNS, 4, "all", 8).tolist() == ALL


@pytest.mark.parametrize("max_pairs", [1, 2, 4])
def test_max_pairs_keeps_the_first_of_each_group(max_pairs: int):
    best_worst = make_pairs(RETURNS, 4, "best_worst", max_pairs).tolist()
    everyone = make_pairs(RETURNS, 4, "all", max_pairs).tolist()
    assert best_worst == [[group[:max_pairs] for group in seed] for seed in BEST_WORST]
    assert everyone == [[group[:max_pairs] for group in seed] for seed in ALL]


def test_the_middle_one_of_an_odd_group_sits_out_best_worst():
    returns = torch.tensor([[1.0, 3, 2, 5, 6, 4]])
    assert make_pairs(returns, 3, "best_worst", 8).tolist() == [[[[1, 0]], [[4, 5]]]]
    assert make_pairs(returns, 3, "all", 8).tolist() == [[[[1, 0], [1, 2], [2, 0]], [[4, 5], [4, 3], [3, 5]]]]


def test_equal_returns_stay_in_the_order_of_episodes_in_large_groups_too():
    returns = torch.ones(1, 128)
    assert make_pairs(returns, 128, "best_worst", 64).tolist() == [[[[i, 127 - i] for i in range(64)]]]
    assert make_pairs(returns, 128, "all", 127).tolist() == [[[[0, i] for i in range(1, 128)]]]


def test_of_pairs_looks_episodes_up():
    pairs = make_pairs(RETURNS, 4, "best_worst", 8)
    assert of_pairs(RETURNS, pairs).tolist() == [
        [[[9.0, 1], [5, 3]], [[7, 2], [2, 2]]],
        [[[4, 4], [4, 4]], [[4, 1], [3, 2]]],
    ]
    number = torch.arange(16).view(2, 8)
    assert of_pairs(number, pairs)[1].tolist() == [[[8, 11], [9, 10]], [[15, 12], [14, 13]]]


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        ("same_length", [[0, 0], [0, 0], [0, 0], [0, 0]], [[3, 3], [2, 2], [4, 4], [7, 7]]),
        # The last 4 before the shorter one's end; all of an episode of 3 or 2.
        ("last_k", [[0, 0], [0, 0], [0, 0], [3, 3]], [[3, 3], [2, 2], [4, 4], [7, 7]]),
        ("full", [[0, 0], [0, 0], [0, 0], [0, 0]], [[9, 3], [2, 5], [4, 4], [8, 7]]),
    ],
)
def test_windows_of_pairs_by_hand(kind: str, start: list[list[int]], end: list[list[int]]):
    length = torch.tensor([[9, 3], [2, 5], [4, 4], [8, 7]])
    first, last = windows(length, kind, 4)
    assert first.tolist() == start
    assert last.tolist() == end


def test_last_k_of_one_step_is_the_shorter_ones_last():
    first, last = windows(torch.tensor([[[[9, 3]], [[1, 5]]]]), "last_k", 1)
    assert first.tolist() == [[[[2, 2]], [[0, 0]]]]
    assert last.tolist() == [[[[3, 3]], [[1, 1]]]]


@pytest.mark.parametrize("temperature", [0.5, 10.0])
@pytest.mark.parametrize(("odds", "probability"), [(1.0, 0.5), (3.0, 0.25), (9.0, 0.1), (1 / 3, 0.75)])
def test_the_rater_errs_below_the_bradley_terry_probability(temperature: float, odds: float, probability: float):
    # A margin of T ln(odds): 1 / (1 + exp(ln odds)) = 1 / (1 + odds)
    margin = torch.full((1, 1, 4), temperature * math.log(odds))
    noise = torch.tensor([[[0.0, probability - 1e-4, probability + 1e-4, 1 - 2**-24]]])
    assert bradley_terry_errs(margin, per_seed(temperature, margin), noise).tolist() == [[[True, True, False, False]]]


def test_the_share_of_errors_is_the_bradley_terry_probability():
    # 1 / (1 + e) = 0.26894 at a margin of T: the noises 0.0005, 0.0015, ... 0.2685 are below it, 269 of 1000.
    noise = (torch.arange(1000.0) + 0.5).unsqueeze(0) / 1000
    assert bradley_terry_errs(torch.full((1, 1000), 10.0), torch.tensor([10.0]), noise).sum() == 269


@pytest.mark.parametrize("margin", [100.0, 1e6, math.inf])
def test_the_rater_never_errs_about_a_huge_margin(margin: float):
    noise = torch.tensor([[0.0, 2**-24, 0.5, 1 - 2**-24]])
    errs = bradley_terry_errs(torch.full((1, 4), margin), torch.ones(1), noise)
    assert errs.dtype == torch.bool
    assert not errs.any()
