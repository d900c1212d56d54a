"""Cart-poles whose physics, pushes, delays and starts differ between episodes; swing-up."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from cartpole_cli.actions import FORCE
from cartpole_cli.environments.physics import Physics, drag_
from cartpole_cli.environments.randomization import Conditions, Push, Range, Starts
from cartpole_cli.environments.randomized import RandomizedCartPole
from cartpole_cli.randomness import Streams
from cartpole_cli.tasks import PHYSICS, STANDARD, TASKS, Task

DT = 0.02
WILD = Conditions(
    values={
        "gravity": Range(5.0, 20.0, logarithmic=True),
        "cart_mass": Range(0.2, 5.0, logarithmic=True),
        "pole_half_length": Range(0.2, 1.0),
        "cart_drag": Range(0.0, 1.5),
        "pole_drag": Range(0.0, 1.5),
        "hold": Range(1.0, 3.5),
        "delay": Range(0.0, 2.0),
        "observation_noise": Range(0.0, 0.1),
    },
    change_rate=0.5,
    push_rate=1.0,
    push_strength=Range(0.5, 5.0),
    starts=Starts(balance=0.3, hanging=0.1, anywhere=0.6),
)
PLACE = {name: index for index, name in enumerate(STANDARD)}


SWING_UP = TASKS["ContinuousCartPoleSwingUp-v1"]


def _simulator(
    num_envs: int,
    conditions: Conditions | None = None,
    task: Task = SWING_UP,
    *,
    seeds: Sequence[int] = (0,),
    dtype: torch.dtype = torch.float64,
    **options: Any,
) -> RandomizedCartPole:
    return RandomizedCartPole(Streams(seeds), num_envs, task, conditions or Conditions(), dtype=dtype, **options)


def _actions(seeds: Sequence[int], num_steps: int, num_envs: int) -> Tensor:
    """[T, S, N, 1], a seed's the same beside any others."""
    rows = [
        torch.rand(num_steps, num_envs, 1, generator=torch.Generator().manual_seed(seed)) * 20 - 10 for seed in seeds
    ]
    return torch.stack(rows, dim=1)


def _columns(simulator: RandomizedCartPole, actions: Tensor) -> list[Tensor]:
    rows = []
    for action in actions:
        step = simulator.step(action)
        rows.append((step.observation, step.reward, step.next_observation, step.terminated, step.truncated))
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def _page_step(state: Any, force: float, *, gravity: float, cart: float, length: float) -> Any:
    """The page's step as its description says, drag 0.75 and 1.1; in NumPy, float64."""
    x, x_dot, theta, theta_dot = state
    half, total = length / 2, cart + 0.1
    sin, cos = np.sin(theta), np.cos(theta)
    push = (force + 0.1 * half * theta_dot**2 * sin) / total
    theta_acceleration = (gravity * sin - cos * push) / (half * (4 / 3 - 0.1 * cos**2 / total))
    x_acceleration = push - 0.1 * half * theta_acceleration * cos / total
    moved = np.array(
        [
            x + DT * x_dot,
            (x_dot + DT * x_acceleration) * (1 - 0.75 * DT),
            theta + DT * theta_dot,
            (theta_dot + DT * theta_acceleration) * (1 - 1.1 * DT),
        ]
    )
    for velocity in (1, 3):
        if abs(moved[velocity]) < 1e-4:
            moved[velocity] = 0.0
    return moved


def _pushed(state: Any, strength: float) -> Any:
    x, x_dot, theta, theta_dot = state
    limit = np.radians(29.7)
    tipped = np.clip(theta + np.radians(1.5) * strength, -limit, limit) if abs(theta) <= limit else theta
    return np.array([x, x_dot + 0.4 * strength, tipped, theta_dot + np.radians(45) * strength])


# One decision, beside a reimplementation


def test_episodes_are_the_pages_with_its_sliders_drag_and_pushes() -> None:
    sliders = {"gravity": 15.0, "cart_mass": 2.0, "pole_half_length": 0.35, "cart_drag": 0.75, "pole_drag": 1.1}
    conditions = Conditions(
        values={name: Range(value, value) for name, value in sliders.items()},
        push_rate=0.25 / DT,  # a push in every fourth step
        push_strength=Range(0.5, 3.0),
    )
    simulator = _simulator(1, conditions, replace(SWING_UP, position_limit=1e9))
    state, pushes = simulator.state[:, 0, 0].numpy(), 0
    for action in _actions((5,), 200, 1):
        before = simulator.state[:, 0, 0].numpy()
        successor = simulator.step(action).next_observation[0, 0].double().numpy()
        assert np.array_equal(before, state)
        force = float(action)
        sliders_of_page = {"gravity": 15.0, "cart": 2.0, "length": 0.7}
        state = simulator.state[:, 0, 0].numpy()
        if not np.allclose(state, _page_step(before, force, **sliders_of_page), rtol=0, atol=1e-9):
            # A push moves x only in the following step, by 0.02 s times 0.4 m/s times its strength.
            strength = float((state[0] - before[0]) / DT - before[1]) / 0.4
            assert 0.5 - 1e-6 <= abs(strength) <= 3 + 1e-6
            expected = _page_step(_pushed(before, strength), force, **sliders_of_page)
            np.testing.assert_allclose(state, expected, rtol=0, atol=1e-8)
            pushes += 1
        np.testing.assert_allclose(successor, state, rtol=1e-6, atol=1e-6)
    assert 25 < pushes < 75


def test_drag_takes_its_share_and_brings_slow_things_to_rest() -> None:
    physics = replace(
        Physics.constant(PHYSICS, 3),
        cart_drag=torch.tensor([0.75, 0.0, 0.75]),
        pole_drag=torch.tensor([1.1, 1.1, 0.0]),
    )
    state = torch.tensor([[1.0, 2.0, 3.0, -4.0], [1.0, 5e-5, 3.0, -5e-5], [1.0, -5e-5, 3.0, 5e-5]]).T
    after = drag_(state, physics).T.tolist()
    assert after[0] == pytest.approx([1.0, 2.0 * 0.985, 3.0, -4.0 * 0.978])
    assert after[1] == pytest.approx([1.0, 5e-5, 3.0, 0.0])
    assert after[2] == pytest.approx([1.0, 0.0, 3.0, 5e-5])


def test_a_push_tips_a_pole_that_stands_but_not_beyond_the_limit_and_speeds_up_any() -> None:
    state = torch.tensor([[0.0, 0.0, 0.1, 1.0], [0.0, 0.0, 3.0, 1.0], [1.0, -1.0, 0.1, -1.0], [0.0, 0.0, 0.5, 0.0]]).T
    pushed = Push()(state, torch.tensor([0.0, 2.0, -4.0, 5.0])).T
    assert torch.equal(pushed[0], state[:, 0])
    assert pushed[1].tolist() == pytest.approx([0.0, 0.8, 3.0, 1.0 + math.radians(90)])
    assert pushed[3].tolist() == pytest.approx([0.0, 2.0, math.radians(29.7), math.radians(225)])
    assert pushed[2].tolist() == pytest.approx([1.0, -2.6, 0.1 - math.radians(6), -1.0 - math.radians(180)])


@pytest.mark.parametrize(("hold", "steps"), [(1.0, [1, 1, 1, 1, 1]), (2.5, [2, 3, 2, 3, 2]), (0.5, [0, 1, 0, 1, 0])])
def test_a_decision_is_held_for_so_many_steps(hold: float, steps: list[int]) -> None:
    simulator = _simulator(1, Conditions(values={"hold": Range(hold, hold)}))
    simulator.reset_to(torch.tensor([[[0.0, 1.0, 0.0, 0.0]]]))
    x = [0.0]
    for _ in steps:
        x.append(float(simulator.step(torch.zeros(1, 1, 1)).next_observation[0, 0, 0]))
    assert np.diff(x) == pytest.approx([DT * count for count in steps], abs=1e-6)


@pytest.mark.parametrize(("fewest", "most"), [(0, 0), (0, 1), (0, 3), (1, 1), (2, 3)])
def test_a_force_comes_so_many_decisions_late(fewest: int, most: int) -> None:
    simulator = _simulator(200, Conditions(values={"delay": Range(float(fewest), float(most))}))
    delays = simulator._values[PLACE["delay"]].long()
    assert set(delays.flatten().tolist()) == set(range(fewest, most + 1))
    simulator.reset_to(torch.zeros(1, 200, 4))
    impulse = torch.zeros(5, 1, 200, 1)
    impulse[0] = 10.0
    rows = [simulator.step(force).next_observation[..., 1] for force in impulse]
    first_moving = (torch.stack(rows).abs() > 0.1).int().argmax(dim=0)
    assert torch.equal(first_moving, delays)


def test_what_is_observed_is_noisy_and_what_happens_is_not() -> None:
    conditions = Conditions(values={"observation_noise": Range(0.1, 0.1)})
    noisy, clear = _simulator(500, conditions), _simulator(500)
    successors = []
    for simulator in (noisy, clear):
        simulator.reset_to(torch.zeros(1, 500, 4))
        successors.append(simulator.step(torch.ones(1, 500, 1)).next_observation)
    assert torch.equal(noisy.state, clear.state)
    assert torch.equal(successors[0], noisy.observation)
    noise = (successors[0] - successors[1]).flatten(0, 1).T
    assert noise.std(dim=1).tolist() == pytest.approx([0.1] * 4, rel=0.15)
    assert noise.mean(dim=1).abs().max() < 0.02
    assert (noise.corrcoef() - torch.eye(4)).abs().max() < 0.2
    later = noisy.step(torch.ones(1, 500, 1)).next_observation - clear.step(torch.ones(1, 500, 1)).next_observation
    assert (torch.stack([later[0, :, 0], noise[0]]).corrcoef()[0, 1]).abs() < 0.2


@pytest.mark.parametrize("noise", [Range(0.1, 0.1), Range(0.0, 0.5)])
def test_an_episode_that_is_cut_ends_with_the_observation_it_would_have_gone_on_from(noise: Range) -> None:
    conditions = Conditions(values={"observation_noise": noise})
    cut, uncut = (_simulator(50, conditions, max_episode_steps=limit) for limit in (3, 100))
    for action in _actions([0], 3, 50):
        ends, goes_on = cut.step(action), uncut.step(action)
        assert torch.equal(ends.next_observation, goes_on.next_observation)
    assert ends.truncated.all()
    assert not goes_on.truncated.any()
    assert not torch.equal(cut.observation, uncut.observation)


# Draws


def test_ranges_are_uniform_or_log_uniform() -> None:
    share = torch.tensor([0.0, 0.5, 1.0])
    assert Range(1.0, 4.0).at(share).tolist() == [1.0, 2.5, 4.0]
    assert Range(1.0, 4.0, logarithmic=True).at(share).tolist() == pytest.approx([1.0, 2.0, 4.0])


def test_episodes_differ_within_the_ranges_and_in_nothing_else() -> None:
    values = _simulator(500, WILD)._values[:, 0]
    for name, row in zip(STANDARD, values, strict=True):
        given = WILD.values.get(name, Range(*[float(STANDARD[name])] * 2))
        assert row.min() >= given.low - 1e-6
        assert row.max() <= given.high + 1e-6
        if given.low < given.high:
            assert row.max() - row.min() >= (given.high - given.low) * 0.9
    drawn = values[[PLACE["gravity"], PLACE["cart_mass"], PLACE["pole_half_length"], PLACE["hold"]]]
    assert (drawn.corrcoef() - torch.eye(4)).abs().max() < 0.2


def test_starts_are_of_three_kinds() -> None:
    state = _simulator(4000, WILD).state[:, 0]
    near = (state.abs() <= 0.05).all(dim=0)
    hangs = (torch.cat([state[:2], state[2:3] - math.pi, state[3:]]).abs() <= 0.05).all(dim=0)
    assert near.float().mean() == pytest.approx(0.3, abs=0.03)
    assert hangs.float().mean() == pytest.approx(0.1, abs=0.03)
    widest = state[:, ~near & ~hangs].abs().amax(dim=1).tolist()
    assert widest == pytest.approx([3.0, 3.0, math.pi, 8.0], rel=0.02)


def test_pushes_come_as_often_as_asked_for() -> None:
    conditions = Conditions(push_rate=2.0)
    simulator = _simulator(500, conditions, replace(SWING_UP, position_limit=1e9))
    num_pushes = 0
    for _ in range(50):
        x_dot, force = simulator.state[1], torch.zeros(1, 500, 1)
        simulator.step(force)
        num_pushes += int(((simulator.state[1] - x_dot).abs() > 0.2).sum())
    assert num_pushes / 500 == pytest.approx(2.0, rel=0.1)  # in one second


def test_pushes_are_as_strong_as_asked_for_to_both_sides() -> None:
    share = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    pushes = Conditions(push_strength=Range(1.0, 3.0)).strength(share)
    assert pushes.abs().min() >= 1
    assert pushes.abs().max() <= 3
    assert pushes.abs().mean() == pytest.approx(2, abs=0.03)
    assert (pushes > 0).float().mean() == pytest.approx(0.5, abs=0.02)


def test_physics_change_in_the_middle_of_an_episode() -> None:
    conditions = Conditions(values={"gravity": Range(5.0, 20.0)}, change_rate=1.0)
    simulator = _simulator(100, conditions, replace(SWING_UP, position_limit=1e9))
    gravity = [simulator.physics.gravity]
    for _ in range(50):
        assert not simulator.step(torch.zeros(1, 100, 1)).terminated.any()
        gravity.append(simulator.physics.gravity)
    changes = (torch.stack(gravity).diff(dim=0) != 0).sum(dim=0).float()
    assert changes.mean() == pytest.approx(1.0, abs=0.3)  # in one second


# Groups, seeds, resuming


def test_a_group_shares_start_physics_pushes_delays_and_changes() -> None:
    simulator = _simulator(6, WILD, seeds=(0, 1))
    simulator.reset(3)
    for force in _actions((3, 4), 40, 2).repeat_interleave(3, dim=2):
        after = simulator.step(force).next_observation
        assert torch.equal(after[:, 0], after[:, 1])
        assert torch.equal(after[:, 3], after[:, 5])
        assert not torch.equal(after[:, 0], after[:, 3])
    assert (simulator._values[:, :, 0] == simulator._values[:, :, 2]).all()


@pytest.mark.parametrize("num_envs", [5, 16])
def test_a_seed_beside_others_is_its_solo_simulator_bit_for_bit(num_envs: int) -> None:
    seeds = (3, 4, 5)
    actions = _actions(seeds, 150, num_envs)
    options: dict[str, Any] = {"dtype": torch.float32, "max_episode_steps": 40}
    together = _columns(_simulator(num_envs, WILD, seeds=seeds, **options), actions)
    alone = _columns(_simulator(num_envs, WILD, seeds=seeds[1:2], **options), actions[:, 1:2])
    for study, solo in zip(together, alone, strict=True):
        assert torch.equal(study[:, 1:2], solo)
    assert alone[3].any()
    assert alone[4].any()
    assert not torch.equal(together[0][:, 0], together[0][:, 1])


def test_seeds_that_stay_go_on_as_before() -> None:
    seeds, actions = (3, 4, 5), _actions((3, 4, 5), 80, 4)
    left, whole = (_simulator(4, WILD, seeds=seeds, max_episode_steps=30) for _ in range(2))
    _columns(left, actions[:20])
    left.keep_seeds([0, 2])
    expected = _columns(whole, actions)
    for column, other in zip(_columns(left, actions[20:, [0, 2]]), expected, strict=True):
        assert torch.equal(column, other[20:, [0, 2]])


@pytest.mark.parametrize("group_size", [1, 2])
def test_a_saved_simulator_goes_on_bit_for_bit(group_size: int) -> None:
    seeds, actions = (0, 1), _actions((0, 1), 90, 4)
    simulator = _simulator(4, WILD, seeds=seeds, max_episode_steps=30)
    simulator.reset(group_size)
    _columns(simulator, actions[:40])
    saved = copy.deepcopy(simulator.state_dict())
    expected = _columns(simulator, actions[40:])
    fresh = _simulator(4, WILD, seeds=seeds, max_episode_steps=30)
    fresh.load_state_dict(saved)
    for column, other in zip(expected, _columns(fresh, actions[40:]), strict=True):
        assert torch.equal(column, other)
    simulator.reset()
    fresh.reset()
    assert torch.equal(simulator.observation, fresh.observation)


# Tasks


def test_balance_pays_one_for_every_step_and_ends_at_the_limits_given() -> None:
    task = replace(TASKS["ContinuousCartPole-v1"], position_limit=3.0, angle_limit=math.radians(40))
    simulator = _simulator(3, task=task)
    simulator.reset_to(torch.tensor([[[2.99, 5.0, 0, 0], [0, 0, 0.69, 5.0], [2.9, 0, 0.6, 0]]]))
    step = simulator.step(torch.zeros(1, 3, 1))
    assert step.terminated.tolist() == [[True, True, False]]
    assert step.reward.tolist() == [[1.0] * 3]


@pytest.mark.parametrize("task", [task for task in TASKS.values() if task.reward], ids=lambda task: task.id)
def test_swing_up_is_gymnasiums_state_by_state_and_reward_by_reward(task: Task) -> None:
    continuous = task.actions == FORCE
    environment: Any = gymnasium.make(f"cartpole_cli.environments:{task.gymnasium_id}")
    environment.reset(seed=0)
    simulator = _simulator(1, task=task)
    for step in range(500):
        elapsed = torch.tensor([[step]])
        simulator.reset_to(torch.from_numpy(environment.unwrapped.state).view(1, 1, 4), elapsed)
        x, x_dot, theta, theta_dot = environment.unwrapped.state
        force = np.sign(theta_dot * -np.cos(theta)) * 4 - 3 * x - 3 * x_dot  # pumps, and stays on the rail
        theirs = np.array([force], dtype=np.float32).clip(-10, 10) if continuous else int(force > 0)
        action = torch.tensor([[theirs.tolist()]]) if continuous else torch.tensor([[theirs]])
        _, reward, terminated, truncated, _ = environment.step(theirs)
        ours = simulator.step(action)
        np.testing.assert_allclose(ours.next_observation[0, 0], environment.unwrapped.state, rtol=1e-5, atol=1e-5)
        assert float(ours.reward) == pytest.approx(reward, abs=1e-5)
        assert not terminated
        assert bool(ours.truncated) == truncated == (step == 499)


def test_values_come_in_the_order_of_the_physics() -> None:
    physics = _simulator(2).physics
    standard = Physics.constant(PHYSICS, 1, 2, dtype=torch.float64)
    for name in PHYSICS:
        assert torch.equal(getattr(physics, name), getattr(standard, name))
