"""Identities that hold for every rollout, and that rows which are no transitions change nothing."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from members import flat, of_members, per_seed
from torch import Tensor

from cartpole_cli.actions import FORCE, PUSHES
from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.advantages import gae
from cartpole_cli.algorithms.grpo import GRPO
from cartpole_cli.algorithms.ppo import PPO
from cartpole_cli.algorithms.reinforce import Reinforce
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.training.sums import EpisodeStatistics

FEATURES = 3
HEADS = {"categorical": {"actions": PUSHES}, "gaussian": {"actions": FORCE}}

generators = st.integers(0, 2**32 - 1).map(lambda seed: torch.Generator().manual_seed(seed))
shapes = st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 3))
fractions = st.floats(0, 1)
garbage = st.sampled_from([7.0, 1e30, -math.inf, math.nan])
few = settings(max_examples=25, deadline=None)
many = settings(max_examples=100, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads only slow tensors this small down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def normal(generator: torch.Generator, *shape: int) -> Tensor:
    """In double precision, so that identities hold to twelve digits."""
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def flags(generator: torch.Generator, shape: tuple[int, ...], probability: float) -> Tensor:
    return torch.rand(shape, generator=generator) < probability


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@many
@given(generators, shapes, fractions)
def test_gae_at_lambda_0_is_the_td_error(generator: torch.Generator, shape: tuple[int, ...], gamma: float):
    reward, value, next_value = normal(generator, 3, *shape)
    terminated, truncated = flags(generator, (2, *shape), 0.3)
    valid = flags(generator, shape, 0.8)
    advantage = gae(
        reward, value, next_value, terminated, truncated, valid, per_seed(gamma, reward), per_seed(0.0, reward)
    )
    td_error = reward + gamma * torch.where(terminated, 0.0, next_value) - value
    close(advantage, torch.where(valid, td_error, 0.0))


@many
@given(generators, shapes, fractions)
def test_gae_at_lambda_1_is_the_bootstrapped_return_minus_the_value(
    generator: torch.Generator, shape: tuple[int, ...], gamma: float
):
    """Without a truncation inside, the values between telescope away."""
    reward, value = normal(generator, 2, *shape)
    last_value = normal(generator, shape[0], 1, shape[2])
    next_value = torch.cat([value[:, 1:], last_value], dim=1)
    terminated = flags(generator, shape, 0.3)
    everywhere = torch.ones_like(terminated)
    per_step = per_seed(gamma, reward)
    advantage = gae(reward, value, next_value, terminated, ~everywhere, everywhere, per_step, per_step)
    expected = torch.empty_like(advantage)
    for s in range(shape[0]):
        for n in range(shape[2]):
            for start in range(shape[1]):
                total, discount, t = 0.0, 1.0, start
                while t < shape[1]:
                    total += discount * reward[s, t, n].item()
                    discount *= gamma
                    if terminated[s, t, n]:
                        discount = 0.0
                        break
                    t += 1
                expected[s, start, n] = total + discount * last_value[s, 0, n].item() - value[s, start, n].item()
    close(advantage, expected)


@many
@given(generators, shapes, fractions, fractions, st.booleans())
def test_gae_of_an_episode_does_not_depend_on_what_follows_it(
    generator: torch.Generator, shape: tuple[int, ...], gamma: float, gae_lambda: float, by_failure: bool
):
    reward, value, next_value = normal(generator, 3, *shape)
    last = shape[1] // 2
    ended = torch.zeros(shape, dtype=torch.bool)
    ended[:, last] = True
    terminated, truncated = (ended, ~ended & ended) if by_failure else (~ended & ended, ended)
    columns = (reward, value, next_value, terminated, truncated, torch.ones_like(ended))
    numbers = per_seed(gamma, reward), per_seed(gamma * gae_lambda, reward)
    whole = gae(*columns, *numbers)
    alone = gae(*(column[:, : last + 1] for column in columns), *numbers)
    assert torch.equal(whole[:, : last + 1], alone)


@many
@given(generators, st.integers(1, 3), st.integers(1, 8), fractions)
def test_the_surrogates_gradient_at_ratio_1_is_reinforces(
    generator: torch.Generator, num_seeds: int, num_rows: int, clip_range: float
):
    advantage, weight = normal(generator, 2, num_seeds, num_rows)
    log_prob = normal(generator, num_seeds, num_rows).requires_grad_()
    log_ratio = log_prob - log_prob.detach()
    clip_ranges = torch.full((num_seeds,), clip_range, dtype=torch.float64)
    surrogate = losses.clipped_surrogate(log_ratio, advantage, clip_ranges, weight.abs())
    reinforce = losses.policy_gradient(log_prob, advantage, weight.abs())
    (of_surrogate,) = torch.autograd.grad(surrogate.sum(), log_prob)
    (of_reinforce,) = torch.autograd.grad(reinforce.sum(), log_prob)
    close(of_surrogate, of_reinforce)


def policy(head: str, num_seeds: int) -> PolicyNetwork:
    network = PolicyNetwork(Architecture(FEATURES, (5,), "tanh", True, **HEADS[head]), Streams(range(num_seeds)))
    move(network)
    return network


def move(network: PolicyNetwork) -> None:
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))


def rollout(head: str, generator: torch.Generator, shape: tuple[int, ...]) -> Rollout:
    """Any mixture of ends and invalid rows, but every seed has a valid one."""
    valid = flags(generator, shape, 0.6)
    valid[:, shape[1] // 2, 0] = True
    continuous = torch.randn(*shape, 1, generator=generator)
    return Rollout(
        observation=torch.randn(*shape, FEATURES, generator=generator),
        action=(continuous[..., 0] > 0).long() if head == "categorical" else continuous,
        reward=torch.randn(shape, generator=generator),
        next_observation=torch.randn(*shape, FEATURES, generator=generator),
        terminated=flags(generator, shape, 0.2),
        truncated=flags(generator, shape, 0.2),
        valid=valid,
    )


def spoil(clean: Rollout, anything: float) -> Rollout:
    """Garbage in every column of the invalid rows; a discrete action can only be another one."""
    invalid = ~clean.valid
    rows = invalid.unsqueeze(-1)
    discrete = not clean.action.is_floating_point()
    return Rollout(
        observation=clean.observation.masked_fill(rows, anything),
        action=torch.where(invalid, 1 - clean.action, clean.action)
        if discrete
        else clean.action.masked_fill(rows, anything),
        reward=clean.reward.masked_fill(invalid, anything),
        next_observation=clean.next_observation.masked_fill(rows, anything),
        terminated=clean.terminated ^ invalid,
        truncated=clean.truncated ^ invalid,
        valid=clean.valid,
    )


PPO_SECTION = PPORecipe(
    steps_per_iteration=1,
    num_epochs=1,
    minibatch_size=7,
    gamma=0.9,
    gae_lambda=0.8,
    entropy_coefficient=0.01,
    target_kl=0.05,
)
GRPO_SECTION = GRPORecipe(
    name="grpo",
    group_size=2,
    scale_floor=0.1,
    aggregation="grpo",
    num_epochs=1,
    minibatch_size=7,
    clip_range_high=0.3,
    kl_weight=0.1,
    kl_estimator="k3",
)
BASELINES = {
    "reinforce": "none",
    "reinforce with batch baseline": "batch",
    "reinforce with leave-one-out baseline": "leave_one_out",
    "reinforce with value baseline": "value",
}
ALGORITHMS = {
    "ppo": (PPO, PPO_SECTION),
    "ppo with value clipping": (PPO, PPO_SECTION.model_copy(update={"value_clip_range": 0.2})),
    **{
        name: (Reinforce, ReinforceRecipe(gamma=0.9, baseline=baseline, entropy_coefficient=0.01))
        for name, baseline in BASELINES.items()
    },
    "grpo": (GRPO, GRPO_SECTION),
    "grpo with credit to go": (GRPO, GRPO_SECTION.model_copy(update={"credit": "to_go"})),
}


def update(name: str, head: str, experience: Rollout) -> dict[str, Tensor]:
    """All that an update reads off a rollout: targets of valid rows, then losses and gradients of a moved policy."""
    algorithm = of_members(*ALGORITHMS[name], experience.reward.shape[0])
    network = policy(head, experience.reward.shape[0])
    streams = Streams(range(experience.reward.shape[0]))
    targets = algorithm.targets(experience, network, network)
    aims = ("advantage", "value_target") if algorithm.needs_value_network else ("advantage",)
    numbers = {name: getattr(targets, name)[experience.valid] for name in aims}
    numbers |= algorithm.diagnostics(targets)
    move(network)
    parameters = [*network.parameters()]
    for epoch in flat(algorithm.epochs(targets, streams, 0, torch.zeros(len(streams.seeds)))):
        for batch in epoch:
            loss = algorithm.loss(network, batch)
            gradients = torch.autograd.grad(loss.total.sum(), parameters, materialize_grads=True)
            number = len(numbers)
            numbers |= {f"{number} {name}": term.detach() for name, term in loss.terms.items()}
            numbers |= {f"{number} total": loss.total.detach()}
            numbers |= {} if loss.stop is None else {f"{number} stop": loss.stop}
            numbers |= {f"{number} gradient {i}": gradient for i, gradient in enumerate(gradients)}
    return numbers


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", ALGORITHMS)
@few
@given(garbage, generators, st.tuples(st.integers(1, 2), st.integers(1, 5), st.sampled_from([2, 4])))
def test_garbage_in_invalid_rows_changes_no_target_loss_or_gradient(
    name: str, head: str, anything: float, generator: torch.Generator, shape: tuple[int, ...]
):
    clean = rollout(head, generator, shape)
    expected = update(name, head, clean)
    actual = update(name, head, spoil(clean, anything))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)
    always_finite = {key: number for key, number in actual.items() if key != "explained_variance"}
    assert all(number.isfinite().all() for number in always_finite.values())


@few
@given(garbage, generators, shapes)
def test_garbage_in_invalid_rows_changes_no_episode_statistic(
    anything: float, generator: torch.Generator, shape: tuple[int, ...]
):
    of_clean, of_spoilt = (EpisodeStatistics(shape[0], shape[2], torch.device("cpu")) for _ in range(2))
    for _ in range(2):
        clean = rollout("categorical", generator, shape)
        expected, actual = of_clean.update(clean), of_spoilt.update(spoil(clean, anything))
        torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@few
@given(generators, shapes, st.integers(1, 5))
def test_episode_returns_do_not_depend_on_how_experience_is_cut_into_iterations(
    generator: torch.Generator, shape: tuple[int, ...], cut: int
):
    experience = rollout("categorical", generator, shape)
    whole, in_two = (EpisodeStatistics(shape[0], shape[2], torch.device("cpu")) for _ in range(2))
    count, mean = whole.update(experience)
    pieces = [slice(None, cut), slice(cut, None)] if cut < shape[1] else [slice(None)]
    counts, totals = 0, 0.0
    for piece in pieces:
        names = [field.name for field in fields(Rollout) if field.name != "scout_steps"]
        columns = {name: getattr(experience, name)[:, piece] for name in names}
        part_count, part_mean = in_two.update(replace(experience, **columns))
        counts, totals = counts + part_count, totals + torch.where(part_count > 0, part_mean * part_count, 0.0)
    assert torch.equal(counts, count)
    torch.testing.assert_close(totals / counts, mean, rtol=1e-4, atol=1e-5, equal_nan=True)
    torch.testing.assert_close(in_two.running, whole.running, rtol=1e-4, atol=1e-5)
