"""Identities of group-relative advantages, and what the KL estimators' gradients are on samples of the policy."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from members import of_members
from torch import Tensor

from cartpole_cli.actions import PUSHES
from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.grpo import GRPO
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.action_heads import Categorical, Gaussian
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import GRPORecipe

FEATURES = 3
SCALES = ("none", "group", "batch")

generators = st.integers(0, 2**32 - 1).map(lambda seed: torch.Generator().manual_seed(seed))
shapes = st.tuples(st.integers(1, 2), st.integers(1, 5), st.integers(1, 3), st.integers(2, 4))  # S, T, groups, size
constants = st.integers(-100, 100)
few = settings(max_examples=25, deadline=None)
scales = pytest.mark.parametrize("scale", SCALES)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads only slow tensors this small down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


def rollout(generator: torch.Generator, shape: tuple[int, ...]) -> Rollout:
    """Whole episodes of random lengths; rewards are whole numbers, so that equal returns stay equal, and double."""
    num_seeds, num_steps, num_groups, group_size = shape
    num_episodes = num_groups * group_size
    rows = (num_seeds, num_steps, num_episodes)
    length = torch.randint(1, num_steps + 1, (num_seeds, 1, num_episodes), generator=generator)
    step = torch.arange(1, num_steps + 1).view(1, -1, 1)
    return Rollout(
        observation=torch.randn(*rows, FEATURES, generator=generator),
        action=torch.randint(2, rows, generator=generator),
        reward=torch.randint(-2, 3, rows, generator=generator).double(),
        next_observation=torch.randn(*rows, FEATURES, generator=generator),
        terminated=step == length,
        truncated=torch.zeros(rows, dtype=torch.bool),
        valid=step <= length,
    )


def advantage(experience: Rollout, group_size: int, scale: str, credit: str = "outcome") -> Tensor:
    num_seeds = experience.reward.shape[0]
    policy = PolicyNetwork(Architecture(FEATURES, (16,), "tanh", False, actions=PUSHES), Streams(range(num_seeds)))
    options = {"group_size": group_size, "credit": credit, "advantage_scale": scale, "scale_floor": 0.5}
    algorithm = of_members(GRPO, GRPORecipe(name="grpo", **options), num_seeds, torch.float64)
    return algorithm.targets(experience, policy, policy).advantage


@pytest.mark.parametrize("scale", ["none", "group"])
@few
@given(generators, shapes)
def test_outcome_advantages_sum_to_zero_within_each_group(
    scale: str, generator: torch.Generator, shape: tuple[int, ...]
):
    of_episode = advantage(rollout(generator, shape), shape[3], scale)[:, 0]
    sums = of_episode.view(shape[0], shape[2], shape[3]).sum(dim=2)
    close(sums, torch.zeros_like(sums))


@few
@given(generators, shapes)
def test_an_outcome_advantage_is_the_same_at_every_step_of_an_episode_and_differences_are_those_of_returns(
    generator: torch.Generator, shape: tuple[int, ...]
):
    experience = rollout(generator, shape)
    ours = advantage(experience, shape[3], "none")
    close(ours, ours[:, :1] * experience.valid)
    returns = (experience.reward * experience.valid).sum(dim=1).view(shape[0], shape[2], shape[3])
    of_episode = ours[:, 0].view(returns.shape)
    close(of_episode - of_episode[..., :1], returns - returns[..., :1])


@scales
@few
@given(generators, shapes, constants)
def test_a_constant_added_to_all_returns_changes_no_outcome_advantage(
    scale: str, generator: torch.Generator, shape: tuple[int, ...], constant: int
):
    experience = rollout(generator, shape)
    reward = experience.reward.clone()
    reward[:, 0] += constant
    more = replace(experience, reward=reward)
    close(advantage(more, shape[3], scale), advantage(experience, shape[3], scale))


@scales
@few
@given(generators, shapes)
def test_a_constant_of_each_group_changes_no_advantage_but_by_the_batchs_deviation(
    scale: str, generator: torch.Generator, shape: tuple[int, ...]
):
    experience = rollout(generator, shape)
    constant = torch.randint(-50, 50, (shape[0], shape[2]), generator=generator).repeat_interleave(shape[3], dim=1)
    reward = experience.reward.clone()
    reward[:, 0] += constant
    more = advantage(replace(experience, reward=reward), shape[3], scale)
    less = advantage(experience, shape[3], scale)
    if scale == "batch":
        assert torch.equal(more.sign(), less.sign())
    else:
        close(more, less)


@scales
@pytest.mark.parametrize("credit", ["outcome", "to_go"])
@few
@given(generators, shapes)
def test_episodes_permuted_within_their_groups_have_their_advantages_permuted(
    scale: str, credit: str, generator: torch.Generator, shape: tuple[int, ...]
):
    experience = rollout(generator, shape)
    order = torch.cat([g * shape[3] + torch.randperm(shape[3], generator=generator) for g in range(shape[2])])
    columns = {name: getattr(experience, name) for name in Rollout.__dataclass_fields__ if name != "scout_steps"}
    permuted = Rollout(**{name: column[:, :, order] for name, column in columns.items()})
    expected = advantage(experience, shape[3], scale, credit)[:, :, order]
    close(advantage(permuted, shape[3], scale, credit), expected)


@pytest.mark.parametrize("scale", ["none", "group"])
@pytest.mark.parametrize("credit", ["outcome", "to_go"])
@few
@given(generators, shapes)
def test_a_groups_advantages_do_not_depend_on_the_other_groups(
    scale: str, credit: str, generator: torch.Generator, shape: tuple[int, ...]
):
    experience = rollout(generator, shape)
    size = shape[3]
    columns = {name: getattr(experience, name) for name in Rollout.__dataclass_fields__ if name != "scout_steps"}
    alone = [
        Rollout(**{name: column[:, :, g * size : (g + 1) * size] for name, column in columns.items()})
        for g in range(shape[2])
    ]
    expected = torch.cat([advantage(group, size, scale, credit) for group in alone], dim=2)
    close(advantage(experience, size, scale, credit), expected)


# One state. Log ratios are log pi_ref - log pi, as where GRPO asks for the divergence from the reference.


def k1(log_ratio: Tensor) -> Tensor:
    return -log_ratio


def forward(pi: Categorical | Gaussian, reference: Categorical | Gaussian) -> Tensor:
    return pi.kl(reference)


def backward(pi: Categorical | Gaussian, reference: Categorical | Gaussian) -> Tensor:
    return reference.kl(pi)


def nothing(pi: Categorical | Gaussian, reference: Categorical | Gaussian) -> Tensor:
    return 0.0 * pi.kl(reference)


ESTIMATORS: dict[str, tuple[Callable[[Tensor], Tensor], Callable[..., Tensor]]] = {
    "k1 is of nothing": (k1, nothing),
    "k2 is of KL(pi || ref)": (losses.kl_k2, forward),
    "k3 is of KL(ref || pi)": (losses.kl_k3, backward),
}
estimators = pytest.mark.parametrize("name", ESTIMATORS)


def gradient(value: Tensor, parameters: Tensor) -> Tensor:
    """A distribution keeps its log-probs, and with them their graph."""
    return torch.autograd.grad(value.sum(), parameters, retain_graph=True)[0]


@estimators
@few
@given(generators)
def test_an_estimators_expected_gradient_over_three_actions(name: str, generator: torch.Generator):
    estimator, divergence = ESTIMATORS[name]
    logits = torch.randn(1, 3, generator=generator, dtype=torch.float64).requires_grad_()
    pi, reference = Categorical(logits), Categorical(torch.randn(1, 3, generator=generator, dtype=torch.float64))
    log_ratio = reference.log_probs - pi.log_probs
    expectation = losses.weighted_sum(estimator(log_ratio), pi.log_probs.exp().detach())
    close(gradient(expectation, logits), gradient(divergence(pi, reference), logits))


NUM_SAMPLES = 200_000
# The policy's parameters and the reference's: logits; mean and log deviation. The reference is the narrower, so that
# the ratio's variance under the policy is finite.
PROBLEMS = {
    "categorical": (Categorical(torch.zeros(1, 1, 3)), [0.5, 0.0, -1.0], [-0.5, 0.0, 0.7]),
    "gaussian": (Gaussian(torch.zeros(1, 1, 1), torch.zeros(1, 1, 1)), [0.3, 0.0], [-0.2, math.log(0.8)]),
}


@estimators
@pytest.mark.parametrize("head", PROBLEMS)
def test_an_estimators_mean_gradient_on_samples_of_the_policy(name: str, head: str):
    """Within five standard errors of one divergence's, and more than ten away from the others'."""
    estimator, divergence = ESTIMATORS[name]
    kind, own, other = PROBLEMS[head]
    # Each sample has parameters of its own, so that their gradient is the sample's.
    each = torch.tensor(own, dtype=torch.float64).expand(1, NUM_SAMPLES, len(own)).clone().requires_grad_()
    pi, reference = (kind.with_parameters(p) for p in (each, torch.tensor(other, dtype=torch.float64).expand_as(each)))
    generator = torch.Generator().manual_seed(0)
    if head == "categorical":
        noise = torch.rand(1, NUM_SAMPLES, generator=generator, dtype=torch.float64)
    else:
        noise = torch.randn(1, NUM_SAMPLES, 1, generator=generator, dtype=torch.float64)
    action = pi.sample(noise).detach()
    per_sample = gradient(estimator(reference.log_prob(action) - pi.log_prob(action)), each)[0]
    mean, error = per_sample.mean(dim=0), per_sample.std(dim=0) / math.sqrt(NUM_SAMPLES)
    for candidate in (forward, backward, nothing):
        distance = (mean - gradient(candidate(pi, reference), each)[0, 0]).abs()
        if candidate is divergence:
            assert (distance <= 5 * error).all()
        else:
            assert (distance > 10 * error).any()
