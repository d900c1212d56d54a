"""Losses and KL estimators against numbers worked out by hand; gradients are with respect to the first argument."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cartpole_cli.algorithms import losses

LN2 = math.log(2)


def close(actual: Tensor, expected: Tensor | list[float] | list[list[float]]) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=1e-6, atol=1e-6)


def value_and_gradient(loss: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    at = at.clone().requires_grad_()
    value = loss(at)
    (gradient,) = torch.autograd.grad(value.sum(), at)
    return value.detach(), gradient


def test_weighted_sum_adds_up_each_seed():
    value, weight = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    close(losses.weighted_sum(value, weight), [1.5, 3.75])


def test_policy_gradient_and_its_gradient():
    advantage, weight = torch.tensor([[2.0, -4.0]]), torch.tensor([[0.75, 0.25]])
    # -(0.75 * 2 * -1 + 0.25 * -4 * -3) = -(-1.5 + 3); gradient -weight * advantage
    value, gradient = value_and_gradient(
        lambda log_prob: losses.policy_gradient(log_prob, advantage, weight), torch.tensor([[-1.0, -3.0]])
    )
    close(value, [-1.5])
    close(gradient, [[-1.5, 1.0]])


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected_loss", "expected_gradient"),
    [
        # clip range 0.2; d ratio / d log_ratio = ratio
        (0.5, 2.0, -1.0, -1.0),  # below, worth more: min(0.5*2, 0.8*2) = 1, still pulled back up
        (0.9, 2.0, -1.8, -1.8),  # inside: 0.9*2
        (1.5, 2.0, -2.4, 0.0),  # above: min(1.5*2, 1.2*2) = 2.4, clipped
        (0.5, -2.0, 1.6, 0.0),  # below: min(0.5*-2, 0.8*-2) = -1.6, clipped
        (0.9, -2.0, 1.8, 1.8),  # inside: 0.9*-2
        (1.5, -2.0, 3.0, 3.0),  # above, worth less: min(1.5*-2, 1.2*-2) = -3, still pushed back down
    ],
)
def test_clipped_surrogate_below_inside_and_above_the_clip_range(
    ratio: float, advantage: float, expected_loss: float, expected_gradient: float
):
    value, gradient = value_and_gradient(
        lambda log_ratio: losses.clipped_surrogate(
            log_ratio, torch.tensor([[advantage]]), torch.tensor([0.2]), torch.ones(1, 1)
        ),
        torch.tensor([[ratio]]).log(),
    )
    close(value, [expected_loss])
    close(gradient, [[expected_gradient]])
    if expected_gradient == 0.0:
        assert gradient.item() == 0.0


def test_clipped_surrogate_has_the_whole_gradient_at_ratio_one_even_with_a_clip_range_of_zero():
    _, gradient = value_and_gradient(
        lambda log_ratio: losses.clipped_surrogate(
            log_ratio, torch.tensor([[2.0], [2.0]]), torch.tensor([0.2, 0.0]), torch.ones(2, 1)
        ),
        torch.zeros(2, 1),
    )
    close(gradient, [[-2.0], [-2.0]])


def test_clipped_surrogate_uses_each_seeds_own_clip_range():
    log_ratio = torch.full((2, 1), math.log(1.5))
    value = losses.clipped_surrogate(log_ratio, torch.ones(2, 1), torch.tensor([0.2, 0.4]), torch.ones(2, 1))
    close(value, [-1.2, -1.4])


def test_clipped_surrogate_weighs_its_rows():
    log_ratio, advantage = torch.zeros(1, 2), torch.tensor([[1.0, 5.0]])
    weight = torch.tensor([[0.25, 0.75]])
    close(losses.clipped_surrogate(log_ratio, advantage, torch.tensor([0.2]), weight), [-4.0])  # -(0.25 + 3.75)


def test_value_loss_and_its_gradient():
    target, weight = torch.tensor([[2.0, 1.0]]), torch.tensor([[0.25, 0.75]])
    # (0.25 * (1-2)^2 + 0.75 * (3-1)^2) / 2 = 3.25 / 2; gradient weight * (value - target)
    value, gradient = value_and_gradient(lambda v: losses.value_loss(v, target, weight), torch.tensor([[1.0, 3.0]]))
    close(value, [1.625])
    close(gradient, [[-0.25, 1.5]])


@pytest.mark.parametrize(
    ("value", "target", "expected_loss", "expected_gradient"),
    [
        # old value 0, clip range 1
        (0.5, 2.0, 1.125, -1.5),  # inside: (0.5-2)^2 / 2
        (3.0, 4.0, 4.5, 0.0),  # far towards the target: max((3-4)^2, (1-4)^2) / 2, the clipped branch
        (-3.0, -4.0, 4.5, 0.0),  # the same downwards
        (3.0, -1.0, 8.0, 4.0),  # far away from the target: max((3+1)^2, (1+1)^2) / 2, the plain branch
    ],
)
def test_clipped_value_loss_takes_the_worse_of_both_branches(
    value: float, target: float, expected_loss: float, expected_gradient: float
):
    old_value, weight = torch.zeros(1, 1), torch.ones(1, 1)
    loss, gradient = value_and_gradient(
        lambda v: losses.clipped_value_loss(v, old_value, torch.tensor([[target]]), 1.0, weight),
        torch.tensor([[value]]),
    )
    close(loss, [expected_loss])
    close(gradient, [[expected_gradient]])
    if expected_gradient == 0.0:
        assert gradient.item() == 0.0


def test_clipped_value_loss_clips_around_the_old_value():
    # old 10, range 0.5, value 12 -> held at 10.5; target 12: max(0, 1.5^2) / 2
    loss = losses.clipped_value_loss(
        torch.tensor([[12.0]]), torch.tensor([[10.0]]), torch.tensor([[12.0]]), 0.5, torch.ones(1, 1)
    )
    close(loss, [1.125])


def test_k3_is_ratio_minus_one_minus_log_ratio():
    # 2 - 1 - ln 2, 1/2 - 1 + ln 2, 0
    close(losses.kl_k3(torch.tensor([[LN2, -LN2, 0.0]])), [[1 - LN2, LN2 - 0.5, 0.0]])


def test_k3_keeps_its_digits_near_zero():
    # x^2/2 + x^3/6 at x = +-1e-3; 1 + x in float32 would leave no more than four digits of it
    estimate = losses.kl_k3(torch.tensor([[1e-3, -1e-3]]))
    torch.testing.assert_close(estimate, torch.tensor([[5.001667e-7, 4.998334e-7]]), rtol=1e-3, atol=0)


def test_k3_averages_to_kl_of_old_from_new_under_the_old_policy():
    old, new = torch.tensor([[0.5, 0.25, 0.25]]), torch.tensor([[0.2, 0.2, 0.6]])
    expected = (old * (old / new).log()).sum(dim=1)
    close(losses.weighted_sum(losses.kl_k3((new / old).log()), old), expected)


# Each takes (x, y, weight); x is what is differentiated. Huge, but no term overflows: e^80 * 100 < 3e38.
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], float]] = {
    "policy_gradient": (losses.policy_gradient, 1e18),
    "clipped_surrogate": (
        lambda x, y, w: losses.clipped_surrogate(x, y, torch.full((x.shape[0],), 0.2), w),
        80.0,
    ),
    "value_loss": (losses.value_loss, 1e18),
    "clipped_value_loss": (lambda x, y, w: losses.clipped_value_loss(x, torch.zeros_like(x), y, 0.5, w), 1e18),
    "kl_k3": (lambda x, y, w: losses.weighted_sum(y * losses.kl_k3(x), w), 80.0),
}


@pytest.mark.parametrize("name", LOSSES)
def test_padding_of_weight_zero_adds_nothing_to_value_and_gradient_however_huge(name: str):
    loss, huge = LOSSES[name]
    x, y, weight = torch.tensor([[0.3, -0.4]]), torch.tensor([[1.5, -2.0]]), torch.tensor([[0.5, 0.5]])
    value, gradient = value_and_gradient(lambda x: loss(x, y, weight), x)
    padded = torch.tensor([[0.3, huge, -0.4, -huge]])
    padded_y, padded_weight = torch.tensor([[1.5, 100.0, -2.0, -100.0]]), torch.tensor([[0.5, 0.0, 0.5, 0.0]])
    padded_value, padded_gradient = value_and_gradient(lambda x: loss(x, padded_y, padded_weight), padded)
    close(padded_value, value)
    close(padded_gradient[:, ::2], gradient)
    assert torch.equal(padded_gradient[:, 1::2], torch.zeros(1, 2))


@pytest.mark.parametrize("name", LOSSES)
def test_each_seed_is_alone(name: str):
    loss, _ = LOSSES[name]
    x, y = torch.tensor([[0.3, -0.4], [0.9, 0.1]]), torch.tensor([[1.5, -2.0], [-0.7, 3.0]])
    weight = torch.tensor([[0.5, 0.5], [0.3, 0.7]])
    value, gradient = value_and_gradient(lambda x: loss(x, y, weight), x)
    assert value.shape == (2,)
    for seed in range(2):
        row = slice(seed, seed + 1)
        solo_value, solo_gradient = value_and_gradient(
            lambda x, row=row: loss(x, y[row], weight[row]),
            x[row],
        )
        assert torch.equal(value[row], solo_value)
        assert torch.equal(gradient[row], solo_gradient)
