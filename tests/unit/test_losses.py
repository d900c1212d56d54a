"""Losses and KL estimators against numbers worked out by hand; gradients are with respect to the first argument."""

import math
from collections.abc import Callable

import pytest
import torch
from members import per_seed
from tensors import close
from torch import Tensor

from cartpole_cli.algorithms import losses

pytestmark = pytest.mark.shapes

LN2, LN3 = math.log(2), math.log(3)


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


@pytest.mark.parametrize(
    ("ratio", "advantage", "expected_loss", "expected_gradient"),
    [
        # clip range 0.2 below, 0.5 above
        (1.4, 2.0, -2.8, -2.8),  # inside, though more than 0.2 above: 1.4*2
        (1.8, 2.0, -3.0, 0.0),  # above: min(1.8*2, 1.5*2) = 3, clipped
        (1.8, -2.0, 3.6, 3.6),  # above, worth less: min(1.8*-2, 1.5*-2) = -3.6, still pushed back down
        (0.7, -2.0, 1.6, 0.0),  # below, though less than 0.5: min(0.7*-2, 0.8*-2) = -1.6, clipped
        (0.7, 2.0, -1.4, -1.4),  # below, worth more: min(0.7*2, 0.8*2) = 1.4, still pulled back up
    ],
)
def test_clipped_surrogate_with_another_range_above(
    ratio: float, advantage: float, expected_loss: float, expected_gradient: float
):
    value, gradient = value_and_gradient(
        lambda log_ratio: losses.clipped_surrogate(
            log_ratio, torch.tensor([[advantage]]), torch.tensor([0.2]), torch.ones(1, 1), torch.tensor([0.5])
        ),
        torch.tensor([[ratio]]).log(),
    )
    close(value, [expected_loss])
    close(gradient, [[expected_gradient]])


def test_clipped_surrogate_uses_each_seeds_own_range_above():
    log_ratio, low = torch.full((2, 1), LN2), torch.tensor([0.1, 0.1])
    value = losses.clipped_surrogate(log_ratio, torch.ones(2, 1), low, torch.ones(2, 1), torch.tensor([0.2, 0.4]))
    close(value, [-1.2, -1.4])


E20 = 485165195.40979  # e^20, where log ratios are held


def test_the_surrogate_of_a_huge_log_ratio_is_that_of_the_limit_and_its_gradient_zero():
    # The branches that no clip range holds: ratio e^20 times -1, ratio e^-20 times 1; exp(200) would be inf.
    for log_ratio, advantage, expected in [(200.0, -1.0, E20), (-200.0, 1.0, -1 / E20)]:
        value, gradient = value_and_gradient(
            lambda x, a=advantage: losses.clipped_surrogate(
                x, torch.tensor([[a]]), torch.tensor([0.2]), torch.ones(1, 1)
            ),
            torch.tensor([[log_ratio]]),
        )
        torch.testing.assert_close(value, torch.tensor([expected]), rtol=1e-6, atol=0)
        assert gradient.item() == 0.0


def test_k3_of_a_huge_log_ratio_is_that_of_the_limit_and_its_gradient_zero():
    # e^20 - 1 - 20, and e^-20 - 1 + 20 = 19 to eight digits; at the limit's inside the gradient is still e^x - 1
    value, gradient = value_and_gradient(losses.kl_k3, torch.tensor([[200.0, -200.0, -19.0]]))
    torch.testing.assert_close(value, torch.tensor([[E20 - 21, 19.0, 18.0]]), rtol=1e-6, atol=0)
    close(gradient, [[0.0, 0.0, -1.0]])


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
        lambda v: losses.clipped_value_loss(v, old_value, torch.tensor([[target]]), torch.ones(1), weight),
        torch.tensor([[value]]),
    )
    close(loss, [expected_loss])
    close(gradient, [[expected_gradient]])
    if expected_gradient == 0.0:
        assert gradient.item() == 0.0


def test_clipped_value_loss_clips_around_the_old_value():
    # old 10, range 0.5, value 12 -> held at 10.5; target 12: max(0, 1.5^2) / 2
    loss = losses.clipped_value_loss(
        torch.tensor([[12.0]]), torch.tensor([[10.0]]), torch.tensor([[12.0]]), torch.tensor([0.5]), torch.ones(1, 1)
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


def test_k3_and_its_gradient():
    # gradient e^x - 1: 2 - 1, 1/2 - 1, 0
    _, gradient = value_and_gradient(losses.kl_k3, torch.tensor([[LN2, -LN2, 0.0]]))
    close(gradient, [[1.0, -0.5, 0.0]])


def test_k2_is_half_the_squared_log_ratio_and_its_gradient_the_log_ratio():
    value, gradient = value_and_gradient(losses.kl_k2, torch.tensor([[3.0, -0.5, 0.0]]))
    close(value, [[4.5, 0.125, 0.0]])
    close(gradient, [[3.0, -0.5, 0.0]])


def test_log_sigmoid_and_its_gradient():
    # sigmoid is 3/4 at ln 3 and 1/4 at -ln 3; the gradient is 1 - sigmoid
    value, gradient = value_and_gradient(losses.log_sigmoid, torch.tensor([0.0, LN3, -LN3]))
    close(value, [-LN2, math.log(0.75), math.log(0.25)])
    close(gradient, [0.5, 0.25, 0.75])


def test_log_sigmoid_at_its_extremes():
    # -e^-200 is less than the least float32; log(1 / (1 + e^200)) = -200 - e^-200
    value, gradient = value_and_gradient(losses.log_sigmoid, torch.tensor([200.0, -200.0]))
    assert value.tolist() == [0.0, -200.0]
    assert gradient.tolist() == [0.0, 1.0]


def dpo_sigmoid(margin: Tensor, beta: float, error: float = 0.0) -> Tensor:
    return losses.dpo_sigmoid(margin, *(per_seed(number, margin) for number in (beta, error, 1 - error)))


def dpo_robust(margin: Tensor, beta: float, error: float) -> Tensor:
    numbers = (beta, error, 1 - error, 1 - 2 * error)
    return losses.dpo_robust(margin, *(per_seed(number, margin) for number in numbers))


# The margins' beta h is +-ln 3, where sigmoid is 3/4 and 1/4; beta is 1/2.
MARGIN = torch.tensor([[2 * LN3, -2 * LN3]])


def test_dpo_sigmoid_and_its_gradient():
    # -ln 3/4 and -ln 1/4; gradient -beta sigmoid(-beta h)
    value, gradient = value_and_gradient(lambda margin: dpo_sigmoid(margin, 0.5), MARGIN)
    close(value, [[math.log(4 / 3), math.log(4)]])
    close(gradient, [[-0.125, -0.375]])


def test_dpo_sigmoid_with_label_smoothing_counts_the_wrong_way_too():
    # 0.9 of the one and 0.1 of the other; gradient beta (-0.9 sigmoid(-beta h) + 0.1 sigmoid(beta h)):
    # (-0.9/4 + 0.1*3/4) / 2, (-0.9*3/4 + 0.1/4) / 2
    value, gradient = value_and_gradient(lambda margin: dpo_sigmoid(margin, 0.5, 0.1), MARGIN)
    close(value, [[0.9 * math.log(4 / 3) + 0.1 * math.log(4), 0.9 * math.log(4) + 0.1 * math.log(4 / 3)]])
    close(gradient, [[-0.075, -0.325]])


def test_dpo_sigmoid_with_label_smoothing_is_least_where_the_policy_errs_as_often_as_the_labels():
    # a quarter of labels wrong: sigmoid(beta h) = 3/4
    _, gradient = value_and_gradient(lambda margin: dpo_sigmoid(margin, 0.5, 0.25), MARGIN)
    close(gradient[:, 0], [0.0])


def test_dpo_robust_and_its_gradient():
    # e = 1/4: (0.75 * ln(4/3) - 0.25 * ln 4) / 0.5, (0.75 * ln 4 - 0.25 * ln(4/3)) / 0.5; gradient
    # beta (-0.75 sigmoid(-beta h) - 0.25 sigmoid(beta h)) / 0.5 = -0.75/4 - 0.25*3/4, -0.75*3/4 - 0.25/4
    value, gradient = value_and_gradient(lambda margin: dpo_robust(margin, 0.5, 0.25), MARGIN)
    right, wrong = math.log(4 / 3), math.log(4)
    close(value, [[1.5 * right - 0.5 * wrong, 1.5 * wrong - 0.5 * right]])
    close(gradient, [[-0.375, -0.625]])


def test_dpo_robust_averages_over_wrong_labels_to_the_loss_of_the_right_ones():
    robust = dpo_robust(MARGIN, 0.5, 0.2)
    of_wrong_labels = dpo_robust(-MARGIN, 0.5, 0.2)
    close(0.8 * robust + 0.2 * of_wrong_labels, [[math.log(4 / 3), math.log(4)]])


def test_dpo_robust_without_wrong_labels_is_dpo_sigmoid():
    close(dpo_robust(MARGIN, 0.5, 0.0), [[math.log(4 / 3), math.log(4)]])


def test_dpo_sigmoid_and_robust_stay_finite_at_extreme_margins():
    # beta h = +-200: -log sigmoid is 0 and 200; robust (0.75*0 - 0.25*200) / 0.5 and (0.75*200 - 0) / 0.5
    margin = torch.tensor([[400.0, -400.0]])
    value, gradient = value_and_gradient(lambda x: dpo_sigmoid(x, 0.5), margin)
    close(value, [[0.0, 200.0]])
    close(gradient, [[0.0, -0.5]])
    value, gradient = value_and_gradient(lambda x: dpo_robust(x, 0.5, 0.25), margin)
    close(value, [[-100.0, 300.0]])
    close(gradient, [[-0.25, -0.75]])


def test_dpo_ipo_is_the_squared_distance_from_half_the_temperature():
    # beta = 1/4: 1 / (2 beta) = 2; gradient 2 (h - 2)
    value, gradient = value_and_gradient(
        lambda margin: losses.dpo_ipo(margin, per_seed(1 / (2 * 0.25), margin)), torch.tensor([[3.0, 2.0, -1.0]])
    )
    close(value, [[1.0, 0.0, 9.0]])
    close(gradient, [[2.0, 0.0, -6.0]])


def test_dpo_hinge_asks_for_a_margin_of_the_temperature_and_no_more():
    # beta = 1/2: 1 - h/2 up to h = 2
    value, gradient = value_and_gradient(
        lambda margin: losses.dpo_hinge(margin, per_seed(0.5, margin)), torch.tensor([[0.0, 1.0, -2.0, 4.0]])
    )
    close(value, [[1.0, 0.5, 2.0, 0.0]])
    close(gradient, [[-0.5, -0.5, -0.5, 0.0]])


# Each takes (x, y, weight); x is what is differentiated. Huge, but no term overflows: e^80 * 100 < 3e38.
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor, Tensor], Tensor], float]] = {
    "policy_gradient": (losses.policy_gradient, 1e18),
    "clipped_surrogate": (
        lambda x, y, w: losses.clipped_surrogate(x, y, torch.full((x.shape[0],), 0.2), w),
        80.0,
    ),
    "value_loss": (losses.value_loss, 1e18),
    "clipped_value_loss": (
        lambda x, y, w: losses.clipped_value_loss(x, torch.zeros_like(x), y, per_seed(0.5, x), w),
        1e18,
    ),
    "kl_k3": (lambda x, y, w: losses.weighted_sum(y * losses.kl_k3(x), w), 80.0),
    "clipped_surrogate with another range above": (
        lambda x, y, w: losses.clipped_surrogate(x, y, x.new_full(x.shape[:1], 0.2), w, x.new_full(x.shape[:1], 0.5)),
        80.0,
    ),
    "kl_k2": (lambda x, y, w: losses.weighted_sum(y * losses.kl_k2(x), w), 1e17),
    "dpo_sigmoid": (lambda x, y, w: losses.weighted_sum(y * dpo_sigmoid(x, 0.5, 0.1), w), 1e18),
    "dpo_robust": (lambda x, y, w: losses.weighted_sum(y * dpo_robust(x, 0.5, 0.1), w), 1e18),
    "dpo_ipo": (lambda x, y, w: losses.weighted_sum(y * losses.dpo_ipo(x, per_seed(1 / (2 * 0.5), x)), w), 1e17),
    "dpo_hinge": (lambda x, y, w: losses.weighted_sum(y * losses.dpo_hinge(x, per_seed(0.5, x)), w), 1e18),
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
