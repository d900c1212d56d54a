"""Where episodes of groups begin: in one start state, or in the middle of a scout's episode."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from members import trainer_of
from torch import Tensor

from cartpole_cli.actions import PUSHES
from cartpole_cli.environments.build import build_environment
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.experience import Rollout, collect_branches, collect_episodes
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import DPORecipe
from cartpole_cli.recipe.environment import GymnasiumEnvironment
from cartpole_cli.recipe.recipe import NativeEnvironment, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.training.trainer import Trainer

pytestmark = pytest.mark.shapes

SEEDS = (0, 1)
S = len(SEEDS)
STREAMS = Streams(SEEDS)


def policy() -> PolicyNetwork:
    """As it is initialized: nearly a coin, which fails after about 20 steps."""
    return PolicyNetwork(Architecture(4, (16,), "tanh", False, actions=PUSHES), STREAMS)


def simulator(num_envs: int, max_episode_steps: int = 500) -> CartPoleSimulator:
    return CartPoleSimulator(STREAMS, num_envs, max_episode_steps=max_episode_steps)


def starts_of_groups(rollout: Rollout, group_size: int) -> Tensor:
    """[S, Q, O], and all members begin there."""
    assert rollout.valid[:, 0].all()
    starts = rollout.observation[:, 0].unflatten(1, (-1, group_size))
    assert torch.equal(starts, starts[:, :, :1].expand_as(starts))
    return starts[:, :, 0]


def distinct(states: Tensor) -> int:
    return len({tuple(state) for state in states.flatten(0, -2).tolist()})


# From an episode's start


@pytest.mark.parametrize("group_size", [2, 3, 12])
def test_a_group_begins_in_one_state_and_groups_in_different_ones(group_size: int):
    environment = simulator(12)
    iterations = [collect_episodes(environment, policy(), STREAMS, i, group_size) for i in range(2)]
    starts = torch.stack([starts_of_groups(rollout, group_size) for rollout in iterations])
    assert starts.shape == (2, S, 12 // group_size, 4)
    assert starts.abs().max() <= 0.05
    assert distinct(starts) == 2 * S * 12 // group_size
    for rollout in iterations:
        assert rollout.action[:, :8].mT.flatten(0, 1).unique(dim=0).shape[0] > 12, "members act on noise of their own"
        assert torch.equal(rollout.num_steps, rollout.valid.sum(dim=(1, 2)))


def test_without_groups_every_episode_begins_elsewhere():
    assert distinct(starts_of_groups(collect_episodes(simulator(12), policy(), STREAMS, 0), 1)) == 12 * S


def test_group_size_has_to_divide_the_simulators_environments():
    with pytest.raises(ValueError, match="12 environments do not make groups of 5"):
        collect_episodes(simulator(12), policy(), STREAMS, 0, 5)


@pytest.fixture
def make() -> Iterator[Any]:
    """An adapter, closed when the test is over."""
    made: list[TrainingEnvironment] = []

    def adapter(mode: Any) -> TrainingEnvironment:
        recipe = GymnasiumEnvironment(backend="gymnasium", vectorization_mode=mode, num_envs=4, max_episode_steps=12)
        made.append(build_environment(recipe, STREAMS))
        return made[-1]

    yield adapter
    for one in made:
        one.close()


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_gymnasiums_groups_begin_in_one_state_too(make: Any, mode: str):
    environment = make(mode)
    grouped = [collect_episodes(environment, policy(), STREAMS, i, 2) for i in range(2)]
    starts = torch.stack([starts_of_groups(rollout, 2) for rollout in grouped])
    assert starts.abs().max() <= 0.05
    assert distinct(starts) == 2 * S * 2
    assert all(distinct(rollout.observation[:, 4]) > 2 * S for rollout in grouped), "members go their own ways"
    assert distinct(collect_episodes(environment, policy(), STREAMS, 2).observation[:, 0]) == 4 * S
    with pytest.raises(ValueError, match="4 environments do not make groups of 3"):
        collect_episodes(environment, policy(), STREAMS, 3, 3)


def test_vector_entry_point_makes_no_groups(make: Any):
    environment = make("vector_entry_point")
    with pytest.raises(ValueError, match="cannot start groups"):
        collect_episodes(environment, policy(), STREAMS, 0, 2)
    assert collect_episodes(environment, policy(), STREAMS, 0).valid[:, 0].all()


# From the middle of a scout's episode


def scouted(num_envs: int, max_episode_steps: int, iteration: int) -> Rollout:
    """The scouts' episodes, played again in an environment of their own."""
    return collect_episodes(simulator(num_envs, max_episode_steps), policy(), STREAMS.named("scouts"), iteration)


def branched(
    num_envs: int, max_episode_steps: int, iteration: int, group_size: int, steps_before_failure: int | None
) -> Rollout:
    environment = simulator(num_envs, max_episode_steps)
    return collect_branches(environment, policy(), STREAMS, iteration, group_size, steps_before_failure)


@pytest.mark.parametrize("steps_before_failure", [1, 5, 18])
def test_a_group_begins_some_steps_before_its_leaders_scout_failed(steps_before_failure: int):
    num_envs, limit, group_size = 60, 24, 3
    scouts = scouted(num_envs, limit, iteration=4)
    branches = branched(num_envs, limit, 4, group_size, steps_before_failure)
    starts = starts_of_groups(branches, group_size)
    seen = {"before the failure": 0, "too early": 0, "never failed": 0}
    for s in range(S):
        for q in range(num_envs // group_size):
            leader, members = q * group_size, slice(q * group_size, (q + 1) * group_size)
            length = int(scouts.valid[s, :, leader].sum())
            failed = bool(scouts.terminated[s, length - 1, leader])
            assert failed or length == limit
            step = length - steps_before_failure if failed and length > steps_before_failure else 0
            kind = "never failed" if not failed else "before the failure" if step else "too early"
            seen[kind] += 1
            assert torch.equal(starts[s, q], scouts.observation[s, step, leader]), kind
            assert branches.valid[s, :, members].sum(dim=0).max() <= limit - step
    assert seen["before the failure"] > 5
    assert seen["never failed"] > 2
    assert (seen["too early"] > 2) == (steps_before_failure == 18)


def steps_of_branches(scouts: Rollout, branches: Rollout, group_size: int) -> tuple[Tensor, Tensor]:
    """At which step of its leader's scout a group begins, and how long that scout's episode was: [S, Q] each."""
    starts = starts_of_groups(branches, group_size)
    leaders = scouts.observation[:, :, ::group_size]
    here = (leaders == starts.unsqueeze(1)).all(dim=3) & scouts.valid[:, :, ::group_size]
    assert (here.sum(dim=1) == 1).all(), "each start is one row of the leader's scout"
    return here.long().argmax(dim=1), scouts.valid[:, :, ::group_size].sum(dim=1)


def test_without_a_number_of_steps_a_group_begins_at_a_random_one():
    num_envs, limit, group_size = 240, 40, 2
    shares = []
    for iteration in range(2):
        branches = branched(num_envs, limit, iteration, group_size, None)
        step, length = steps_of_branches(scouted(num_envs, limit, iteration), branches, group_size)
        # A uniform share u of the length L, rounded down to a step: u is in [step / L, (step + 1) / L).
        shares.append((step / length, (step + 1) / length))
        middle = (step + 0.5) / length
        # 120 groups: the mean's standard deviation is 0.29 / sqrt(120) = 0.026.
        torch.testing.assert_close(middle.mean(dim=1), torch.full((S,), 0.5), rtol=0, atol=0.1)
        assert (step == 0).any()
        assert (step == length - 1).any()
        assert not torch.equal(step[0], step[1])
    (low, high), (other_low, other_high) = shares
    apart = (low >= other_high) | (other_low >= high)
    assert apart.float().mean() > 0.5, "other shares in another iteration"
    apart = (low[0] >= high[1]) | (low[1] >= high[0])
    assert apart.float().mean() > 0.5, "other shares for another seed"


@pytest.mark.parametrize(("steps_before_failure", "limit"), [(None, 12), (15, 24)])
def test_a_branch_ends_when_the_episode_it_left_would_have_had_to(steps_before_failure: int | None, limit: int):
    num_envs, group_size = 60, 2
    branches = branched(num_envs, limit, 0, group_size, steps_before_failure)
    step, _ = steps_of_branches(scouted(num_envs, limit, 0), branches, group_size)
    left = limit - step.repeat_interleave(group_size, dim=1)
    length = branches.valid.sum(dim=1)
    cut = (branches.truncated & branches.valid).any(dim=1)
    assert (length <= left).all()
    assert (length == left)[cut].all()
    assert (cut & (left < limit)).sum() > 5, "some episodes are cut that began in the middle"
    # Consecutive rows from the first, and one end each.
    index = torch.arange(limit).view(1, -1, 1)
    assert torch.equal(branches.valid, index < length.unsqueeze(1))
    assert (branches.ended.sum(dim=1) == 1).all()


@pytest.mark.parametrize("steps_before_failure", [None, 5])
@pytest.mark.parametrize("group_size", [1, 4])
def test_the_leaders_scouts_count_as_steps_and_are_no_rows(group_size: int, steps_before_failure: int | None):
    scouts = scouted(12, 40, 0)
    branches = branched(12, 40, 0, group_size, steps_before_failure)
    leaders = scouts.valid[:, :, ::group_size].sum(dim=(1, 2))
    rows = branches.valid.sum(dim=(1, 2))
    assert torch.equal(torch.as_tensor(branches.scout_steps), leaders)
    assert torch.equal(branches.num_steps, rows + leaders)
    assert branches.ended.sum(dim=1).tolist() == [[1] * 12] * S


def test_members_of_a_branch_act_on_noise_of_their_own_and_not_the_scouts():
    scouts, branches = scouted(40, 40, 0), branched(40, 40, 0, 2, 1000)
    starts = starts_of_groups(branches, 2)
    assert torch.equal(starts, scouts.observation[:, 0, ::2]), "1000 steps before its failure is its start"
    first, second = branches.action[:, :8, ::2], branches.action[:, :8, 1::2]
    assert (first != second).any(dim=1).float().mean() > 0.9
    assert (first != scouts.action[:, :8, ::2]).any(dim=1).float().mean() > 0.9


def test_only_an_environment_that_branches_can(make: Any):
    with pytest.raises(AssertionError):
        collect_branches(make("sync"), policy(), STREAMS, 0, 2, None)


# In a trainer


def trainer(branch_from: str) -> Trainer:
    recipe = Recipe(
        algorithm=DPORecipe(name="dpo", group_size=4, branch_from=branch_from, steps_before_failure=5, num_epochs=1),
        environment=NativeEnvironment(backend="native", num_envs=32, max_episode_steps=40),
        policy=PolicyRecipe(hidden_sizes=(16,)),
        trainer=TrainerRecipe(evaluate_every=1000),
    )
    return trainer_of(recipe, SEEDS)


@pytest.mark.parametrize("branch_from", ["start", "before_failure"])
def test_a_trainer_counts_the_scouts_steps(branch_from: str, monkeypatch: pytest.MonkeyPatch):
    collected: list[Rollout] = []
    collect = "collect_branches" if branch_from == "before_failure" else "collect_episodes"
    original = {"collect_branches": collect_branches, "collect_episodes": collect_episodes}[collect]

    def recording(*arguments: Any) -> Rollout:
        collected.append(original(*arguments))
        return collected[-1]

    monkeypatch.setattr(f"cartpole_cli.algorithms.dpo.{collect}", recording)
    running = trainer(branch_from)
    first_scouts = collect_episodes(
        trainer(branch_from).environment, trainer(branch_from).policy, running.streams.named("scouts"), 0
    )
    reports = [report for report, _ in zip(running.iterations(), range(2), strict=False)]
    rows = [rollout.valid.sum(dim=(1, 2)) for rollout in collected]
    scouts = [torch.as_tensor(rollout.scout_steps).expand(S) for rollout in collected]
    if branch_from == "start":
        assert not torch.stack(scouts).any()
    else:
        assert torch.equal(scouts[0], first_scouts.valid[:, :, ::4].sum(dim=(1, 2)))
    for index in range(S):
        counted = [report.seeds[index].env_steps for report in reports]
        expected = rows[0][index] + scouts[0][index]
        assert counted == [expected, expected + rows[1][index] + scouts[1][index]]
        assert [report.seeds[index].episodes for report in reports] == [32, 32], "the scouts' are none of them"
