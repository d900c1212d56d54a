"""The native cart-pole is Gymnasium's: one step from anywhere, and whole episodes of a balancing policy."""

import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from hypothesis import given, settings
from hypothesis import strategies as st

import cartpole_cli.environments  # noqa: F401  (registers ContinuousCartPole-v1)
from cartpole_cli.environments.registration import ContinuousCartPoleEnv
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.randomness import Streams
from cartpole_cli.tasks import TASKS

POSITION_LIMIT, ANGLE_LIMIT = 2.4, 12 * 2 * math.pi / 360
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}
EPISODES = 12


def _states(width: int) -> st.SearchStrategy[tuple[float, ...]]:
    """Components up to 20, often inside the limits and often close to them."""

    def within(*ranges: tuple[float, float]) -> st.SearchStrategy[float]:
        return st.one_of([st.floats(low, high, width=width) for low, high in ranges])

    anywhere = (-20.0, 20.0)
    position = within(anywhere, (-2.25, 2.25), (2.25, 2.5), (-2.5, -2.25))
    angle = within(anywhere, (-0.1875, 0.1875), (0.1875, 0.25), (-0.25, -0.1875))
    speed = within(anywhere, (-0.5, 0.5))
    return st.tuples(position, speed, angle, speed)


FORCES = st.floats(-10, 10, width=32)


def _simulator(num_envs: int, *, continuous: bool, dtype: torch.dtype) -> CartPoleSimulator:
    task = TASKS["ContinuousCartPole-v1" if continuous else "CartPole-v1"]
    return CartPoleSimulator(Streams([0]), num_envs, task, dtype=dtype)


def _gymnasium_step(environment: Any, state: tuple[float, ...], action: Any) -> tuple[Any, float, bool]:
    environment.state, environment.steps_beyond_terminated = np.array(state), None
    _, reward, terminated, _, _ = environment.step(action)
    return environment.state, reward, terminated


def _assert_step_equals_gymnasium(
    environment: Any, state: tuple[float, ...], actions: list[Any], action: torch.Tensor, dtype: torch.dtype
) -> None:
    """Our environments 0, 1, ... take the rows of `action`, Gymnasium's environment the same one after the other."""
    continuous = isinstance(environment, ContinuousCartPoleEnv)
    simulator = _simulator(len(actions), continuous=continuous, dtype=dtype)
    simulator.reset_to(torch.tensor([[state] * len(actions)], dtype=dtype))
    transition = simulator.step(action)
    for index, theirs in enumerate(actions):
        expected, reward, terminated = _gymnasium_step(environment, state, theirs)
        np.testing.assert_allclose(
            transition.next_observation[0, index].numpy(), expected, rtol=0, atol=TOLERANCE[dtype]
        )
        assert transition.reward[0, index] == reward
        distance = min(abs(abs(expected[0]) - POSITION_LIMIT), abs(abs(expected[2]) - ANGLE_LIMIT))
        if distance > 1e-5:
            assert bool(transition.terminated[0, index]) == terminated


@settings(max_examples=200, deadline=None)
@given(state=_states(64))
def test_a_discrete_step_in_float64_is_gymnasiums(state: tuple[float, ...]) -> None:
    _assert_step_equals_gymnasium(CartPoleEnv(), state, [0, 1], torch.tensor([[0, 1]]), torch.float64)


@settings(max_examples=200, deadline=None)
@given(state=_states(32))
def test_a_discrete_step_in_float32_is_gymnasiums(state: tuple[float, ...]) -> None:
    _assert_step_equals_gymnasium(CartPoleEnv(), state, [0, 1], torch.tensor([[0, 1]]), torch.float32)


@settings(max_examples=200, deadline=None)
@given(state=_states(64), force=FORCES)
def test_a_continuous_step_in_float64_is_gymnasiums(state: tuple[float, ...], force: float) -> None:
    theirs = [np.array([force], dtype=np.float32)]
    _assert_step_equals_gymnasium(ContinuousCartPoleEnv(), state, theirs, torch.tensor([[[force]]]), torch.float64)


@settings(max_examples=200, deadline=None)
@given(state=_states(32), force=FORCES)
def test_a_continuous_step_in_float32_is_gymnasiums(state: tuple[float, ...], force: float) -> None:
    theirs = [np.array([force], dtype=np.float32)]
    _assert_step_equals_gymnasium(ContinuousCartPoleEnv(), state, theirs, torch.tensor([[[force]]]), torch.float32)


def _feedback(state: Any) -> Any:
    """Newtons of a linear feedback that balances the pole and centres the cart; for NumPy and torch alike."""
    return 1.0 * state[..., 0] + 2.0 * state[..., 1] + 30.0 * state[..., 2] + 6.0 * state[..., 3]


@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
def test_closed_loop_episodes_in_float64_are_gymnasiums_state_by_state(continuous: bool) -> None:
    simulator = _simulator(EPISODES, continuous=continuous, dtype=torch.float64)
    start = torch.rand(1, EPISODES, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.2 - 0.1
    simulator.reset_to(start)
    environments = [gymnasium.make(simulator.task.gymnasium_id) for _ in range(EPISODES)]
    for environment in environments:
        environment.reset(seed=0)
    for step in range(1, 501):
        before = simulator.observation[0].numpy()
        force = _feedback(simulator.observation)
        action = force.clamp(-10, 10).float().unsqueeze(-1) if continuous else (force > 0).long()
        transition = simulator.step(action)
        for index, environment in enumerate(environments):
            environment.unwrapped.state = before[index].copy()
            newtons = _feedback(environment.unwrapped.state)
            theirs = np.clip(newtons, -10, 10).astype(np.float32)[None] if continuous else int(newtons > 0)
            _, _, terminated, truncated, _ = environment.step(theirs)
            np.testing.assert_allclose(
                transition.next_observation[0, index].numpy(), environment.unwrapped.state, rtol=0, atol=1e-12
            )
            assert not terminated, "the feedback is meant to balance"
            assert truncated == (step == 500)
        assert not transition.terminated.any()
        assert (transition.truncated == (step == 500)).all()
