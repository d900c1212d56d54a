"""Adam over stacked parameters: torch's own Adam for each seed, and seeds that stay put."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from cartpole_cli.training.optimizer import Adam

pytestmark = pytest.mark.shapes

SHAPES = ((3, 2), (1, 2))
MAX_GRAD_NORM = 2.0
LEARNING_RATE = torch.tensor([0.01, 0.03])
BOTH = torch.tensor([True, True])


def stacked_parameters() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [nn.Parameter(torch.randn(2, *shape, generator=generator)) for shape in SHAPES]


def loss(parameters: list[Tensor], scale: tuple[float, ...] = (0.01, 10.0)) -> Tensor:
    """One number per seed; at these scales seed 0's gradient stays below MAX_GRAD_NORM and seed 1's does not."""
    per_parameter = [(p - 0.5).pow(4).flatten(1).sum(dim=1) for p in parameters]
    return torch.tensor(scale) * sum(per_parameter)


def adam(parameters: list[nn.Parameter], max_grad_norm: float = MAX_GRAD_NORM) -> Adam:
    return Adam(parameters, max_grad_norm=torch.full(parameters[0].shape[:1], max_grad_norm))


def step(
    optimizer: Adam, parameters: list[nn.Parameter], active: Tensor = BOTH, scale: tuple[float, ...] = (0.01, 10.0)
):
    optimizer.accumulate(loss(parameters, scale))
    return optimizer.step(active, LEARNING_RATE)


def snapshot(optimizer: Adam, parameters: list[nn.Parameter], seed: int) -> list[Tensor]:
    """All that belongs to a seed: parameters, both moments, powers of beta."""
    state = optimizer.state_dict()
    tensors = [p[seed] for p in parameters] + [state["first_moment"][seed], state["second_moment"][seed]]
    return [tensor.detach().clone() for tensor in [*tensors, state["beta_powers"][seed]]]


def equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def torch_adam(seed: int, num_steps: int) -> tuple[list[Tensor], list[float]]:
    """The parameters and gradient norms of one seed under torch.optim.Adam."""
    parameters = [nn.Parameter(p[seed].detach().clone()) for p in stacked_parameters()]
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE[seed].item(), eps=1e-5)
    norms = []
    for _ in range(num_steps):
        optimizer.zero_grad()
        loss([p.unsqueeze(0).expand(2, *p.shape) for p in parameters])[seed].backward()
        norms.append(nn.utils.clip_grad_norm_(parameters, MAX_GRAD_NORM).item())
        optimizer.step()
    return [p.detach() for p in parameters], norms


@pytest.mark.parametrize("num_steps", [1, 3, 20])
def test_steps_are_those_of_torch_adam_with_each_seeds_gradient_clipped(num_steps: int):
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    norms = torch.stack([step(optimizer, parameters) for _ in range(num_steps)])
    for seed in range(2):
        expected, expected_norms = torch_adam(seed, num_steps)
        assert (max(expected_norms) > MAX_GRAD_NORM) == (seed == 1)
        torch.testing.assert_close(norms[:, seed], torch.tensor(expected_norms), rtol=1e-4, atol=0)
        for ours, theirs in zip(parameters, expected, strict=True):
            torch.testing.assert_close(ours[seed].detach(), theirs, rtol=0, atol=num_steps * 1e-6)


def test_the_first_step_moves_each_seed_by_its_own_learning_rate():
    parameter = nn.Parameter(torch.zeros(2, 1))
    optimizer = adam([parameter])
    optimizer.accumulate(parameter.sum(dim=1))
    optimizer.step(BOTH, LEARNING_RATE)
    # gradient 1, below the clip: the step is rate * 1 / (1 + 1e-5)
    torch.testing.assert_close(parameter.detach(), -LEARNING_RATE.unsqueeze(1) / (1 + 1e-5), rtol=1e-5, atol=0)


def test_clipping_scales_the_whole_gradient_of_a_seed():
    # gradient (3, 4) of norm 5, clipped to norm 1: (0.6, 0.8); first moments after one step: a tenth of it
    parameter = nn.Parameter(torch.zeros(1, 2))
    optimizer = adam([parameter], max_grad_norm=1.0)
    optimizer.accumulate((parameter * torch.tensor([3.0, 4.0])).sum(dim=1))
    norm = optimizer.step(torch.tensor([True]), torch.tensor([0.01]))
    torch.testing.assert_close(norm, torch.tensor([5.0]))
    torch.testing.assert_close(optimizer.first_moment[:, :2], torch.tensor([[0.06, 0.08]]), rtol=1e-5, atol=0)
    torch.testing.assert_close(optimizer.second_moment[:, :2], torch.tensor([[0.36e-3, 0.64e-3]]), rtol=1e-5, atol=0)


def test_the_gradient_norm_is_that_before_clipping_over_all_parameters():
    first, second = nn.Parameter(torch.zeros(1, 1)), nn.Parameter(torch.zeros(1, 1))
    optimizer = adam([first, second], max_grad_norm=0.5)
    optimizer.accumulate((3 * first + 4 * second).sum(dim=1))
    assert optimizer.step(torch.tensor([True]), torch.tensor([0.01])).item() == 5.0


def test_an_inactive_seed_keeps_everything_bit_for_bit_while_the_other_moves():
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    step(optimizer, parameters)  # momentum, which a zero gradient would still follow
    still, moving = snapshot(optimizer, parameters, 1), snapshot(optimizer, parameters, 0)
    for _ in range(3):
        step(optimizer, parameters, torch.tensor([True, False]))
    assert equal(snapshot(optimizer, parameters, 1), still)
    assert not any(torch.equal(a, b) for a, b in zip(snapshot(optimizer, parameters, 0), moving, strict=True))


def test_a_seed_inactive_from_the_start_stays_finite_and_untouched():
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    before = snapshot(optimizer, parameters, 1)
    step(optimizer, parameters, torch.tensor([True, False]))
    assert equal(snapshot(optimizer, parameters, 1), before)


def test_a_seed_that_rested_goes_on_as_if_nothing_had_happened():
    rested, straight = stacked_parameters(), stacked_parameters()
    with_rest, without = adam(rested), adam(straight)
    for active in (True, False, False, True):
        step(with_rest, rested, torch.tensor([True, active]))
    for _ in range(2):
        step(without, straight)
    assert equal(snapshot(with_rest, rested, 1), snapshot(without, straight, 1))


def test_an_active_seed_moves_the_same_whether_the_other_is_active_or_not():
    alone, together = stacked_parameters(), stacked_parameters()
    one, both = adam(alone), adam(together)
    for _ in range(2):
        step(one, alone, torch.tensor([True, False]))
        step(both, together)
    assert equal(snapshot(one, alone, 0), snapshot(both, together, 0))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_gradient_that_is_not_finite_moves_nothing_of_its_seed_and_disturbs_no_other(bad: float):
    broken, sound = stacked_parameters(), stacked_parameters()
    of_broken, of_sound = adam(broken), adam(sound)
    step(of_broken, broken)
    step(of_sound, sound)
    before = snapshot(of_broken, broken, 0)
    norm = step(of_broken, broken, scale=(bad, 10.0))
    sound_norm = step(of_sound, sound)
    assert not norm[0].isfinite()
    assert norm[1] == sound_norm[1]
    assert equal(snapshot(of_broken, broken, 0), before)
    assert equal(snapshot(of_broken, broken, 1), snapshot(of_sound, sound, 1))


def test_a_gradient_that_is_not_finite_leaves_nothing_behind_for_the_next_step():
    broken, sound = stacked_parameters(), stacked_parameters()
    of_broken, of_sound = adam(broken), adam(sound)
    step(of_broken, broken, scale=(math.nan, 10.0))
    step(of_broken, broken)
    step(of_sound, sound)
    assert equal(snapshot(of_broken, broken, 0), snapshot(of_sound, sound, 0))


def test_two_accumulated_losses_make_the_step_of_their_sum():
    parts, whole = stacked_parameters(), stacked_parameters()
    of_parts, of_whole = adam(parts), adam(whole)
    of_parts.accumulate(loss(parts, (0.1, 4.0)))
    of_parts.accumulate(loss(parts, (0.2, 6.0)))
    norm = of_parts.step(BOTH, LEARNING_RATE)
    of_whole.accumulate(loss(whole, (0.1, 4.0)) + loss(whole, (0.2, 6.0)))
    torch.testing.assert_close(norm, of_whole.step(BOTH, LEARNING_RATE), rtol=1e-6, atol=0)
    for a, b in zip(parts, whole, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-7)


def test_a_step_uses_up_what_was_accumulated():
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    step(optimizer, parameters)
    assert optimizer.step(BOTH, LEARNING_RATE).tolist() == [0.0, 0.0]


def test_a_parameter_the_loss_does_not_use_has_gradient_zero():
    parameters = stacked_parameters()
    unused = parameters[1].detach().clone()
    optimizer = adam(parameters)
    optimizer.accumulate(loss(parameters[:1]))
    optimizer.step(BOTH, LEARNING_RATE)
    assert torch.equal(parameters[1], unused)
    assert not torch.equal(parameters[0], stacked_parameters()[0])


def test_making_an_optimizer_does_not_change_the_parameters():
    parameters = stacked_parameters()
    adam(parameters)
    assert equal(parameters, stacked_parameters())


def test_a_restored_state_goes_on_bit_for_bit():
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    step(optimizer, parameters)
    step(optimizer, parameters, torch.tensor([True, False]))
    saved = copy.deepcopy(optimizer.state_dict())
    restored_parameters = [nn.Parameter(p.detach().clone()) for p in parameters]
    restored = adam(restored_parameters)
    restored.load_state_dict(saved)
    for _ in range(2):
        step(optimizer, parameters)
        step(restored, restored_parameters)
    for seed in range(2):
        assert equal(snapshot(restored, restored_parameters, seed), snapshot(optimizer, parameters, seed))


def test_a_restored_optimizer_shares_no_memory_with_the_state_it_was_given():
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    step(optimizer, parameters)
    saved = copy.deepcopy(optimizer.state_dict())
    untouched = copy.deepcopy(saved)
    optimizer.load_state_dict(saved)
    step(optimizer, parameters)
    assert equal([*saved.values()], [*untouched.values()])


def kept(parameters: list[nn.Parameter], optimizer: Adam, places: list[int]) -> None:
    """As the trainer does it: the parameters first."""
    for parameter in parameters:
        parameter.data = parameter.data[places]
    optimizer.keep_seeds(places)


def test_a_seed_that_is_kept_goes_on_as_if_the_other_were_there():
    left, stayed = stacked_parameters(), stacked_parameters()
    one, both = adam(left), adam(stayed)
    for active in (BOTH, torch.tensor([True, False]), BOTH):
        step(one, left, active)
        step(both, stayed, active)
    kept(left, one, [1])
    assert (one.flat.shape[0], one.first_moment.shape[0], one.beta_powers.shape) == (1, 1, (2, 1))
    for _ in range(3):
        one.accumulate(loss(left, (10.0,)))
        norm = one.step(torch.tensor([True]), LEARNING_RATE[1:])
        assert torch.equal(norm, step(both, stayed)[1:])
        assert equal(snapshot(one, left, 0), snapshot(both, stayed, 1))


def test_seeds_that_are_kept_may_change_places():
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    step(optimizer, parameters)
    step(optimizer, parameters, torch.tensor([True, False]))
    before = [snapshot(optimizer, parameters, seed) for seed in (0, 1)]
    kept(parameters, optimizer, [1, 0])
    assert equal(snapshot(optimizer, parameters, 0), before[1])
    assert equal(snapshot(optimizer, parameters, 1), before[0])


def test_gradients_of_a_seed_that_left_are_forgotten_and_parameters_stay_views_of_one_matrix():
    parameters = stacked_parameters()
    optimizer = adam(parameters)
    optimizer.accumulate(loss(parameters))
    kept(parameters, optimizer, [0])
    assert optimizer.step(torch.tensor([True]), LEARNING_RATE[:1]).tolist() == [0.0]
    optimizer.flat.zero_()
    assert all(parameter.eq(0).all() for parameter in parameters)
