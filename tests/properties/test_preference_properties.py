"""Identities of DPO that hold for every rollout."""

import math
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from members import of_members, per_seed
from torch import Tensor

from cartpole_cli.actions import FORCE, PUSHES
from cartpole_cli.algorithms import losses
from cartpole_cli.algorithms.dpo import DPO, DPORows, Pairs
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import DPORecipe

FEATURES = 3
HEADS = {"categorical": {"actions": PUSHES}, "gaussian": {"actions": FORCE}}
VARIANTS = ["sigmoid", "ipo", "hinge", "robust"]
WINDOWS = ["same_length", "last_k", "full"]
EQUAL_WINDOWS = ["same_length", "last_k"]

generators = st.integers(0, 2**32 - 1).map(lambda seed: torch.Generator().manual_seed(seed))
shapes = st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(2, 5))
"""Seeds, groups, members."""
betas = st.floats(0.01, 5.0)
settings_of_pairs = st.fixed_dictionaries(
    {
        "pairs": st.sampled_from(["best_worst", "all"]),
        "max_pairs": st.integers(1, 8),
        "window": st.sampled_from(WINDOWS),
        "window_steps": st.integers(1, 4),
    }
)
few = settings(max_examples=25, deadline=None)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads only slow tensors this small down."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def policy(head: str, num_seeds: int, moved: int = 0) -> PolicyNetwork:
    """In double precision, so that identities hold to ten digits; moved by noise."""
    network = PolicyNetwork(Architecture(FEATURES, (16,), "tanh", False, **HEADS[head]), Streams(range(num_seeds)))
    generator = torch.Generator().manual_seed(moved)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return network.double()


def columns(head: str, generator: torch.Generator, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Observations and actions at random."""
    continuous = torch.randn(*shape, 1, generator=generator, dtype=torch.float64)
    action = (continuous[..., 0] > 0).long() if head == "categorical" else continuous
    return torch.randn(*shape, FEATURES, generator=generator, dtype=torch.float64), action


def rollout(head: str, generator: torch.Generator, shape: tuple[int, int, int], longest: int = 8) -> Rollout:
    """Episodes of 1 to `longest` steps, with whole numbers as rewards, so that sums of them are exact."""
    num_seeds, num_groups, group_size = shape
    length = torch.randint(1, longest + 1, (num_seeds, 1, num_groups * group_size), generator=generator)
    valid = torch.arange(longest).view(1, -1, 1) < length
    observation, action = columns(head, generator, valid.shape)
    return Rollout(
        observation=observation,
        action=action,
        reward=torch.randint(-3, 4, valid.shape, generator=generator).double(),
        next_observation=observation,
        terminated=~valid,
        truncated=~valid,
        valid=valid,
    )


def dpo(num_seeds: int, group_size: int, **changes: object) -> DPO:
    defaults = {
        "group_size": group_size,
        "pairs": "best_worst",
        "max_pairs": 8,
        "min_margin": 0.0,
        "window": "same_length",
        "window_steps": 2,
        "loss": "sigmoid",
        "beta": 0.5,
        "label_smoothing": 0.0,
        "sft_weight": 0.0,
        "num_epochs": 1,
        "groups_per_minibatch": None,
        "reference_every": 1,
    }
    temperature = changes.pop("rater_temperature", None)
    rater = {} if temperature is None else {"rater": "bradley_terry", "rater_temperature": temperature}
    return of_members(DPO, DPORecipe(name="dpo", **defaults | changes | rater), num_seeds, torch.float64)


def one_batch(algorithm: DPO, targets: DPORows) -> DPORows:
    num_seeds = targets.pairs.kept.shape[0]
    [[[batch]]] = algorithm.epochs(targets, Streams(range(num_seeds)), 0, torch.zeros(num_seeds))
    return batch


def swapped(batch: DPORows) -> DPORows:
    """Chosen and rejected the other way round."""
    pairs = batch.pairs
    return replace(batch, pairs=replace(pairs, first=pairs.first.flip(2), last=pairs.last.flip(2)))


def vars_of(pairs: Pairs) -> dict[str, Tensor]:
    return {field.name: getattr(pairs, field.name) for field in fields(pairs)}


def gradient(total: Tensor, network: PolicyNetwork) -> list[Tensor]:
    return list(torch.autograd.grad(total.sum(), [*network.parameters()], materialize_grads=True))


def close(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-6, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("head", HEADS)
@few
@given(generators, shapes, betas, settings_of_pairs)
def test_at_the_reference_the_loss_is_log_2_and_its_gradient_tells_chosen_from_rejected(
    head: str, generator: torch.Generator, shape: tuple[int, int, int], beta: float, options: dict[str, object]
):
    experience, network = rollout(head, generator, shape), policy(head, shape[0])
    algorithm = dpo(shape[0], shape[2], beta=beta, **options)
    targets = algorithm.targets(experience, network, network)
    loss = algorithm.loss(network, one_batch(algorithm, targets))
    has_pairs = targets.pairs.kept.flatten(1).any(dim=1)
    close(loss.total, has_pairs * math.log(2))
    # -beta/2 (grad log pi(chosen window) - grad log pi(rejected window)), the mean over pairs
    width = experience.valid.shape[1] + 1
    length = experience.valid.sum(dim=1)
    rows = [
        network.distribution(experience.observation[:, t]).log_prob(experience.action[:, t]) for t in range(width - 1)
    ]
    expected = torch.zeros(())
    for s in range(shape[0]):
        pairs = (targets.pairs.first[s][targets.pairs.kept[s]] // width).tolist()
        for pair in pairs:
            for sign, episode in zip((1, -1), pair, strict=True):
                shorter = min(length[s, member].item() for member in pair)
                end = length[s, episode].item() if options["window"] == "full" else shorter
                start = max(0, end - options["window_steps"]) if options["window"] == "last_k" else 0
                total = sum(rows[t][s, episode] for t in range(start, end))
                expected = expected - sign * beta / 2 * total / len(pairs)
    expected_gradient = gradient(expected, network) if has_pairs.any() else [torch.zeros(())]
    for actual, wanted in zip(gradient(loss.total, network), expected_gradient, strict=False):
        close(actual, wanted.expand_as(actual))


@pytest.mark.parametrize("head", HEADS)
@few
@given(generators, shapes, settings_of_pairs)
def test_swapping_chosen_and_rejected_negates_the_margin(
    head: str, generator: torch.Generator, shape: tuple[int, int, int], options: dict[str, object]
):
    algorithm = dpo(shape[0], shape[2], **options)
    network = policy(head, shape[0], moved=1)
    targets = algorithm.targets(rollout(head, generator, shape), network, policy(head, shape[0]))
    batch = one_batch(algorithm, targets)
    before, after = (algorithm.loss(network, one).terms for one in (batch, swapped(batch)))
    assert torch.equal(after["margin"], -before["margin"])
    for name in ("reward", "log_prob"):
        assert torch.equal(after[f"chosen_{name}"], before[f"rejected_{name}"])
        assert torch.equal(after[f"rejected_{name}"], before[f"chosen_{name}"])
    # log(1 + e^x) - log(1 + e^-x) = x
    close(after["preference_loss"] - before["preference_loss"], before["margin"])


def all_numbers(algorithm: DPO, head: str, experience: Rollout) -> list[Tensor]:
    """The loss, its terms and its gradient, away from the reference."""
    num_seeds = experience.valid.shape[0]
    network = policy(head, num_seeds, moved=1)
    batch = one_batch(algorithm, algorithm.targets(experience, network, policy(head, num_seeds)))
    loss = algorithm.loss(network, batch)
    return [loss.total, *loss.terms.values(), *gradient(loss.total, network)]


def elsewhere(head: str, generator: torch.Generator, experience: Rollout, where: Tensor) -> Rollout:
    """Other observations and actions in some rows."""
    observation, action = columns(head, generator, experience.valid.shape)
    rows = where if head == "categorical" else where.unsqueeze(3)
    return replace(
        experience,
        observation=torch.where(where.unsqueeze(3), 5 * observation, experience.observation),
        action=torch.where(rows, action, experience.action),
    )


def rows_compared(algorithm: DPO, head: str, experience: Rollout) -> Tensor:
    """Rows in the window of a pair that is kept, from the pairs and lengths alone."""
    network = policy(head, experience.valid.shape[0])
    targets = algorithm.targets(experience, network, network)
    length = experience.valid.sum(dim=1)
    width = experience.valid.shape[1] + 1
    inside = torch.zeros_like(experience.valid)
    for s in range(length.shape[0]):
        for pair in (targets.pairs.first[s][targets.pairs.kept[s]] // width).tolist():
            end = min(length[s, episode].item() for episode in pair)
            start = max(0, end - algorithm.section.window_steps) if algorithm.section.window == "last_k" else 0
            for episode in pair:
                inside[s, start:end, episode] = True
    return inside


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("window", EQUAL_WINDOWS)
@few
@given(generators, shapes, settings_of_pairs, st.sampled_from(VARIANTS))
def test_equal_windows_are_blind_to_what_lies_outside_them(
    window: str,
    head: str,
    generator: torch.Generator,
    shape: tuple[int, int, int],
    options: dict[str, object],
    variant: str,
):
    algorithm = dpo(shape[0], shape[2], **options | {"window": window}, loss=variant, sft_weight=0.3)
    clean = rollout(head, generator, shape)
    # Row 0 stands in for padding where a seed has no pair at all, with weight 0; it is a valid one.
    changed = elsewhere(head, generator, clean, ~rows_compared(algorithm, head, clean))
    for before, after in zip(all_numbers(algorithm, head, clean), all_numbers(algorithm, head, changed), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", ["sigmoid", "ipo"])
@few
@given(generators, shapes)
def test_full_windows_are_not_blind_to_what_follows_the_shorter_ones_end(
    variant: str, head: str, generator: torch.Generator, shape: tuple[int, int, int]
):
    clean = rollout(head, generator, shape)
    whole, equal = (dpo(shape[0], shape[2], window=window, loss=variant) for window in ("full", "same_length"))
    network = policy(head, shape[0])
    more = whole.targets(clean, network, network).valid & ~equal.targets(clean, network, network).valid
    assume(more.any())
    changed = elsewhere(head, generator, clean, ~rows_compared(equal, head, clean))
    before, after = (all_numbers(whole, head, experience) for experience in (clean, changed))
    touched = more.flatten(1).any(dim=1)
    assert (before[0] != after[0])[touched].all()
    assert torch.equal(before[0][~touched], after[0][~touched])
    assert not all(torch.equal(a, b) for a, b in zip(before[-2:], after[-2:], strict=True))


@pytest.mark.parametrize("temperature", [None, 2.0])
@few
@given(generators, shapes, settings_of_pairs, st.integers(-1000, 1000), st.sampled_from([0.0, 2.0]))
def test_a_constant_added_to_all_returns_changes_nothing(
    temperature: float | None,
    generator: torch.Generator,
    shape: tuple[int, int, int],
    options: dict[str, object],
    constant: int,
    min_margin: float,
):
    algorithm = dpo(shape[0], shape[2], **options, rater_temperature=temperature, min_margin=min_margin)
    clean = rollout("categorical", generator, shape)
    reward = clean.reward.clone()
    reward[:, 0] += constant
    network = policy("categorical", shape[0])
    targets, shifted = (
        algorithm.targets(experience, network, network) for experience in (clean, replace(clean, reward=reward))
    )
    for before, after in ((targets.columns(), shifted.columns()), (vars_of(targets.pairs), vars_of(shifted.pairs))):
        assert before.keys() == after.keys()
        assert all(torch.equal(before[name], after[name]) for name in before)
    assert targets.table == shifted.table
    numbers = (all_numbers(algorithm, "categorical", one) for one in (clean, replace(clean, reward=reward)))
    for before, after in zip(*numbers, strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", VARIANTS)
@few
@given(generators, shapes, betas, st.sampled_from(WINDOWS), st.floats(0, 0.45))
def test_at_the_reference_every_loss_falls_with_the_chosen_and_rises_with_the_rejected_log_ratio(
    variant: str,
    head: str,
    generator: torch.Generator,
    shape: tuple[int, int, int],
    beta: float,
    window: str,
    label_smoothing: float,
):
    algorithm = dpo(shape[0], shape[2], loss=variant, beta=beta, window=window, label_smoothing=label_smoothing)
    experience, network = rollout(head, generator, shape), policy(head, shape[0])
    targets = algorithm.targets(experience, network, network)
    batch = one_batch(algorithm, targets)
    reference = batch.reference_log_prob.clone().requires_grad_()
    total = algorithm.loss(network, replace(batch, reference_log_prob=reference)).total
    (slope,) = torch.autograd.grad(-total.sum(), reference)  # of the loss along log pi/pi_ref, row by row
    # In best_worst an episode belongs to one pair, so each row that is compared is either chosen or rejected.
    width = batch.table[1]
    for s in range(shape[0]):
        sides = (batch.pairs.first[s][batch.pairs.weight[s] > 0] // width).unbind(1)
        chosen, rejected = (set(side.tolist()) for side in sides)
        for place, row_slope in zip(
            batch.place[s][batch.valid[s]].tolist(), slope[s][batch.valid[s]].tolist(), strict=True
        ):
            episode = place // width
            assert (episode in chosen) != (episode in rejected)
            assert row_slope < 0 if episode in chosen else row_slope > 0
    assert not slope[~batch.valid].any()


@few
@given(st.lists(st.floats(-30, 30), min_size=1, max_size=8), betas, st.floats(0, 0.45))
def test_robust_expects_the_loss_of_right_labels_where_that_share_of_them_is_flipped(
    margins: list[float], beta: float, error: float
):
    h = torch.tensor([margins], dtype=torch.float64)
    of_error = [per_seed(number, h) for number in (beta, error, 1 - error, 1 - 2 * error)]
    right, flipped = (losses.dpo_robust(sign * h, *of_error) for sign in (1, -1))
    without = [per_seed(number, h) for number in (beta, 0.0, 1.0)]
    close((1 - error) * right + error * flipped, losses.dpo_sigmoid(h, *without))


@pytest.mark.parametrize("head", HEADS)
@few
@given(generators, shapes, settings_of_pairs, st.floats(0, 0.45))
def test_robust_of_a_rollout_expects_the_sigmoid_loss(
    head: str, generator: torch.Generator, shape: tuple[int, int, int], options: dict[str, object], error: float
):
    network = policy(head, shape[0], moved=1)
    plain, robust = (
        dpo(shape[0], shape[2], loss=variant, label_smoothing=e, **options)
        for variant, e in [("sigmoid", 0.0), ("robust", error)]
    )
    targets = plain.targets(rollout(head, generator, shape), network, policy(head, shape[0]))
    batch = one_batch(plain, targets)
    expected = plain.loss(network, batch).total
    right, wrong = (robust.loss(network, one).total for one in (batch, swapped(batch)))
    close((1 - error) * right + error * wrong, expected)
