"""DPO on rollouts made by hand."""

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from members import flat, of_members, per_seed
from tensors import HEADS
from torch import Tensor

from cartpole_cli.actions import PUSHES
from cartpole_cli.algorithms.dpo import DPO, DPORows
from cartpole_cli.algorithms.preferences import bradley_terry_errs
from cartpole_cli.algorithms.rows import ROWS_PER_PART
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.experience import Rollout, collect_branches
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import DPORecipe

pytestmark = pytest.mark.shapes

S, O = 2, 3  # noqa: E741  (O is the observation size in every signature)
STREAMS = Streams((0, 1))
START = torch.zeros(S)
VARIANTS = ["sigmoid", "ipo", "hinge", "robust"]

# Two groups of four. Returns of seed 0: 6, 3, 1, 4 and 2, 5, 2, 3; of seed 1: 3, 3, 3, 3 and 5, 3, 4, 4.
LENGTHS = ((6, 3, 1, 4, 2, 5, 2, 6), (3, 3, 3, 3, 1, 6, 4, 4))
REWARDS = ((1.0, 1, 1, 1, 1, 1, 1, 0.5), (1.0, 1, 1, 1, 5, 0.5, 1, 1))
# best_worst; those of seed 1 are ties except for (4, 5), where the better one is the shorter.
PAIRS = (((0, 2), (3, 1), (5, 6), (7, 4)), ((0, 3), (1, 2), (4, 5), (6, 7)))
MARGINS = ((5.0, 1.0, 3.0, 1.0), (0.0, 0.0, 2.0, 0.0))


def policy(head: str = "categorical") -> PolicyNetwork:
    network = PolicyNetwork(Architecture(O, (16,), "tanh", False, **HEADS[head]), STREAMS)
    move(network, 0)
    return network


def move(network: PolicyNetwork, seed: int, by: float = 0.5) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))


def rollout(
    head: str = "categorical",
    lengths: Sequence[Sequence[int]] = LENGTHS,
    rewards: Sequence[Sequence[float]] = REWARDS,
) -> Rollout:
    """Episodes of these lengths with these rewards per step; after their ends garbage, 7 as a discrete action."""
    generator = torch.Generator().manual_seed(0)
    length = torch.tensor(lengths).unsqueeze(1)
    num_steps = int(length.max()) + 1
    valid = torch.arange(num_steps).view(1, -1, 1) < length
    shape = valid.shape
    rows = ~valid.unsqueeze(3)
    observation = torch.randn(*shape, O, generator=generator).masked_fill(rows, math.nan)
    discrete = torch.randint(2, shape, generator=generator).masked_fill(~valid, 7)
    continuous = torch.randn(*shape, 1, generator=generator).masked_fill(rows, math.nan)
    return Rollout(
        observation=observation,
        action=discrete if head == "categorical" else continuous,
        reward=torch.tensor(rewards).unsqueeze(1).expand(shape).masked_fill(~valid, math.nan),
        next_observation=torch.full_like(observation, math.nan),
        terminated=~valid,
        truncated=~valid,
        valid=valid,
    )


def dpo(**changes: object) -> DPO:
    fields = {
        "group_size": 4,
        "pairs": "best_worst",
        "max_pairs": 8,
        "min_margin": 0.0,
        "window": "same_length",
        "window_steps": 2,
        "loss": "sigmoid",
        "beta": 2.0,
        "label_smoothing": 0.0,
        "sft_weight": 0.0,
        "num_epochs": 1,
        "groups_per_minibatch": None,
        "reference_every": 1,
    }
    return of_members(DPO, DPORecipe(name="dpo", **fields | changes), S)


def noisy(temperature: float) -> dict[str, object]:
    return {"rater": "bradley_terry", "rater_temperature": temperature}


def batches(algorithm: DPO, targets: DPORows, iteration: int = 0) -> list[list[DPORows]]:
    return flat(algorithm.epochs(targets, STREAMS, iteration, START))


def one_batch(algorithm: DPO, targets: DPORows, iteration: int = 0) -> DPORows:
    [[batch]] = batches(algorithm, targets, iteration)
    return batch


def gradients(total: Tensor, network: PolicyNetwork) -> list[Tensor]:
    return list(torch.autograd.grad(total.sum(), [*network.parameters()], materialize_grads=True))


def window_by_hand(kind: str, length: int, other: int, steps: int = 2) -> range:
    if kind == "full":
        return range(length)
    shorter = min(length, other)
    return range(shorter) if kind == "same_length" else range(max(0, shorter - steps), shorter)


def log_prob_of_rows(network: PolicyNetwork, experience: Rollout) -> Tensor:
    """Row by row, of the valid rows; zeros elsewhere."""
    result = torch.zeros(experience.valid.shape)
    for t in range(result.shape[1]):
        clean = experience.observation[:, t].nan_to_num(0.0), experience.action[:, t]
        action = clean[1].nan_to_num(0.0) if clean[1].is_floating_point() else clean[1].clamp(max=1)
        result[:, t] = network.distribution(clean[0]).log_prob(action).detach()
    return result * experience.valid


# Pairs


def test_ties_are_dropped_and_narrow_pairs_below_min_margin():
    targets = dpo().targets(rollout(), policy(), policy())
    assert targets.pairs.margin.flatten(1).tolist() == [list(seed) for seed in MARGINS]
    assert targets.pairs.kept.flatten(1).tolist() == [[True] * 4, [False, False, True, False]]
    for min_margin, kept in (
        (2.0, [[True, False, True, False], [False, False, True, False]]),
        (2.5, [[True, False, True, False], [False] * 4]),
    ):
        targets = dpo(min_margin=min_margin).targets(rollout(), policy(), policy())
        assert targets.pairs.kept.flatten(1).tolist() == kept


def test_first_and_last_are_places_in_a_table_of_running_totals():
    targets = dpo(window="last_k").targets(rollout(), policy(), policy())
    width = targets.observation.shape[1] + 1
    for s, pairs in enumerate(PAIRS):
        for p, pair in enumerate(pairs):
            for side, episode in enumerate(pair):
                window = window_by_hand("last_k", LENGTHS[s][episode], LENGTHS[s][pair[1 - side]])
                assert targets.pairs.first.flatten(1, 2)[s, p, side] == episode * width + window.start
                assert targets.pairs.last.flatten(1, 2)[s, p, side] == episode * width + window.stop


@pytest.mark.parametrize(
    ("min_margin", "pairs", "return_margin"), [(0.0, [4.0, 1.0], [2.5, 2.0]), (2.0, [2.0, 1.0], [4.0, 2.0])]
)
def test_diagnostics_by_hand(min_margin: float, pairs: list[float], return_margin: list[float]):
    # (5 + 1 + 3 + 1) / 4 and 2; or (5 + 3) / 2 and 2. Ties are 0 of 4 and 3 of 4, whatever is kept.
    algorithm = dpo(min_margin=min_margin)
    numbers = algorithm.diagnostics(algorithm.targets(rollout(), policy(), policy()))
    assert {name: value.tolist() for name, value in numbers.items()} == {
        "pairs": pairs,
        "tie_share": [0.0, 0.75],
        "return_margin": return_margin,
    }


@pytest.mark.parametrize("window", ["same_length", "last_k", "full"])
@pytest.mark.parametrize("min_margin", [0.0, 2.0])
def test_the_rows_compared_are_those_in_a_window_of_a_pair_that_is_kept(window: str, min_margin: float):
    targets = dpo(window=window, min_margin=min_margin).targets(rollout(), policy(), policy())
    expected = {
        (s, t, pair[side])
        for s, pairs in enumerate(PAIRS)
        for pair, margin in zip(pairs, MARGINS[s], strict=True)
        for side in range(2)
        for t in window_by_hand(window, LENGTHS[s][pair[side]], LENGTHS[s][pair[1 - side]])
        if margin > 0 and margin >= min_margin
    }
    assert {tuple(row) for row in targets.valid.nonzero().tolist()} == expected


def test_rows_of_windows_that_overlap_are_compared_once():
    # Group of three of lengths 5, 3, 1: all pairs. Episode 0 is compared over 3 steps and over 1, episode 1 likewise.
    experience = rollout(lengths=((5, 3, 1), (5, 3, 1)), rewards=((1.0, 1, 1), (1.0, 1, 1)))
    algorithm = dpo(group_size=3, pairs="all")
    targets = algorithm.targets(experience, policy(), policy())
    assert targets.valid.sum(dim=1).tolist() == [[3, 3, 1], [3, 3, 1]]
    assert one_batch(algorithm, targets).valid.sum(dim=(1, 2)).tolist() == [7, 7]


@pytest.mark.parametrize("head", HEADS)
def test_reference_log_prob_is_that_of_the_reference_at_rows_compared(head: str):
    reference, experience = policy(head), rollout(head)
    learner = policy(head)
    move(learner, 1)
    targets = dpo().targets(experience, learner, reference)
    expected = log_prob_of_rows(reference, experience) * targets.valid
    torch.testing.assert_close(targets.reference_log_prob, expected)
    assert not targets.reference_log_prob.requires_grad


# Windows


@pytest.mark.parametrize("window", ["same_length", "last_k", "full"])
@pytest.mark.parametrize("pairs", ["best_worst", "all"])
@pytest.mark.parametrize("rows_per_part", [4, ROWS_PER_PART])
def test_window_sums_are_sums_over_windows(
    window: str, pairs: str, rows_per_part: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cartpole_cli.algorithms.dpo.ROWS_PER_PART", rows_per_part)
    experience = rollout()
    algorithm = dpo(window=window, pairs=pairs)
    targets = algorithm.targets(experience, policy(), policy())
    batch = one_batch(algorithm, targets)
    sums = batch.window_sums(batch.observation[..., 0])
    width = experience.valid.shape[1] + 1
    count = 0
    for s, p in targets.pairs.kept.flatten(1).nonzero().tolist():
        pair = [int(place) // width for place in targets.pairs.first.flatten(1, 2)[s, p]]
        if pairs == "best_worst":
            assert tuple(pair) == PAIRS[s][p]
        for side, episode in enumerate(pair):
            steps = window_by_hand(window, LENGTHS[s][episode], LENGTHS[s][pair[1 - side]])
            expected = sum(experience.observation[s, t, episode, 0].item() for t in steps)
            assert sums[s, p, side].item() == pytest.approx(expected, abs=1e-5)
            count += 1
    # Seed 0: 4, or 6 + 5 (episodes 4 and 6 of its second group tie). Seed 1: 1, or 5.
    assert count == {"best_worst": 2 * (4 + 1), "all": 2 * (11 + 5)}[pairs]


# The loss


def with_log_ratios(head: str, algorithm: DPO, network: PolicyNetwork) -> DPORows:
    """Log-ratios at t = 0, 1 of the pairs whose margin is at least 2; 100 at all other rows.

    Seed 0: pair (0, 2) has a window of one step, log-ratios 0.7 and -0.3: h = 1.
    Pair (5, 6) has two, 0.5 + 0.1 and 1.0 + 0.1: h = -0.5; per step 0.3 - 0.55 = -0.25.
    Seed 1: pair (4, 5) has one, -1 and 2: h = -3.
    """
    experience = rollout(head)
    log_ratio = torch.full(experience.valid.shape, 100.0)
    log_ratio[0, 0, 0], log_ratio[0, 0, 2] = 0.7, -0.3
    log_ratio[0, :2, 5], log_ratio[0, :2, 6] = torch.tensor([0.5, 0.1]), torch.tensor([1.0, 0.1])
    log_ratio[1, 0, 4], log_ratio[1, 0, 5] = -1.0, 2.0
    targets = algorithm.targets(experience, network, network)
    return replace(targets, reference_log_prob=log_prob_of_rows(network, experience) - log_ratio)


def f(x: float) -> float:
    """-log sigmoid(-x)"""
    return math.log(1 + math.exp(x))


LOSSES = {  # beta = 2: beta h = 2 and -1; -6
    "sigmoid": ({}, [(f(-2) + f(1)) / 2, f(6)]),
    "smoothed sigmoid": (
        {"label_smoothing": 0.1},
        [(0.9 * f(-2) + 0.1 * f(2) + 0.9 * f(1) + 0.1 * f(-1)) / 2, 0.9 * f(6) + 0.1 * f(-6)],
    ),
    "robust": (
        {"loss": "robust", "label_smoothing": 0.1},
        [(0.9 * f(-2) - 0.1 * f(2) + 0.9 * f(1) - 0.1 * f(-1)) / 2 / 0.8, (0.9 * f(6) - 0.1 * f(-6)) / 0.8],
    ),
    # 1 / (2 beta) = 0.25: (1 - 0.25)^2 and (-0.25 - 0.25)^2; (-3 - 0.25)^2
    "ipo": ({"loss": "ipo"}, [(0.5625 + 0.25) / 2, 10.5625]),
    # max(0, 1 - 2) and 1 + 1; 1 + 6
    "hinge": ({"loss": "hinge"}, [1.0, 7.0]),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("name", LOSSES)
def test_the_loss_by_hand(name: str, head: str):
    changes, expected = LOSSES[name]
    algorithm, network = dpo(min_margin=2.0, **changes), policy(head)
    loss = algorithm.loss(network, one_batch(algorithm, with_log_ratios(head, algorithm, network)))
    torch.testing.assert_close(loss.total, torch.tensor(expected), rtol=1e-5, atol=1e-5)
    assert torch.equal(loss.terms["preference_loss"], loss.total)
    assert loss.stop is None


@pytest.mark.parametrize("head", HEADS)
def test_terms_by_hand(head: str):
    algorithm, network = dpo(min_margin=2.0), policy(head)
    terms = algorithm.loss(network, one_batch(algorithm, with_log_ratios(head, algorithm, network))).terms
    log_prob = log_prob_of_rows(network, rollout(head))

    def per_step(seed: int, episode: int, steps: int) -> float:
        return log_prob[seed, :steps, episode].mean().item()

    expected = {
        "preference_loss": [(f(-2) + f(1)) / 2, f(6)],
        "margin": [(2 - 1) / 2, -6.0],
        "accuracy": [1 / 2, 0.0],
        "saturation": [0.0, 1.0],
        "chosen_reward": [2 * (0.7 + 0.6) / 2, 2 * -1.0],
        "rejected_reward": [2 * (-0.3 + 1.1) / 2, 2 * 2.0],
        "chosen_log_prob": [(per_step(0, 0, 1) + per_step(0, 5, 2)) / 2, per_step(1, 4, 1)],
        "rejected_log_prob": [(per_step(0, 2, 1) + per_step(0, 6, 2)) / 2, per_step(1, 5, 1)],
    }
    assert terms.keys() == expected.keys()
    for name, numbers in expected.items():
        torch.testing.assert_close(terms[name], torch.tensor(numbers), rtol=1e-5, atol=1e-5, msg=name)


def test_a_margin_of_zero_counts_as_half_accurate():
    algorithm, network = dpo(), policy()
    batch = one_batch(algorithm, algorithm.targets(rollout(), network, network))
    log_prob = network.distribution(batch.observation.squeeze(1)).log_prob(batch.action.squeeze(1)).detach()
    terms = algorithm.loss(network, replace(batch, reference_log_prob=log_prob.unsqueeze(1))).terms
    assert terms["margin"].tolist() == [0.0, 0.0]
    assert terms["accuracy"].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_sft_adds_the_chosen_steps_negative_log_likelihood_per_step(variant: str, head: str):
    algorithm, network = dpo(min_margin=2.0, sft_weight=0.7, loss=variant), policy(head)
    targets = with_log_ratios(head, algorithm, network)
    loss = algorithm.loss(network, one_batch(algorithm, targets))
    without = dpo(min_margin=2.0, loss=variant)
    preference = without.loss(network, one_batch(without, targets))
    log_prob = log_prob_of_rows(network, rollout(head))
    # Seed 0: windows of 1 and 2 steps, each pair half; seed 1: of 1 step.
    chosen = [log_prob[0, 0, 0] / 2 + (log_prob[0, 0, 5] + log_prob[0, 1, 5]) / 4, log_prob[1, 0, 4]]
    torch.testing.assert_close(loss.total, preference.total - 0.7 * torch.stack(chosen), rtol=1e-5, atol=1e-5)
    assert torch.equal(loss.terms["preference_loss"], preference.total)
    for with_sft, plain in zip(gradients(loss.total, network), gradients(preference.total, network), strict=True):
        assert not torch.allclose(with_sft, plain)


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("window", ["same_length", "full"])
def test_more_rows_than_a_part_holds_give_the_loss_and_gradient_of_one_part(window: str, variant: str, head: str):
    lengths = ((700, 650, 610, 590, 300, 500, 650, 700), (700, 10, 20, 30, 5, 300, 250, 400))
    experience = rollout(head, lengths, ((1.0,) * 8,) * 2)
    algorithm = dpo(window=window, loss=variant, beta=0.1, label_smoothing=0.2, sft_weight=0.3)
    reference, network = policy(head), policy(head)
    move(network, 1, by=0.05)
    targets = algorithm.targets(experience, network, reference)
    batch = one_batch(algorithm, targets)
    assert batch.valid.shape[1] > 2
    assert (batch.valid.sum(dim=(1, 2)) == targets.valid.sum(dim=(1, 2))).all()
    loss = algorithm.loss(network, batch)

    def directly(seed: int) -> Tensor:
        total = torch.zeros(())
        rows = experience.observation.nan_to_num(0.0).flatten(1, 2)
        actions = experience.action.flatten(1, 2)
        actions = actions.nan_to_num(0.0) if actions.is_floating_point() else actions.clamp(max=1)
        shape = experience.valid.shape
        log_prob = network.distribution(rows).log_prob(actions).view(shape)
        log_ratio = log_prob - reference.distribution(rows).log_prob(actions).view(shape).detach()
        width = shape[1] + 1
        pairs = targets.pairs.first[seed][targets.pairs.kept[seed]] // width
        for better, worse in pairs.tolist():
            sums, sums_per_step, likelihoods = [], [], []
            for episode, other in ((better, worse), (worse, better)):
                steps = window_by_hand(window, lengths[seed][episode], lengths[seed][other])
                sums.append(log_ratio[seed, : steps.stop, episode].sum())
                sums_per_step.append(sums[-1] / len(steps))
                likelihoods.append(log_prob[seed, : steps.stop, episode].mean())
            x = 0.1 * (sums[0] - sums[1])
            right, wrong = -torch.nn.functional.logsigmoid(x), -torch.nn.functional.logsigmoid(-x)
            preference = {
                "sigmoid": 0.8 * right + 0.2 * wrong,
                "robust": (0.8 * right - 0.2 * wrong) / 0.6,
                "hinge": torch.relu(1 - x),
                "ipo": (sums_per_step[0] - sums_per_step[1] - 5) ** 2,
            }[variant]
            total = total + (preference - 0.3 * likelihoods[0]) / len(pairs)
        return total

    expected = torch.stack([directly(0), directly(1)])
    torch.testing.assert_close(loss.total, expected, rtol=1e-4, atol=1e-4)
    for actual, wanted in zip(gradients(loss.total, network), gradients(expected, network), strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-3, atol=1e-3 * wanted.abs().max().item())


# Minibatches

GROUPS_OF_TWO = {  # five groups; seed 1 has no pair in three of them
    "lengths": ((6, 1, 2, 5, 4, 3, 1, 2, 6, 5), (3, 3, 4, 4, 1, 5, 6, 6, 2, 4)),
    "rewards": ((1.0,) * 10,) * 2,
}


def places(batch: DPORows, seed: int) -> list[int]:
    return sorted(batch.place[seed][batch.valid[seed]].tolist())


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, None])
def test_every_pair_is_used_once_per_epoch_and_counts_the_same(size: int | None):
    algorithm = dpo(group_size=2, groups_per_minibatch=size, num_epochs=3)
    targets = algorithm.targets(rollout(**GROUPS_OF_TWO), policy(), policy())
    kept = targets.pairs.kept.flatten(1)
    assert kept.sum(dim=1).tolist() == [5, 2]
    epochs = batches(algorithm, targets)
    assert len(epochs) == 3
    assert {len(step) for epoch in algorithm.epochs(targets, STREAMS, 0, START) for step in epoch} == {1}
    for epoch in epochs:
        assert len(epoch) == {1: 5, 2: 3, 3: 2}.get(size, 1)
        used = torch.stack([batch.pairs.weight > 0 for batch in epoch])
        assert torch.equal(used.sum(dim=0), kept.long())
        num_steps = used.any(dim=2).sum(dim=0)
        share = torch.stack([batch.pairs.weight for batch in epoch]).sum(dim=0) / num_steps.unsqueeze(1)
        torch.testing.assert_close(share.sum(dim=1), torch.ones(S))
        torch.testing.assert_close(share, kept / kept.sum(dim=1, keepdim=True))
        for batch, pairs in zip(epoch, used, strict=True):
            assert pairs.shape == (S, 5)
            for s in range(S):
                windows = zip(
                    batch.pairs.first[s][pairs[s]].flatten(), batch.pairs.last[s][pairs[s]].flatten(), strict=True
                )
                # A row's place is that of the running total that ends with it.
                assert places(batch, s) == sorted(place + 1 for a, b in windows for place in range(int(a), int(b)))


def test_minibatches_are_shuffled_anew_in_every_epoch_iteration_and_seed():
    algorithm = dpo(group_size=2, groups_per_minibatch=1, num_epochs=4)
    targets = algorithm.targets(rollout(lengths=((2, 1) * 10,) * 2, rewards=((1.0,) * 20,) * 2), policy(), policy())
    assert targets.pairs.kept.all()
    orders = [
        tuple(int(batch.pairs.weight[s].argmax()) for batch in epoch)
        for iteration in range(2)
        for epoch in batches(algorithm, targets, iteration)
        for s in range(S)
    ]
    assert all(sorted(order) == list(range(10)) for order in orders)
    assert len(set(orders)) == len(orders) == 16
    again = [tuple(int(batch.pairs.weight[0].argmax()) for batch in epoch) for epoch in batches(algorithm, targets, 1)]
    assert again == orders[8::2]


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [1, 2, 3])
def test_one_steps_gradient_is_the_minibatches_mean_at_the_same_parameters(size: int, variant: str, head: str):
    experience, reference, network = rollout(head, **GROUPS_OF_TWO), policy(head), policy(head)
    move(network, 1)
    options = {"group_size": 2, "loss": variant, "sft_weight": 0.1}
    whole = dpo(**options)
    targets = whole.targets(experience, network, reference)
    expected = whole.loss(network, one_batch(whole, targets)).total
    [epoch] = batches(dpo(**options, groups_per_minibatch=size), targets)
    num_steps = torch.stack([batch.pairs.weight.any(dim=1) for batch in epoch]).sum(dim=0)
    total = torch.stack([whole.loss(network, batch).total for batch in epoch]).sum(dim=0) / num_steps
    torch.testing.assert_close(total, expected, rtol=1e-5, atol=1e-5)
    for actual, wanted in zip(gradients(total, network), gradients(expected, network), strict=True):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-5)


# The noisy rater


@pytest.mark.parametrize("window", ["same_length", "last_k", "full"])
@pytest.mark.parametrize("size", [None, 1])
def test_the_noisy_rater_swaps_the_pairs_it_errs_about_all_through_an_iteration(window: str, size: int | None):
    # Margins 1 or 5 at a temperature of 3: errors with probabilities 0.42 and 0.16.
    experience = rollout(lengths=((6, 1, 2, 3, 1, 2, 6, 5) * 4,) * 2, rewards=((1.0,) * 32,) * 2)
    options = {"group_size": 2, "window": window, "num_epochs": 3, "sft_weight": 0.5}
    algorithm = dpo(**options, **noisy(3.0), groups_per_minibatch=size)
    network = policy()
    move(network, 1)
    targets = algorithm.targets(experience, network, policy())
    clean = batches(dpo(**options), targets)[0][0]
    clean_sums = clean.window_sums(clean.observation[..., 0])
    seen = []
    for iteration in range(3):
        noise = STREAMS.uniform("rater", iteration, shape=(16, 1))
        errs = bradley_terry_errs(targets.pairs.margin, per_seed(3.0, targets.pairs.margin), noise).flatten(1)
        assert errs.any()
        assert not errs.all()
        seen.append(errs)
        swap = errs.unsqueeze(2)
        for epoch in batches(algorithm, targets, iteration):
            for batch in epoch:
                assert torch.equal(batch.pairs.first, torch.where(swap, clean.pairs.first.flip(2), clean.pairs.first))
                assert torch.equal(batch.pairs.last, torch.where(swap, clean.pairs.last.flip(2), clean.pairs.last))
                sums = batch.window_sums(batch.observation[..., 0])
                used = batch.pairs.weight > 0
                expected = torch.where(swap, clean_sums.flip(2), clean_sums)
                torch.testing.assert_close(sums[used], expected[used], rtol=1e-5, atol=1e-5)
                assert algorithm.loss(network, batch).total.isfinite().all()
    assert not any(torch.equal(a, b) for a, b in [(seen[0], seen[1]), (seen[0], seen[2]), (seen[1], seen[2])])
    assert not torch.equal(seen[0][0], seen[0][1])


def test_the_noisy_raters_share_of_wrong_labels_is_bradley_and_terrys():
    # T = 2 / ln 3: a margin of 2 is judged wrongly with probability 1/4, one of 4 with 1 / (1 + 9) = 1/10.
    num_groups = 2000
    experience = rollout(lengths=((3, 1, 1, 5) * num_groups,) * 2, rewards=((1.0,) * 4 * num_groups,) * 2)
    algorithm = dpo(group_size=2, window="last_k", window_steps=1, **noisy(2 / math.log(3)))
    targets = algorithm.targets(experience, policy(), policy())
    assert targets.pairs.margin[:, :2, 0].tolist() == [[2, 4], [2, 4]]
    batch = one_batch(algorithm, targets)
    wrong = (batch.pairs.first != targets.pairs.first.flatten(1, 2)).all(dim=2)
    share = wrong.view(S, num_groups, 2).double().mean(dim=(0, 1))
    # Of 4000 each: standard deviations are 0.007 and 0.005.
    torch.testing.assert_close(share, torch.tensor([0.25, 0.1], dtype=torch.float64), rtol=0, atol=0.025)


def test_a_noisy_rater_changes_neither_what_is_kept_nor_the_diagnostics():
    erring, honest = dpo(**noisy(1.0)), dpo()
    targets = erring.targets(rollout(), policy(), policy())
    assert torch.equal(targets.pairs.kept, honest.targets(rollout(), policy(), policy()).pairs.kept)
    weight = one_batch(erring, targets).pairs.weight
    assert weight.tolist() == [[0.25] * 4, [0.0, 0.0, 1.0, 0.0]]


# No pair left


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("size", [None, 1])
def test_without_a_pair_all_weights_are_zero_and_nothing_moves(size: int | None, variant: str, head: str):
    algorithm = dpo(loss=variant, sft_weight=0.5, groups_per_minibatch=size, **noisy(1.0), num_epochs=2)
    network = policy(head)
    targets = algorithm.targets(rollout(head, lengths=((4,) * 8,) * 2, rewards=((1.0,) * 8,) * 2), network, network)
    assert not targets.valid.any()
    epochs = batches(algorithm, targets)
    assert [len(epoch) for epoch in epochs] == [2 if size else 1] * 2
    for epoch in epochs:
        for batch in epoch:
            assert not batch.pairs.weight.any()
            loss = algorithm.loss(network, batch)
            assert loss.total.tolist() == [0.0, 0.0]
            assert all(term.tolist() == [0.0, 0.0] for term in loss.terms.values())
            assert not any(gradient.any() for gradient in gradients(loss.total, network))
    numbers = algorithm.diagnostics(targets)
    assert numbers["pairs"].tolist() == [0.0, 0.0]
    assert numbers["tie_share"].tolist() == [1.0, 1.0]


def test_a_seed_without_a_pair_does_not_disturb_the_other():
    algorithm, network = dpo(sft_weight=0.1), policy()
    move(network, 1)
    one_empty = rollout(lengths=((4,) * 8, LENGTHS[1]), rewards=((1.0,) * 8, REWARDS[1]))
    both = rollout()
    columns = {
        name: torch.cat(
            [getattr(one_empty, name)[:1].new_zeros(getattr(both, name)[:1].shape), getattr(both, name)[1:]]
        )
        for name in ("observation", "action", "reward", "next_observation", "terminated", "truncated", "valid")
    }
    columns["valid"][0, :4] = True
    totals = []
    for experience in (both, replace(both, **columns)):
        loss = algorithm.loss(network, one_batch(algorithm, algorithm.targets(experience, network, policy())))
        totals.append(loss.total)
    assert totals[1][0] == 0.0
    assert torch.equal(totals[0][1], totals[1][1])


# The rest


def test_hints():
    algorithm = dpo()
    fine = {"pairs": 3.0, "saturation": 0.5, "chosen_reward": 0.1, "margin": 0.2}
    assert algorithm.hint(fine) is None
    assert "no pairs are left" in algorithm.hint({"pairs": 0.0} | dict.fromkeys(("saturation", "margin"), math.nan))
    assert "saturated" in algorithm.hint(fine | {"saturation": 0.51})
    assert "chosen_reward < 0" in algorithm.hint(fine | {"chosen_reward": -0.1})
    assert algorithm.hint(fine | {"chosen_reward": -0.1, "margin": -0.2}) is None


@pytest.mark.parametrize("reference_every", [1, 5])
def test_dpo_needs_no_value_network_and_passes_reference_every_on(reference_every: int):
    algorithm = dpo(reference_every=reference_every)
    assert not algorithm.needs_value_network
    assert algorithm.reference_every == reference_every


@pytest.mark.parametrize(("branch_from", "before"), [("start", None), ("episode", None), ("before_failure", 3)])
def test_groups_begin_in_one_state_and_where_asked_to(branch_from: str, before: int | None):
    def simulator() -> CartPoleSimulator:
        return CartPoleSimulator(STREAMS, 8, max_episode_steps=60)

    network = PolicyNetwork(Architecture(4, (16,), "tanh", False, actions=PUSHES), STREAMS)
    experience = dpo(branch_from=branch_from, steps_before_failure=3).collect(simulator(), network, STREAMS, 0)
    starts = experience.observation[:, 0].view(S, 2, 4, 4)
    assert (starts == starts[:, :, :1]).all()
    assert not torch.equal(starts[:, 0], starts[:, 1])
    assert bool(starts.abs().amax() <= 0.05) == (branch_from == "start")
    if branch_from == "start":
        assert experience.scout_steps == 0
    else:
        expected = collect_branches(simulator(), network, STREAMS, 0, 4, before)
        assert torch.equal(experience.observation, expected.observation)
        assert torch.equal(experience.num_steps, expected.num_steps)
