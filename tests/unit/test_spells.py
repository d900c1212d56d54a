"""Frames that take long, bursts of pushes, episodes without any, lifted poles, costs, and what a value network sees."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cartpole_cli.environments.randomization import Conditions, Push, Range, Starts
from cartpole_cli.environments.randomized import RandomizedCartPole
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import DisturbRecipe, NativeEnvironment, PhysicsRecipe, RewardRecipe
from cartpole_cli.recipe.recipe import PolicyRecipe, Recipe
from cartpole_cli.tasks import TASKS, Costs
from cartpole_cli.training.build import build_trainer

pytestmark = pytest.mark.shapes

DT = 0.02
SWING_UP = replace(TASKS["ContinuousCartPoleSwingUp-v1"], position_limit=1e9)
ALL = Conditions(
    values={"gravity": Range(5.0, 20.0, logarithmic=True), "hold": Range(1.0, 3.0), "delay": Range(0.0, 1.0)},
    change_rate=0.5,
    push_rate=1.0,
    push_strength=Range(0.5, 5.0, logarithmic=True),
    push=Push(lifts=True),
    pushed_share=0.6,
    hitch_rate=1.0,
    hitch_seconds=Range(0.1, 0.5),
    burst_rate=0.5,
    starts=Starts(balance=0.4, hanging=0.6),
)
PUSH = Push(angle=0.0, angular_velocity=0.0)
COSTLY = replace(SWING_UP, costs=Costs(effort=0.2, change=0.3, distance=0.1))


def _simulator(
    num_envs: int, conditions: Conditions, seeds: Sequence[int] = (0,), **options: Any
) -> RandomizedCartPole:
    options = {"task": SWING_UP, "dtype": torch.float64} | options
    return RandomizedCartPole(Streams(seeds), num_envs, conditions=conditions, **options)


def _forces(num_steps: int, num_envs: int, num_seeds: int = 1) -> Tensor:
    """[T, S, N, 1], a seed's the same beside any others."""
    generator = torch.Generator().manual_seed(3)
    return (torch.rand(num_steps, 1, num_envs, 1, generator=generator) * 20 - 10).expand(-1, num_seeds, -1, -1)


def test_a_push_that_lifts_sets_a_fallen_pole_to_the_limit_on_its_side() -> None:
    fallen = torch.tensor([[0.0, 0.0, 3.0, 1.0], [0.0, 0.0, -9.0, 0.0], [0.0, 0.0, 3.0, 0.0]]).T
    pushed = Push(lifts=True)(fallen, torch.tensor([-2.0, 1.0, 0.0])).T
    assert pushed[0].tolist() == pytest.approx([0.0, -0.8, math.radians(29.7), 1.0 - math.radians(90)])
    assert pushed[1, 2].item() == pytest.approx(-math.radians(29.7))
    assert torch.equal(pushed[2], fallen[:, 2])


def test_a_hitch_holds_the_force_for_its_time() -> None:
    simulator = _simulator(3, Conditions(hitch_rate=1 / DT, hitch_seconds=Range(5 * DT, 5 * DT)))
    given, acted = _forces(20, 3), []
    for force in given:
        simulator.step(force)
        acted.append(simulator.force.clone())
    expected = given[::5].repeat_interleave(5, dim=0).squeeze(-1)
    assert torch.equal(torch.stack(acted), expected.double())


def test_hitches_come_as_often_as_asked_for() -> None:
    simulator, hitches = _simulator(400, Conditions(hitch_rate=0.5, hitch_seconds=Range(0.1, 0.1))), 0
    for force in _forces(100, 400):
        before = simulator._spells.hitch
        simulator.step(force)
        hitches += int(((simulator._spells.hitch > 0) & (before == 0)).sum())
    assert hitches == pytest.approx(400 * 100 * DT * 0.5, rel=0.2)


def test_a_burst_pushes_eight_times_a_second_to_one_side() -> None:
    conditions = Conditions(burst_rate=1 / DT, burst_seconds=Range(3.0, 3.0), burst_strength=2.0, push=PUSH)
    simulator = _simulator(50, conditions)
    speeds = []
    for _ in range(150):
        before = simulator.state[1].clone()
        simulator.step(torch.zeros(1, 50, 1))
        speeds.append(simulator.state[1] - before)
    pushes = torch.stack(speeds).squeeze(1) / 0.8
    is_push = pushes.abs() > 0.5
    assert (is_push.sum(dim=0) == 24).all()
    to_the_right = torch.where(is_push, pushes, 0.0).sum(dim=0) > 0
    assert 10 < to_the_right.sum() < 40
    assert (torch.where(is_push, pushes.sign(), 0.0).sum(dim=0).abs() == 24).all()


def test_nobody_pushes_in_the_other_episodes() -> None:
    still = Conditions(push_rate=10.0, burst_rate=10.0, pushed_share=0.25, push=Push(velocity=100.0))
    simulator = _simulator(400, still)
    for _ in range(100):
        simulator.step(torch.zeros(1, 400, 1))
    is_pushed = simulator.state[1].abs() > 20
    assert is_pushed.double().mean().item() == pytest.approx(0.25, abs=0.07)
    assert (simulator.state[1][~is_pushed].abs() < 2).all()


def test_costs_are_subtracted_from_the_reward() -> None:
    paying, free = (_simulator(5, ALL, task=task) for task in (COSTLY, SWING_UP))
    before = torch.zeros(1, 5, dtype=torch.float64)
    for force in _forces(30, 5):
        reward, whole = paying.step(force).reward, free.step(force).reward
        acted = paying.force
        x = paying.reached[..., 0]
        expected = 0.2 * acted.abs() / 10 + 0.3 * (acted - before).abs() / 20 + 0.1 * x.abs() / 1e9
        torch.testing.assert_close(whole - reward, expected.float(), rtol=0, atol=1e-6)
        before = acted


@pytest.mark.parametrize("shows_physics", [False, True])
def test_a_seed_beside_others_is_its_solo_simulator_bit_for_bit(shows_physics: bool) -> None:
    options: dict[str, Any] = {"task": COSTLY, "shows_physics": shows_physics, "max_episode_steps": 40}
    together = _simulator(6, ALL, (4, 5, 6), dtype=torch.float32, **options)
    alone = _simulator(6, ALL, (5,), dtype=torch.float32, **options)
    for force in _forces(100, 6, 3):
        ours, own = together.step(force), alone.step(force[:1])
        for name in ("observation", "reward", "next_observation", "terminated", "truncated"):
            assert torch.equal(getattr(ours, name)[1:2], getattr(own, name))


def test_a_saved_simulator_goes_on_bit_for_bit() -> None:
    simulator, fresh = (_simulator(6, ALL, task=COSTLY, shows_physics=True, max_episode_steps=60) for _ in range(2))
    forces = _forces(100, 6)
    for force in forces[:45]:
        simulator.step(force)
    assert fresh.load_state_dict(simulator.state_dict())
    for force in forces[45:]:
        ours, theirs = simulator.step(force), fresh.step(force)
        assert torch.equal(ours.next_observation, theirs.next_observation)
        assert torch.equal(ours.reward, theirs.reward)


def test_what_is_shown_lies_between_minus_one_and_one_and_is_seen_by_the_value_network_alone() -> None:
    environment = NativeEnvironment(
        id="ContinuousCartPoleSwingUp-v1",
        physics=PhysicsRecipe(distribution="log_uniform", gravity=(5.0, 20.0), cart_mass=(0.2, 5.0), delay=(0, 1)),
        disturb=DisturbRecipe(hitch_rate=1.0),
        reward=RewardRecipe(change=0.1),
    )
    policy = PolicyRecipe(features="trig", value_sees="physics")
    trainer = build_trainer([Recipe(environment=environment, policy=policy)], torch.device("cpu"))
    shown = trainer.environment
    assert shown.observation_size == trainer.environment.observation.shape[-1] == 4 + 3 + 3
    for force in _forces(50, shown.num_envs):
        shown.step(force)
        assert (shown.observation[..., 4:].abs() <= 1).all()
    observation = shown.observation
    other = observation + torch.tensor([0.0] * 4 + [0.5] * 6)
    network = trainer.policy
    assert network.observation_size == 4
    assert torch.equal(network.greedy_action(observation), network.greedy_action(observation[..., :4]))
    assert torch.equal(network.greedy_action(observation), network.greedy_action(other))
    assert not torch.equal(network.value(observation), network.value(other))
