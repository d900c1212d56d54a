"""Distributions over actions, and what an environment gets."""

import math

import pytest
import torch
from tensors import close

from cartpole_cli.actions import Continuous
from cartpole_cli.policy.action_heads import LOG_STD_RANGE, Categorical, CategoricalHead, Gaussian, GaussianHead

pytestmark = pytest.mark.shapes

LN2 = math.log(2)


def categorical(*probabilities: float) -> Categorical:
    """A batch of one; the logits are not normalized."""
    return Categorical(torch.tensor([probabilities]).log() + 3.0)


def gaussian(mean: list[float], std: list[float]) -> Gaussian:
    return Gaussian(torch.tensor([mean]), torch.tensor([std]).log())


def random_categorical(seed: int) -> Categorical:
    return Categorical(torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(seed)) * 2)


def random_gaussian(seed: int) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(torch.randn(2, 7, 3, generator=generator), torch.randn(2, 1, 3, generator=generator) * 0.5)


def test_categorical_log_prob_is_that_of_the_action_taken():
    logits = torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]).log() - 2.0
    close(Categorical(logits).log_prob(torch.tensor([1, 2])), [math.log(0.25), math.log(0.7)])


def test_categorical_entropy_in_nats():
    # 0.5 ln 2 + 2 * 0.25 ln 4 = 1.5 ln 2
    close(categorical(0.5, 0.25, 0.25).entropy(), [1.5 * LN2])


def test_categorical_kl_is_of_self_from_other():
    # 0.5 ln (0.5/0.25) + 0.5 ln (0.5/0.75) = 0.5 ln (4/3); the other way 0.25 ln 0.5 + 0.75 ln 1.5
    even, uneven = categorical(0.5, 0.5), categorical(0.25, 0.75)
    close(even.kl(uneven), [0.5 * math.log(4 / 3)])
    close(uneven.kl(even), [0.25 * math.log(0.5) + 0.75 * math.log(1.5)])
    close(even.kl(even), [0.0])


def test_categorical_agrees_with_torch_distributions():
    ours, other = random_categorical(0), random_categorical(1)
    theirs = torch.distributions.Categorical(logits=ours.logits)
    action = theirs.probs.argmin(dim=-1)
    close(ours.log_prob(action), theirs.log_prob(action))
    close(ours.entropy(), theirs.entropy())
    expected = torch.distributions.kl_divergence(theirs, torch.distributions.Categorical(logits=other.logits))
    close(ours.kl(other), expected)


def test_categorical_sample_at_the_exact_boundaries_of_the_cumulative_probabilities():
    distribution = categorical(0.5, 0.25, 0.25)
    cumulative = distribution.log_probs[0].exp().cumsum(dim=0)
    below = torch.nextafter(cumulative, torch.tensor(0.0))
    last = 1 - 2**-24  # the largest float32 below 1
    for noise, action in [
        (0.0, 0),
        (below[0].item(), 0),
        (cumulative[0].item(), 1),
        (below[1].item(), 1),
        (cumulative[1].item(), 2),
        (last, 2),
    ]:
        assert distribution.sample(torch.tensor([noise])).item() == action


def test_categorical_never_samples_an_action_of_probability_zero():
    distribution = Categorical(torch.tensor([-200.0, 0.0, -200.0]).expand(3, 3))
    assert distribution.sample(torch.tensor([0.0, 0.5, 1 - 2**-24])).tolist() == [1, 1, 1]


def test_categorical_sample_has_the_distributions_frequencies():
    probabilities = torch.tensor([0.5, 0.2, 0.3])
    noise = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    action = Categorical(probabilities.log().expand(100_000, 3)).sample(noise)
    frequencies = action.bincount(minlength=3) / 100_000
    # five standard deviations: 5 * sqrt(0.25 / 100 000) = 0.008
    assert (frequencies - probabilities).abs().max() < 0.008


def test_categorical_mode_is_the_most_probable_action():
    assert Categorical(torch.tensor([[0.1, 2.0, -1.0], [0.1, 0.0, 0.3]])).mode().tolist() == [1, 2]


def test_gaussian_log_prob_sums_over_the_action_dimensions():
    # deviations (3-1)/1 = 2 and 0: -4/2 - ln 1 - ln 2 - 2 * 0.5 ln(2 pi)
    log_prob = gaussian([1.0, -1.0], [1.0, 2.0]).log_prob(torch.tensor([[3.0, -1.0]]))
    close(log_prob, [-2.0 - LN2 - math.log(2 * math.pi)])


def test_gaussian_log_prob_measures_deviations_in_standard_deviations():
    # deviation (3-1)/2 = 1: -1/2 - ln 2 - 0.5 ln(2 pi)
    close(gaussian([1.0], [2.0]).log_prob(torch.tensor([[3.0]])), [-0.5 - LN2 - 0.5 * math.log(2 * math.pi)])


def test_gaussian_entropy_sums_over_the_action_dimensions():
    # ln 1 + ln 2 + 2 * 0.5 ln(2 pi e)
    close(gaussian([1.0, -1.0], [1.0, 2.0]).entropy(), [LN2 + math.log(2 * math.pi * math.e)])


def test_gaussian_kl_is_of_self_from_other():
    # ln(s2/s1) + (s1^2 + (m1-m2)^2) / (2 s2^2) - 1/2: ln 2 + (1+1)/8 - 1/2; back: -ln 2 + (4+1)/2 - 1/2
    narrow, wide = gaussian([0.0], [1.0]), gaussian([1.0], [2.0])
    close(narrow.kl(wide), [LN2 - 0.25])
    close(wide.kl(narrow), [2.0 - LN2])
    close(wide.kl(wide), [0.0])


def test_gaussian_agrees_with_torch_distributions():
    ours, other = random_gaussian(0), random_gaussian(1)

    def theirs(distribution: Gaussian) -> torch.distributions.Distribution:
        normal = torch.distributions.Normal(distribution.mean, distribution.log_std.exp().expand(2, 7, 3))
        return torch.distributions.Independent(normal, 1)

    action = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(ours.log_prob(action), theirs(ours).log_prob(action), rtol=1e-5, atol=1e-5)
    close(ours.entropy(), theirs(ours).entropy())
    expected = torch.distributions.kl_divergence(theirs(ours), theirs(other))
    torch.testing.assert_close(ours.kl(other), expected, rtol=1e-5, atol=1e-5)


def test_gaussian_entropy_and_log_prob_have_one_number_per_row_though_the_deviation_is_shared():
    distribution = random_gaussian(0)
    assert distribution.entropy().shape == (2, 7)
    assert distribution.log_prob(distribution.mode()).shape == (2, 7)


def test_gaussian_sample_is_mean_plus_deviation_times_noise():
    # 1 + 1 * 0.5, -1 + 2 * -1.5
    close(gaussian([1.0, -1.0], [1.0, 2.0]).sample(torch.tensor([[0.5, -1.5]])), torch.tensor([[1.5, -4.0]]))


def test_gaussian_sample_has_the_distributions_mean_and_deviation():
    noise = torch.randn(100_000, 1, generator=torch.Generator().manual_seed(0))
    sample = Gaussian(torch.full((100_000, 1), 3.0), torch.tensor([[LN2]])).sample(noise)
    # five standard errors: 5 * 2 / sqrt(100 000) = 0.032, and 0.022 for the deviation
    assert abs(sample.mean().item() - 3.0) < 0.032
    assert abs(sample.std().item() - 2.0) < 0.022


def test_gaussian_mode_is_its_mean():
    close(gaussian([1.0, -1.0], [1.0, 2.0]).mode(), torch.tensor([[1.0, -1.0]]))


def test_categorical_parameters_are_the_logits():
    distribution = Categorical(torch.tensor([[0.5, -1.0, 2.0]]))
    assert distribution.parameters().tolist() == [[0.5, -1.0, 2.0]]


def test_gaussian_parameters_are_the_means_and_then_the_log_deviations_of_each_row():
    distribution = Gaussian(torch.tensor([[[1.0, -1.0], [3.0, 4.0]]]), torch.tensor([[[0.5, -0.25]]]))
    assert distribution.parameters().tolist() == [[[1.0, -1.0, 0.5, -0.25], [3.0, 4.0, 0.5, -0.25]]]


RANDOM = {"categorical": random_categorical, "gaussian": random_gaussian}


@pytest.mark.parametrize("kind", RANDOM)
def test_a_distribution_made_with_anothers_parameters_is_that_other(kind: str):
    other, maker = RANDOM[kind](0), RANDOM[kind](1)
    made = maker.with_parameters(other.parameters())
    assert type(made) is type(other)
    noise = torch.rand(2, 7, generator=torch.Generator().manual_seed(3))
    action = other.sample(noise if kind == "categorical" else noise.unsqueeze(-1).expand(2, 7, 3))
    assert torch.equal(made.parameters(), other.parameters())
    assert torch.equal(made.mode(), other.mode())
    close(made.log_prob(action), other.log_prob(action))
    close(made.entropy(), other.entropy())


@pytest.mark.parametrize("kind", RANDOM)
def test_kl_from_a_reference_made_of_parameters_is_kl_from_the_reference(kind: str):
    ours, reference = RANDOM[kind](0), RANDOM[kind](1)
    made = ours.with_parameters(reference.parameters())
    assert (ours.kl(reference) > 1e-3).all()
    close(ours.kl(made), ours.kl(reference))
    close(made.kl(ours), reference.kl(ours))
    close(ours.kl(ours.with_parameters(ours.parameters())), torch.zeros(2, 7))


@pytest.mark.parametrize("kind", RANDOM)
def test_parameters_of_some_rows_make_the_distributions_of_these_rows(kind: str):
    ours, reference = RANDOM[kind](0), RANDOM[kind](1)
    some = slice(2, 5)
    few, few_of_reference = (d.with_parameters(d.parameters()[:, some]) for d in (ours, reference))
    close(few.kl(few_of_reference), ours.kl(reference)[:, some])


def test_categorical_head_passes_the_action_on():
    head = CategoricalHead(3)
    action = torch.tensor([[0, 2]])
    assert head.num_outputs == 3
    assert torch.equal(head.environment_action(action), action)


def gaussian_head(
    squash: str, low: tuple[float, ...] = (-10.0,), high: tuple[float, ...] = (10.0,), initial_log_std: float = -0.5
) -> GaussianHead:
    return GaussianHead(Continuous(low, high), initial_log_std=torch.full((2,), initial_log_std), squash=squash)


def newtons(head: GaussianHead, raw: list[float]) -> list[float]:
    return head.environment_action(torch.tensor(raw).unsqueeze(-1)).squeeze(-1).tolist()


def test_clip_scales_to_newtons_and_stays_in_range():
    assert newtons(gaussian_head("clip"), [0.0, 0.5, -0.25, 1.0, 3.0, -3.0]) == [0.0, 5.0, -2.5, 10.0, 10.0, -10.0]


def test_clip_of_an_asymmetric_range_is_centred_between_its_ends():
    # -2 .. 6: center 2, half range 4
    head = gaussian_head("clip", (-2.0,), (6.0,))
    assert newtons(head, [0.0, 0.5, -1.0, 1.0, 7.0, -7.0]) == [2.0, 4.0, -2.0, 6.0, 6.0, -2.0]


def test_tanh_scales_to_newtons_and_stays_in_range():
    # tanh(ln(3)/2) = 1/2
    raw = 0.5 * math.log(3)
    assert newtons(gaussian_head("tanh"), [0.0, raw, -raw, 50.0, -50.0]) == pytest.approx([0, 5, -5, 10, -10], rel=1e-6)


def test_tanh_of_an_asymmetric_range_is_centred_between_its_ends():
    raw = 0.5 * math.log(3)
    head = gaussian_head("tanh", (-2.0,), (6.0,))
    assert newtons(head, [0.0, raw, -raw, 50.0, -50.0]) == pytest.approx([2, 4, 0, 6, -2], rel=1e-6, abs=1e-6)


def test_each_action_dimension_has_its_own_range():
    head = gaussian_head("clip", (-10.0, 0.0), (10.0, 2.0))
    assert head.num_outputs == 2
    # 0 + 10 * 0.5 and 1 + 1 * -0.5
    close(head.environment_action(torch.tensor([[0.5, -0.5]])), torch.tensor([[5.0, 0.5]]))


@pytest.mark.parametrize(("initial", "used"), [(-0.5, -0.5), (2.0, LOG_STD_RANGE[1]), (-9.0, LOG_STD_RANGE[0])])
def test_log_std_is_held_within_its_range(initial: float, used: float):
    distribution = gaussian_head("clip", initial_log_std=initial)(torch.zeros(2, 3, 1))
    assert torch.equal(distribution.log_std, torch.full((2, 1, 1), used))


def test_only_the_seeds_that_moved_are_brought_back_and_only_from_outside():
    head = gaussian_head("clip", (-10.0, -10.0), (10.0, 10.0))
    given = torch.tensor([[[-3.2, 0.7]], [[-3.2, 0.1]]])
    with torch.no_grad():
        head.log_std.copy_(given)
    head.project(torch.tensor([False, True]))
    assert torch.equal(head.log_std[0], given[0])
    assert torch.equal(head.log_std[1], torch.tensor([[LOG_STD_RANGE[0], given[1, 0, 1]]]))


@pytest.mark.parametrize("edge", LOG_STD_RANGE)
def test_a_log_std_that_was_brought_back_has_a_gradient(edge: float):
    head = gaussian_head("clip", initial_log_std=edge * 2)
    head.project(torch.ones(2, dtype=torch.bool))
    head(torch.zeros(2, 3, 1)).log_prob(torch.full((2, 3, 1), 3.0)).sum().backward()
    assert head.log_std.grad is not None
    assert (head.log_std.grad.abs() > 1e-3).all()


def test_log_std_range_is_the_documented_one():
    assert LOG_STD_RANGE == (-3.0, 0.5)


def test_each_seed_has_its_own_log_std():
    head = gaussian_head("clip")
    with torch.no_grad():
        head.log_std[1] = 0.0
    entropy = head(torch.zeros(2, 3, 1)).entropy()
    close(entropy[1] - entropy[0], torch.full((3,), 0.5))


def test_the_head_scores_the_raw_action_not_the_squashed_one():
    distribution = gaussian_head("clip")(torch.zeros(2, 1, 1))
    inside, beyond = (distribution.log_prob(torch.full((2, 1, 1), raw)) for raw in (1.0, 2.0))
    # std = e^-0.5: (2^2 - 1^2) / (2 e^-1)
    close(inside - beyond, torch.full((2, 1), 1.5 * math.e))
