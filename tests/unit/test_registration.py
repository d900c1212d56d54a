"""ContinuousCartPole-v1 for users of Gymnasium."""

import math
import subprocess
import sys
import warnings
from collections.abc import Iterator
from typing import Any, get_args

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from cartpole_cli.actions import Continuous
from cartpole_cli.tasks import MAX_EPISODE_STEPS, START_RANGE, TASKS, Task, TaskId

ID = "cartpole_cli.environments:cartpole_cli/ContinuousCartPole-v1"
IN_NEWTONS = "For Box action spaces, we recommend using a symmetric and normalized space"


@pytest.fixture
def environment() -> Iterator[Any]:
    made = gymnasium.make(ID)
    made.reset(seed=0)
    yield made
    made.close()


def _successor(state: Any, force: float) -> list[float]:
    """Florian (2007), eq. 23-24 without friction, and an Euler step of 0.02 s, by hand."""
    x, x_dot, theta, theta_dot = state
    sin, cos = math.sin(theta), math.cos(theta)
    push = (force + 0.1 * 0.5 * theta_dot**2 * sin) / 1.1
    theta_acceleration = (9.8 * sin - cos * push) / (0.5 * (4 / 3 - 0.1 * cos**2 / 1.1))
    x_acceleration = push - 0.1 * 0.5 * theta_acceleration * cos / 1.1
    return [
        x + 0.02 * x_dot,
        x_dot + 0.02 * x_acceleration,
        theta + 0.02 * theta_dot,
        theta_dot + 0.02 * theta_acceleration,
    ]


def _warnings_of_the_checker(environment_id: str) -> set[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(gymnasium.make(environment_id, render_mode="rgb_array").unwrapped)
    return {str(warning.message) for warning in caught}


def test_it_passes_gymnasiums_checker_with_no_warning_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    own = _warnings_of_the_checker(ID) - _warnings_of_the_checker("CartPole-v1")
    assert {text for text in own if IN_NEWTONS not in text} == set()


def test_importing_the_environments_loads_no_torch() -> None:
    program = (
        "import sys, gymnasium\n"
        f"environment = gymnasium.make({ID!r})\n"
        "environment.reset(seed=0); environment.step(environment.action_space.sample())\n"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'pydantic', 'typer', 'wandb'}))"
    )
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert finished.stdout.strip() == "[]"


def test_spaces_time_limit_and_threshold(environment: Any) -> None:
    assert environment.spec.max_episode_steps == 500
    assert environment.spec.reward_threshold == 475.0
    assert environment.action_space == gymnasium.spaces.Box(-10.0, 10.0, (1,), np.float32)
    assert environment.observation_space == gymnasium.make("CartPole-v1").observation_space


def test_an_episode_is_truncated_after_five_hundred_steps(environment: Any) -> None:
    flags = []
    for _ in range(500):
        x, x_dot, theta, theta_dot = environment.unwrapped.state
        force = np.clip([x + 2 * x_dot + 30 * theta + 6 * theta_dot], -10, 10).astype(np.float32)
        _, reward, terminated, truncated, _ = environment.step(force)
        assert reward == 1.0
        assert not terminated
        flags.append(truncated)
    assert flags == [False] * 499 + [True]


@pytest.mark.parametrize("force", [1.0, 0.0, -1.0, 10.0, -10.0, 0.5, 3.25])
def test_a_force_is_applied_in_newtons(environment: Any, force: float) -> None:
    state = (0.1, -0.2, 0.05, 0.3)
    environment.unwrapped.state = np.array(state)
    observation = environment.step(np.array([force], dtype=np.float32))[0]
    np.testing.assert_allclose(environment.unwrapped.state, _successor(state, force), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(observation, environment.unwrapped.state.astype(np.float32))


def test_a_positive_force_pushes_right_also_after_another(environment: Any) -> None:
    for force in (10.0, -10.0, 1.0, -1.0, 10.0):
        environment.unwrapped.state = np.zeros(4)
        environment.step(np.array([force], dtype=np.float32))
        np.testing.assert_allclose(environment.unwrapped.state, _successor((0, 0, 0, 0), force), rtol=0, atol=1e-12)
        assert environment.unwrapped.state[1] * force > 0


@pytest.mark.parametrize(("force", "applied"), [(25.0, 10.0), (-25.0, -10.0), (10.001, 10.0)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_force_beyond_the_range_is_clipped_to_it(environment: Any, force: float, applied: float, dtype: Any) -> None:
    environment.unwrapped.state = np.zeros(4)
    environment.unwrapped.step(np.array([force], dtype=dtype))
    np.testing.assert_allclose(environment.unwrapped.state, _successor((0, 0, 0, 0), applied), rtol=0, atol=1e-12)


def test_rendering_gives_cart_poles_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    frames = []
    for environment_id in (ID, "CartPole-v1"):
        environment: Any = gymnasium.make(environment_id, render_mode="rgb_array")
        environment.reset(seed=0)
        environment.unwrapped.state = np.array([0.5, 0.0, 0.1, 0.0])
        frames.append(environment.render())
        environment.close()
    ours, theirs = frames
    assert ours.shape == theirs.shape == (400, 600, 3)
    assert (ours != 255).any()
    np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_make_vec_makes_it(mode: str) -> None:
    environments = gymnasium.make_vec(ID, num_envs=3, vectorization_mode=mode)
    observation, _ = environments.reset(seed=0)
    forces = np.array([[1.0], [-4.0], [10.0]], dtype=np.float32)
    successor, reward, terminated, truncated, _ = environments.step(forces)
    environments.close()
    for index in range(3):
        expected = _successor(observation[index].tolist(), float(forces[index, 0]))
        np.testing.assert_allclose(successor[index], expected, rtol=0, atol=1e-6)
    assert reward.tolist() == [1.0] * 3
    assert not terminated.any()
    assert not truncated.any()


# Swing-up and the rows


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.id)
def test_gymnasium_has_each_task_as_its_row_says(task: Task) -> None:
    made: Any = gymnasium.make(f"cartpole_cli.environments:{task.gymnasium_id}")
    limits = made.unwrapped.x_threshold, made.unwrapped.theta_threshold_radians
    assert limits == pytest.approx((task.position_limit, task.angle_limit))
    assert made.spec.max_episode_steps == MAX_EPISODE_STEPS
    assert (made.spec.reward_threshold == 475.0) == task.counts_steps
    if isinstance(task.actions, Continuous):
        assert (made.action_space.low, made.action_space.high) == (task.actions.low, task.actions.high)
    else:
        assert made.action_space.n == task.actions.n
    start = made.reset(seed=0)[0] - ([0, 0, math.pi, 0] if task.start == "hanging" else 0)
    assert np.abs(start).max() <= START_RANGE + 1e-6


def test_every_id_has_a_row() -> None:
    assert get_args(TaskId) == tuple(TASKS)


SWING_UPS = pytest.mark.parametrize("name", ["CartPoleSwingUp-v1", "ContinuousCartPoleSwingUp-v1"])


def _made(name: str, **options: Any) -> Any:
    return gymnasium.make(f"cartpole_cli.environments:cartpole_cli/{name}", **options)


@SWING_UPS
def test_swing_up_passes_gymnasiums_checker(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    own = _warnings_of_the_checker(f"cartpole_cli.environments:cartpole_cli/{name}")
    unlimited = "Box observation space m"  # theta counts turns, and speeds have no bound
    assert {text for text in own if IN_NEWTONS not in text and unlimited not in text} <= _warnings_of_the_checker(
        "CartPole-v1"
    )


@SWING_UPS
def test_swing_up_begins_hanging_and_ends_only_at_the_rails_end(name: str) -> None:
    environment = _made(name)
    starts = np.stack([environment.reset(seed=seed)[0] for seed in range(50)])
    assert np.abs(starts - [0, 0, math.pi, 0]).max() <= 0.05 + 1e-6
    assert environment.observation_space.contains(starts[0])
    environment.unwrapped.state = np.array([4.0, 5.0, 2.0, 30.0])
    for _ in range(25):
        terminated = environment.step(environment.action_space.sample())[2]
        assert terminated == (environment.unwrapped.state[0] > 5)
        if terminated:
            break
    assert terminated


@pytest.mark.parametrize(
    ("state", "reward"),
    [
        ((0.0, 0.0, 0.0, 0.0), 1.0),
        ((0.0, 0.0, math.pi, 7.0), 0.4),
        ((2.5, 0.0, math.pi / 2, 7.0), 0.7 * (1 - 0.7 / 4)),
        ((0.0, 0.0, 6 * math.pi, 2.0), 1.0 - 0.008),
    ],
)
def test_swing_up_pays_for_a_calm_upright_centered_pole(state: tuple[float, ...], reward: float) -> None:
    environment = _made("CartPoleSwingUp-v1").unwrapped
    environment.state = np.array(state)
    assert environment._reward() == pytest.approx(reward)


@SWING_UPS
def test_swing_up_is_rendered(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    environment = _made(name, render_mode="rgb_array")
    environment.reset(seed=0)
    hanging = environment.render()
    environment.unwrapped.state = np.zeros(4)
    assert (hanging != environment.render()).any()
    environment.close()
