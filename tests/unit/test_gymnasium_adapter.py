"""Gymnasium's environments behind our protocol, in its three ways of making vectors of them."""

import copy
import gc
import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.spaces import Box
from members import trainer_of
from torch import Tensor

from cartpole_cli.actions import Continuous, Discrete
from cartpole_cli.environments.build import build_environment
from cartpole_cli.environments.interface import Transition
from cartpole_cli.environments.physics import Physics, cart_pole_step
from cartpole_cli.errors import CartpoleError
from cartpole_cli.experience import Rollout, collect_episodes, collect_steps
from cartpole_cli.policy.build import build_policy
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.environment import GymnasiumEnvironment
from cartpole_cli.recipe.recipe import MIN_GROUPS, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.tasks import PHYSICS

MODES = pytest.mark.parametrize("mode", ["sync", "async", "vector_entry_point"])
RESET_BY_MASK = pytest.mark.parametrize("mode", ["sync", "async"])
LIMITS = torch.tensor([2.4, torch.inf, 12 * 2 * torch.pi / 360, torch.inf])


class Counting(gymnasium.Env[Any, Any]):
    """Observes [the episode's random name, steps so far]; action 1 terminates."""

    observation_space = Box(0.0, np.inf, (2,), np.float32)
    action_space: Any = spaces.Discrete(2)

    def __init__(self, action_space: Any = None) -> None:
        self.action_space = action_space or Counting.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.name, self.steps = self.np_random.uniform(), 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.steps += 1
        return self._observation(), 1.0, bool(action == 1), False, {}

    def _observation(self) -> Any:
        return np.array([self.name, self.steps], dtype=np.float32)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", autouse=True)
def _registered() -> Iterator[None]:
    """Counting environments of our own: `limit4`, `limit10`, `limitless`, and three with unsupported actions."""
    options: dict[str, dict[str, Any]] = {
        "limit4": {"max_episode_steps": 4},
        "limit10": {"max_episode_steps": 10},
        "limitless": {},
        "from1": {"max_episode_steps": 4, "kwargs": {"action_space": spaces.Discrete(2, start=1)}},
        "unbounded": {"max_episode_steps": 4, "kwargs": {"action_space": Box(-np.inf, np.inf, (1,), np.float32)}},
        "matrix": {"max_episode_steps": 4, "kwargs": {"action_space": Box(-1.0, 1.0, (2, 2), np.float32)}},
    }
    for name, kwargs in options.items():
        gymnasium.register(id=f"{name}-v0", entry_point=Counting, **kwargs)
    yield
    for name in options:
        del gymnasium.registry[f"{name}-v0"]


def _adapter(environment_id: str, mode: Any, num_envs: int, seeds: Sequence[int] = (0,), **options: Any) -> Any:
    fields: Any = {"id": environment_id, "vectorization_mode": mode, "num_envs": num_envs} | options
    return build_environment(GymnasiumEnvironment(backend="gymnasium", **fields), Streams(seeds))


@pytest.fixture
def make() -> Iterator[Any]:
    """An adapter, closed when the test is over."""
    made = []

    def adapter(*given: Any, **options: Any) -> Any:
        made.append(_adapter(*given, **options))
        return made[-1]

    yield adapter
    for one in made:
        one.close()


def _steps(adapter: Any, actions: Tensor) -> tuple[list[Transition], list[Tensor]]:
    """The transitions, and `observation` after each."""
    transitions, after = [], []
    for action in actions:
        transitions.append(adapter.step(action))
        after.append(adapter.observation)
    return transitions, after


# Resets by mask


@RESET_BY_MASK
def test_the_end_shows_the_true_successor_and_then_a_fresh_start(make: Any, mode: str) -> None:
    adapter = make("limit4-v0", mode, 3, seeds=(0, 1))
    name = adapter.observation[..., 0]
    transition = adapter.step(torch.tensor([[0, 1, 0], [0, 0, 0]]))
    assert torch.equal(transition.next_observation[..., 0], name)
    assert transition.next_observation[..., 1].eq(1).all()
    assert transition.terminated.tolist() == [[False, True, False], [False, False, False]]
    assert adapter.observation[..., 1].tolist() == [[1, 0, 1], [1, 1, 1]]
    assert (adapter.observation[..., 0] == name).tolist() == [[True, False, True], [True, True, True]]
    adapter.step(torch.zeros(2, 3, dtype=torch.int64))
    assert adapter.observation[..., 1].tolist() == [[2, 1, 2], [2, 2, 2]]


@RESET_BY_MASK
def test_the_time_limit_truncates_and_termination_wins_where_both_hold(make: Any, mode: str) -> None:
    adapter = make("limit4-v0", mode, 3)
    quiet = torch.zeros(3, 1, 3, dtype=torch.int64)
    transitions, _ = _steps(adapter, torch.cat([quiet, torch.tensor([[[0, 1, 0]]])]))
    assert not any((t.terminated | t.truncated).any() for t in transitions[:3])
    assert transitions[3].terminated.tolist() == [[False, True, False]]
    assert transitions[3].truncated.tolist() == [[True, False, True]]
    assert adapter.observation[..., 1].eq(0).all()


@RESET_BY_MASK
def test_an_episode_starts_the_same_whatever_happened_before_it(make: Any, mode: str) -> None:
    def starts(seeds: Sequence[int], index: int, action_seed: int) -> list[list[float]]:
        adapter = make("limit4-v0", mode, 3, seeds=seeds)
        generator = torch.Generator().manual_seed(action_seed)
        names = [[value] for value in adapter.observation[index, :, 0].tolist()]
        for _ in range(40):
            adapter.step(torch.randint(2, (len(seeds), 3), generator=generator))
            for env, (name, steps) in enumerate(adapter.observation[index].tolist()):
                if steps == 0:
                    names[env].append(name)
        return [row[:12] for row in names]

    expected = starts([5], 0, action_seed=0)
    assert all(len(set(row)) == 12 for row in expected)
    assert starts([5], 0, action_seed=1) == expected
    assert starts([4, 5, 6], 1, action_seed=2) == expected


@MODES
def test_no_two_environments_seeds_or_episodes_share_a_start(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 4, seeds=(0, 1, 2), max_episode_steps=5)
    starts = [adapter.observation]
    for _ in range(3):
        adapter.reset()
        starts.append(adapter.observation)
    transitions, after = _steps(adapter, torch.ones(40, 3, 4, dtype=torch.int64))
    for index, transition in enumerate(transitions):
        over = transition.terminated | transition.truncated
        if mode == "vector_entry_point" and index + 1 < len(transitions):
            starts.append(transitions[index + 1].next_observation[over])
        elif mode != "vector_entry_point":
            starts.append(after[index][over])
    rows = torch.cat([start.reshape(-1, 4) for start in starts])
    assert len(rows) >= 4 * 12 + 6 * 12
    assert rows.abs().max() <= 0.05
    assert len({tuple(row) for row in rows.tolist()}) == len(rows)


# CartPole-v1 in all three modes


@MODES
def test_cart_pole_rows_are_transitions_of_cart_pole(make: Any, mode: str) -> None:
    num_seeds, num_envs, limit = 2, 6, 9
    adapter = make("CartPole-v1", mode, num_envs, seeds=range(num_seeds), max_episode_steps=limit)
    assert adapter.actions == Discrete(2)
    assert (adapter.observation_size, adapter.max_episode_steps) == (4, limit)
    physics = Physics.constant(PHYSICS, num_seeds, num_envs)
    elapsed = torch.zeros(num_seeds, num_envs, dtype=torch.int64)
    over = torch.zeros(num_seeds, num_envs, dtype=torch.bool)
    seen = {"failure": 0, "limit": 0, "both": 0, "invalid": 0}
    generator = torch.Generator().manual_seed(0)
    right = torch.ones(num_seeds, num_envs, dtype=torch.int64)  # falls after 8 to 10 steps
    for step in range(150):
        action = right if step < 110 else torch.randint(2, right.shape, generator=generator)
        before = adapter.observation
        transition = adapter.step(action)
        valid = transition.valid
        assert torch.equal(transition.observation, before)
        if mode == "vector_entry_point":
            assert torch.equal(valid, ~over)
        else:
            assert valid.all()
        successor = cart_pole_step(before.movedim(-1, 0), action * 20.0 - 10.0, physics).movedim(0, -1)
        torch.testing.assert_close(transition.next_observation[valid], successor[valid], rtol=0, atol=1e-5)
        elapsed = torch.where(valid, elapsed + 1, 0)
        failed = (transition.next_observation.abs() > LIMITS).any(dim=-1) & valid
        at_limit = elapsed == limit
        assert torch.equal(transition.terminated, failed)
        assert torch.equal(transition.truncated, at_limit & ~failed)
        assert torch.equal(transition.reward, valid.float())
        over = transition.terminated | transition.truncated
        fresh = ~valid if mode == "vector_entry_point" else over
        assert (adapter.observation[fresh].abs() <= 0.05).all()
        assert torch.equal(adapter.observation[~fresh], transition.next_observation[~fresh])
        elapsed = elapsed.masked_fill(over, 0)
        for name, rows in (("failure", failed & ~at_limit), ("both", failed & at_limit), ("invalid", ~valid)):
            seen[name] += int(rows.sum())
        seen["limit"] += int(transition.truncated.sum())
    assert min(seen["failure"], seen["both"], seen["limit"]) > 0
    assert (seen["invalid"] > 0) == (mode == "vector_entry_point")


def test_the_reset_row_of_next_step_autoreset_is_not_valid_and_carries_nothing(make: Any) -> None:
    adapter = make("CartPole-v1", "vector_entry_point", 2, max_episode_steps=3)
    alternating = torch.arange(3).remainder(2)[:, None, None].expand(3, 1, 2)
    transitions, _ = _steps(adapter, alternating)
    assert transitions[-1].truncated.all()
    ends, starts = [], []
    for action in (0, 1):
        ends.append(adapter.observation)
        row = adapter.step(torch.full((1, 2), action))
        assert not (row.valid | row.terminated | row.truncated).any()
        assert row.reward.eq(0).all()
        starts.append(adapter.observation)
        for transition in _steps(adapter, alternating)[0]:
            assert transition.valid.all()
    assert torch.equal(ends[0], transitions[-1].next_observation)
    assert torch.cat(starts).abs().max() <= 0.05


@MODES
def test_what_a_step_returned_does_not_change_afterwards(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 3, max_episode_steps=5)
    transitions, copies = [], []
    for _ in range(20):
        transitions.append(adapter.step(torch.ones(1, 3, dtype=torch.int64)))
        copies.append(copy.deepcopy(transitions[-1]))
    for transition, copied in zip(transitions, copies, strict=True):
        for field in Transition.__dataclass_fields__:
            assert torch.equal(getattr(transition, field), getattr(copied, field))
    assert sum(int(transition.truncated.sum()) for transition in transitions) > 0


@RESET_BY_MASK
def test_episodes_are_counted_as_they_start(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 3, max_episode_steps=5)
    assert adapter.num_episodes.tolist() == [[1, 1, 1]]
    transitions, _ = _steps(adapter, torch.ones(25, 1, 3, dtype=torch.int64))
    ended = sum(transition.terminated.long() + transition.truncated.long() for transition in transitions)
    assert (adapter.num_episodes - 1).tolist() == ended.tolist() == [[5, 5, 5]]


@MODES
def test_a_seed_beside_others_is_its_solo_adapter(make: Any, mode: str) -> None:
    together = make("CartPole-v1", mode, 3, seeds=(4, 5, 6), max_episode_steps=7)
    alone = make("CartPole-v1", mode, 3, seeds=(5,), max_episode_steps=7)
    actions = torch.randint(2, (40, 3, 3), generator=torch.Generator().manual_seed(0))
    studies, solos = _steps(together, actions)[0], _steps(alone, actions[:, 1:2])[0]
    for study, solo in zip(studies, solos, strict=True):
        for field in Transition.__dataclass_fields__:
            assert torch.equal(getattr(study, field)[1:2], getattr(solo, field))


@MODES
def test_two_adapters_of_one_seed_are_the_same(make: Any, mode: str) -> None:
    actions = torch.randint(2, (30, 1, 2), generator=torch.Generator().manual_seed(0))
    runs = [_steps(make("CartPole-v1", mode, 2, max_episode_steps=6), actions)[1] for _ in range(2)]
    assert torch.equal(torch.stack(runs[0]), torch.stack(runs[1]))


# Groups


NUM_ACTIONS = {"CartPole-v1": 2, "Acrobot-v1": 3}
BOTH_TASKS = pytest.mark.parametrize("environment_id", NUM_ACTIONS)


def _group_axis(value: Tensor, group_size: int) -> Tensor:
    """[S, N, ...] as [S, groups, members, ...]."""
    return value.unflatten(1, (-1, group_size))


def _all_the_same(value: Tensor, group_size: int) -> bool:
    members = _group_axis(value, group_size)
    return torch.equal(members, members[:, :, :1].expand_as(members))


@BOTH_TASKS
@RESET_BY_MASK
def test_a_group_starts_from_equal_observations_and_other_groups_seeds_and_resets_from_others(
    make: Any, mode: str, environment_id: str
) -> None:
    adapter = make(environment_id, mode, 6, seeds=(0, 1))
    starts = []
    for _ in range(2):
        adapter.reset(3)
        assert _all_the_same(adapter.observation, 3)
        starts.append(_group_axis(adapter.observation, 3)[:, :, 0].flatten(0, 1))
    assert torch.cat(starts).unique(dim=0).shape[0] == 2 * 2 * 2


@RESET_BY_MASK
def test_a_reset_without_groups_starts_every_environment_from_a_state_of_its_own(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 6, seeds=(0, 1))
    for size in ((), (1,)):
        adapter.reset(*size)
        assert adapter.observation.flatten(0, 1).unique(dim=0).shape[0] == 12


@BOTH_TASKS
@RESET_BY_MASK
def test_members_of_a_group_that_act_alike_see_the_same_to_the_end_of_the_episode(
    make: Any, mode: str, environment_id: str
) -> None:
    adapter = make(environment_id, mode, 4, seeds=(0, 1), max_episode_steps=12)
    adapter.reset(2)
    generator = torch.Generator().manual_seed(0)
    actions = torch.randint(NUM_ACTIONS[environment_id], (12, 2, 2), generator=generator)
    running = torch.ones(2, 4, dtype=torch.bool)
    for action in actions.repeat_interleave(2, dim=2):
        transition = adapter.step(action)
        for seen in (transition.observation, transition.next_observation):
            assert _all_the_same(seen * running.unsqueeze(2), 2)
        for seen in (transition.reward, transition.terminated, transition.truncated):
            assert _all_the_same(seen * running, 2)
        running = running & ~(transition.terminated | transition.truncated)
    assert not running.any()


@BOTH_TASKS
@RESET_BY_MASK
def test_a_member_of_a_group_depends_on_its_own_actions_only(make: Any, mode: str, environment_id: str) -> None:
    """The first member acts the same beside others that act the same or otherwise, who then see something else."""
    constant = torch.zeros(10, 1, 4, dtype=torch.int64)
    other = constant.clone()
    other[:, :, 1::2] = NUM_ACTIONS[environment_id] - 1
    runs = []
    for actions in (constant, other):
        adapter = make(environment_id, mode, 4, max_episode_steps=30)
        adapter.reset(2)
        runs.append(torch.stack([transition.next_observation for transition in _steps(adapter, actions)[0][:5]]))
    assert torch.equal(runs[0][:, :, ::2], runs[1][:, :, ::2])
    assert not torch.equal(runs[0][:, :, 1::2], runs[1][:, :, 1::2])
    assert torch.equal(runs[0][:, :, ::2], runs[0][:, :, 1::2])


@RESET_BY_MASK
def test_groups_are_the_same_beside_other_seeds_and_after_a_longer_run(make: Any, mode: str) -> None:
    together = make("CartPole-v1", mode, 4, seeds=(4, 5), max_episode_steps=5)
    alone = make("CartPole-v1", mode, 4, seeds=(5,), max_episode_steps=5)
    _steps(together, torch.ones(12, 2, 4, dtype=torch.int64))
    together.reset(2)
    alone.reset(2)
    assert torch.equal(together.observation[1:], alone.observation)


@RESET_BY_MASK
def test_after_a_groups_episodes_its_members_start_anew_each_from_a_state_of_its_own(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 4, max_episode_steps=3)
    adapter.reset(2)
    _steps(adapter, torch.tensor([0, 1, 0])[:, None, None].expand(3, 1, 4))
    assert adapter.num_episodes.tolist() == [[2, 2, 2, 2]]
    assert adapter.observation[0].unique(dim=0).shape[0] == 4


@MODES
def test_environments_that_do_not_make_whole_groups_are_refused(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 4)
    before = adapter.observation
    with pytest.raises(ValueError, match="4 environments do not make groups of 3"):
        adapter.reset(3)
    assert torch.equal(adapter.observation, before)
    assert adapter.num_resets == 1


def test_a_vector_entry_point_makes_no_groups_but_those_of_one(make: Any) -> None:
    adapter = make("CartPole-v1", "vector_entry_point", 4)
    with pytest.raises(ValueError, match="cannot start groups"):
        adapter.reset(2)
    adapter.reset(1)
    assert adapter.observation[0].unique(dim=0).shape[0] == 4


@RESET_BY_MASK
def test_collect_episodes_in_groups_starts_each_from_one_state(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 6, seeds=(0, 1), max_episode_steps=40)
    rollout = collect_episodes(adapter, _policy(adapter), adapter.streams, 0, 3)
    assert _all_the_same(rollout.observation[:, 0], 3)
    assert rollout.ended.sum(dim=1).eq(1).all()
    assert not _all_the_same(rollout.action[:, 0], 3) or not _all_the_same(rollout.action[:, 1], 3)
    assert not _all_the_same(_lengths(rollout), 3)


# Other environments


def test_acrobot_has_three_discrete_actions_and_six_observations(make: Any) -> None:
    adapter = make("Acrobot-v1", "sync", 2, max_episode_steps=5)
    assert adapter.actions == Discrete(3)
    assert (adapter.observation_size, adapter.max_episode_steps) == (6, 5)
    transitions, after = _steps(adapter, torch.tensor([[[0, 2]], [[1, 1]], [[2, 0]], [[0, 0]], [[2, 2]]]))
    assert transitions[-1].truncated.all()
    assert not torch.equal(after[-1], transitions[-1].next_observation)
    for transition in transitions:
        assert transition.reward.tolist() == [[-1.0, -1.0]]
        cos_sin = transition.next_observation[..., :4].unflatten(-1, (2, 2))
        torch.testing.assert_close(cos_sin.square().sum(dim=-1), torch.ones(1, 2, 2))


def test_pendulum_takes_torques_and_is_truncated_at_two_hundred_steps(make: Any) -> None:
    adapter = make("Pendulum-v1", "sync", 2)
    assert adapter.actions == Continuous((-2.0,), (2.0,))
    assert (adapter.observation_size, adapter.max_episode_steps) == (3, 200)
    reference: Any = gymnasium.make("Pendulum-v1").unwrapped
    reference.reset(seed=0)
    torques = torch.rand(200, 1, 2, 1, generator=torch.Generator().manual_seed(0)) * 4 - 2
    for step, torque in enumerate(torques):
        observation = adapter.observation
        transition = adapter.step(torque)
        cos, sin, speed = observation[0, 1].tolist()
        reference.state = np.array([np.arctan2(sin, cos), speed])
        expected, reward, *_ = reference.step(torque[0, 1].numpy())
        np.testing.assert_allclose(transition.next_observation[0, 1].numpy(), expected, atol=1e-4)
        assert float(transition.reward[0, 1]) == pytest.approx(float(reward), abs=1e-4)
        assert transition.truncated.eq(step == 199).all()
        assert not transition.terminated.any()
    assert not torch.equal(adapter.observation, transition.next_observation)


def test_our_continuous_cart_pole_is_made_from_its_module(make: Any) -> None:
    adapter = make("cartpole_cli.environments:cartpole_cli/ContinuousCartPole-v1", "sync", 2)
    assert adapter.actions == Continuous((-10.0,), (10.0,))
    assert adapter.max_episode_steps == 500
    before = adapter.observation
    force = torch.tensor([[[3.0], [-3.0]]])
    successor = cart_pole_step(before.movedim(-1, 0), force.squeeze(-1), Physics.constant(PHYSICS, 1, 2)).movedim(0, -1)
    torch.testing.assert_close(adapter.step(force).next_observation, successor, rtol=0, atol=1e-5)


# What cannot be done


@pytest.mark.parametrize(
    ("environment_id", "mode", "problem"),
    [
        ("NoSuchPole-v1", "sync", "NoSuchPole"),
        ("CartPole-v99", "sync", "v99"),
        ("no_such_module_at_all:CartPole-v1", "sync", "no_such_module_at_all"),
        ("no_such_namespace/CartPole-v1", "async", "no_such_namespace"),
        ("not an id", "sync", "Gymnasium cannot make it"),
        (":CartPole-v1", "sync", "Gymnasium cannot make it"),
        ("a:b:CartPole-v1", "sync", "Gymnasium cannot make it"),
        ("Pendulum-v1", "vector_entry_point", "vector entry point"),
        ("FrozenLake-v1", "sync", r"observations are Discrete"),
        ("Blackjack-v1", "sync", r"observations are Tuple"),
        ("from1-v0", "sync", r"actions are Discrete\(2, start=1\)"),
        ("unbounded-v0", "sync", r"actions are Box\(-inf"),
        ("matrix-v0", "sync", r"actions are Box\(-1.0, 1.0, \(2, 2\)"),
        ("limitless-v0", "sync", "environment.max_episode_steps"),
    ],
)
def test_an_environment_that_cannot_be_used_is_one_line_with_its_id(
    environment_id: str, mode: Any, problem: str
) -> None:
    with pytest.raises(CartpoleError, match=problem) as caught:
        _adapter(environment_id, mode, 2)
    assert len(caught.value.problems) == 1
    assert environment_id in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_refused_environment_leaves_no_process_behind() -> None:
    before = set(multiprocessing.active_children())
    with pytest.raises(CartpoleError):
        _adapter("FrozenLake-v1", "async", 2, seeds=(0, 1))
    gc.collect()
    assert set(multiprocessing.active_children()) <= before


def test_a_time_limit_of_the_recipe_makes_up_for_a_missing_one(make: Any) -> None:
    adapter = make("limitless-v0", "sync", 1, max_episode_steps=2)
    assert adapter.max_episode_steps == 2
    transitions, _ = _steps(adapter, torch.zeros(2, 1, 1, dtype=torch.int64))
    assert [bool(transition.truncated) for transition in transitions] == [False, True]


def test_close_closes_every_environment() -> None:
    adapter = _adapter("CartPole-v1", "async", 2, seeds=(0, 1))
    processes = [process for environment in adapter._environments for process in environment.processes]
    assert len(processes) == 4
    assert all(process.is_alive() for process in processes)
    adapter.close()
    assert not any(process.is_alive() for process in processes)
    assert all(environment.closed for environment in adapter._environments)


@pytest.mark.parametrize("num_steps", [0, 1, 3, 4, 6, 9])
@pytest.mark.parametrize(
    ("environment_id", "mode"),
    [
        ("limit4-v0", "sync"),
        ("limit4-v0", "async"),
        ("Acrobot-v1", "sync"),
        ("CartPole-v1", "sync"),
        ("CartPole-v1", "vector_entry_point"),
    ],
)
def test_a_loaded_adapter_goes_on_in_the_same_episodes(
    make: Any, environment_id: str, mode: str, num_steps: int
) -> None:
    def play(adapter: Any, first: int, last: int) -> list[Any]:
        generator = torch.Generator().manual_seed(0)
        actions = torch.randint(2, (40, 2, 3), generator=generator)
        return [adapter.step(action) for action in actions[first:last]]

    adapter = make(environment_id, mode, 3, seeds=(0, 1))
    play(adapter, 0, num_steps * 3)
    saved = copy.deepcopy(adapter.state_dict())
    loaded = make(environment_id, mode, 3, seeds=(0, 1))
    play(loaded, 0, 2)
    assert loaded.load_state_dict(saved)
    assert torch.equal(loaded.observation, adapter.observation)
    for expected, actual in zip(play(adapter, 27, 40), play(loaded, 27, 40), strict=True):
        for field in fields(expected):
            assert torch.equal(getattr(actual, field.name), getattr(expected, field.name)), field.name


def test_an_episode_that_does_not_come_back_makes_room_for_a_new_one(make: Any) -> None:
    adapter = make("limit4-v0", "sync", 2)
    _steps(adapter, torch.zeros(3, 1, 2, dtype=torch.int64))
    saved = copy.deepcopy(adapter.state_dict())
    fresh = make("limit4-v0", "sync", 2)
    assert fresh.load_state_dict(saved)
    kept = fresh.observation.clone()
    assert kept[..., 1].ne(0).all()
    saved["observation"][0, 1] += 1
    fresh = make("limit4-v0", "sync", 2)
    assert not fresh.load_state_dict(saved)
    assert torch.equal(fresh.observation[0, 0], kept[0, 0])
    assert fresh.observation[0, 1, 1] == 0, "the other one begins anew"
    assert fresh.observation[0, 1, 0] != kept[0, 1, 0]


# Collecting and training


def _policy(adapter: Any) -> PolicyNetwork:
    return build_policy(
        [PolicyRecipe(hidden_sizes=(8,))] * adapter.num_seeds,
        adapter.streams,
        observation_size=adapter.observation_size,
        actions=adapter.actions,
        value_network=False,
    )


def _lengths(rollout: Rollout) -> Tensor:
    """1 + the index of each environment's first end."""
    return rollout.ended.long().argmax(dim=1) + 1


@MODES
def test_collect_episodes_gives_one_whole_episode_of_each_environment(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 3, seeds=(0, 1), max_episode_steps=20)
    policy = _policy(adapter)
    for iteration in range(2):
        rollout = collect_episodes(adapter, policy, adapter.streams, iteration)
        assert rollout.valid.shape == (2, 20, 3)
        assert rollout.ended.sum(dim=1).eq(1).all()
        length = _lengths(rollout)
        assert torch.equal(rollout.valid, torch.arange(20)[None, :, None] < length[:, None])
        assert int(rollout.valid.sum()) == int(length.sum())
        assert length.unique().numel() > 1, "episodes of different lengths"
        assert rollout.observation[:, 0].abs().max() <= 0.05
        assert (rollout.reward * rollout.valid).sum(dim=1).eq(length).all()


@MODES
def test_collect_steps_goes_on_and_leaves_out_reset_rows_only(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 3, seeds=(0, 1), max_episode_steps=20)
    policy = _policy(adapter)
    rollouts = [collect_steps(adapter, policy, adapter.streams, 30, iteration) for iteration in range(2)]
    ended, valid = (torch.cat([getattr(r, name) for r in rollouts], dim=1) for name in ("ended", "valid"))
    assert valid.shape == (2, 60, 3)
    assert ended.any(dim=1).all()
    if mode == "vector_entry_point":
        assert torch.equal(~valid[:, 1:], ended[:, :-1])
        assert valid[:, 0].all()
    else:
        assert valid.all()
    # Valid rows are whole episodes, but for the last one: 20 steps or fewer between ends.
    steps = torch.zeros(2, 3, dtype=torch.int64)
    for row in range(60):
        steps = steps + valid[:, row]
        assert steps.max() <= 20
        steps = steps.masked_fill(ended[:, row], 0)


PPO = PPORecipe(steps_per_iteration=8, num_epochs=2, minibatch_size=8)
REINFORCE = ReinforceRecipe(baseline="value")
GRPO = GRPORecipe(name="grpo", group_size=2, num_epochs=2, kl_weight=0.1, reference_every=2)
DPO = DPORecipe(name="dpo", group_size=2, num_epochs=2, sft_weight=0.1, reference_every=2)


PLACES = [
    ("Acrobot-v1", "sync"),
    ("Pendulum-v1", "sync"),
    ("CartPole-v1", "sync"),
    ("CartPole-v1", "async"),
    ("CartPole-v1", "vector_entry_point"),
]
# Within 25 steps no Acrobot reaches its goal: groups without spread, which teach GRPO and DPO nothing.
PLACES_OF_GROUPS = PLACES[1:4]


@pytest.mark.parametrize(
    ("algorithm", "environment_id", "mode"),
    [(algorithm, *place) for algorithm in (PPO, REINFORCE) for place in PLACES]
    + [(algorithm, *place) for algorithm in (GRPO, DPO) for place in PLACES_OF_GROUPS],
    ids=lambda value: getattr(value, "name", value),
)
def test_every_algorithm_trains(algorithm: Any, environment_id: str, mode: Any) -> None:
    num_envs = MIN_GROUPS * algorithm.group_size if algorithm in (GRPO, DPO) else 2
    recipe = Recipe(
        algorithm=algorithm,
        environment=GymnasiumEnvironment(
            backend="gymnasium", id=environment_id, num_envs=num_envs, vectorization_mode=mode, max_episode_steps=25
        ),
        policy=PolicyRecipe(hidden_sizes=(8,)),
        trainer=TrainerRecipe(evaluate_every=3, evaluation_episodes=2, seed=0),
    )
    trainer = trainer_of(recipe, [0, 1])
    try:
        before = [parameter.detach().clone() for parameter in trainer.policy.parameters()]
        reports = [report for report, _ in zip(trainer.iterations(), range(3), strict=False)]
        for old, new in zip(before, trainer.policy.parameters(), strict=True):
            assert new.isfinite().all()
            assert (new != old).flatten(1).any(dim=1).all(), "every seed moves"
    finally:
        trainer.environment.close()
    for index in range(2):
        seeds = [report.seeds[index] for report in reports]
        assert not any(seed.failure or seed.finished for seed in seeds)
        assert [seed.evaluation is not None for seed in seeds] == [False, False, True]
        last = seeds[-1]
        assert last.evaluation is not None
        assert len(last.evaluation.returns) == 2
        assert np.isfinite(last.evaluation.returns).all()
        if environment_id == "CartPole-v1":
            assert all(1 <= value <= 25 for value in last.evaluation.returns)
        else:
            assert all(value <= 0 for value in last.evaluation.returns)
        if not isinstance(algorithm, PPORecipe):
            assert [seed.episodes for seed in seeds] == [num_envs] * 3
            if environment_id == "Pendulum-v1":
                assert [seed.env_steps for seed in seeds] == [25 * num_envs, 50 * num_envs, 75 * num_envs]
        elif mode == "vector_entry_point":
            pending = int(trainer.environment._over[index].sum())
            assert last.env_steps == 3 * 8 * 2 - (sum(seed.episodes for seed in seeds) - pending)
        else:
            assert [seed.env_steps for seed in seeds] == [16, 32, 48]


def test_a_resumed_run_reports_returns_of_whole_episodes_only() -> None:
    recipe = Recipe(
        algorithm=PPORecipe(steps_per_iteration=4, num_epochs=1, minibatch_size=8),
        environment=GymnasiumEnvironment(
            backend="gymnasium", id="CartPole-v1", num_envs=2, vectorization_mode="sync", max_episode_steps=6
        ),
        policy=PolicyRecipe(hidden_sizes=(8,)),
        trainer=TrainerRecipe(evaluate_every=1000),
    )
    first = trainer_of(recipe, [0])
    next(first.iterations())
    saved = copy.deepcopy(first.state_dict())
    resumed = trainer_of(recipe, [0])
    resumed.load_state_dict(saved)
    reports = [report.seeds[0] for report, _ in zip(resumed.iterations(), range(3), strict=False)]
    first.environment.close()
    resumed.environment.close()
    assert [report.episode_return for report in reports if report.episodes] == [6.0, 6.0]


# Seeds that leave


@pytest.mark.parametrize(
    ("environment_id", "mode"),
    [("CartPole-v1", "sync"), ("CartPole-v1", "async"), ("CartPole-v1", "vector_entry_point"), ("Pendulum-v1", "sync")],
)
def test_seeds_that_are_kept_go_on_as_if_the_others_were_there(make: Any, environment_id: str, mode: str) -> None:
    left, stayed = (make(environment_id, mode, 2, seeds=(4, 5, 6), max_episode_steps=15) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    shape = (60, 3, 2)
    actions = torch.randint(2, shape, generator=generator)
    if environment_id == "Pendulum-v1":
        actions = torch.rand(*shape, 1, generator=generator)
    _steps(left, actions[:20])
    _steps(stayed, actions[:20])
    left.keep_seeds([0, 2])
    assert (left.num_seeds, left.streams.seeds, left.observation.shape[0]) == (2, (4, 6), 2)
    ours, theirs = _steps(left, actions[20:, [0, 2]]), _steps(stayed, actions[20:])
    for one, other in zip(ours[0], theirs[0], strict=True):
        for field in fields(Transition):
            assert torch.equal(getattr(one, field.name), getattr(other, field.name)[[0, 2]]), field.name
    assert all(torch.equal(one, other[[0, 2]]) for one, other in zip(ours[1], theirs[1], strict=True))
    left.reset()
    stayed.reset()
    assert torch.equal(left.observation, stayed.observation[[0, 2]])


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
def test_kept_seeds_are_saved_and_loaded_without_the_others(make: Any, mode: str) -> None:
    left, loaded = make("CartPole-v1", mode, 2, seeds=(4, 5, 6)), make("CartPole-v1", mode, 2, seeds=(6,))
    actions = torch.randint(2, (40, 3, 2), generator=torch.Generator().manual_seed(0))
    _steps(left, actions[:20])
    left.keep_seeds([2])
    assert loaded.load_state_dict(copy.deepcopy(left.state_dict()))
    after = [_steps(one, actions[20:, 2:])[1] for one in (left, loaded)]
    assert all(torch.equal(one, other) for one, other in zip(*after, strict=True))


@RESET_BY_MASK
def test_the_environments_of_seeds_that_leave_are_closed(make: Any, mode: str) -> None:
    adapter = make("CartPole-v1", mode, 2, seeds=(4, 5, 6))
    before = list(adapter._environments)
    adapter.keep_seeds([1])
    assert [environment.closed for environment in before] == [True, False, True]
    adapter.step(torch.zeros(1, 2, dtype=torch.int64))
    adapter.close()
    assert all(environment.closed for environment in before)
