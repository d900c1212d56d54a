"""Films of a scored episode: what is noted of it, what is in the file, and what is said when there can be none."""

import importlib.util
import itertools
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.envs.registration import EnvSpec
from torch import Tensor

from cartpole_cli.actions import PUSHES, Discrete
from cartpole_cli.environments.build import build_judge
from cartpole_cli.environments.film import check_can_film, film
from cartpole_cli.environments.interface import VectorEnvironment
from cartpole_cli.environments.recording import ReplayRecording, recording_of
from cartpole_cli.environments.registration import ContinuousCartPoleEnv
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import GymnasiumEnvironment, NativeEnvironment
from cartpole_cli.training.evaluation import play

DISCRETE, CONTINUOUS = NativeEnvironment(), NativeEnvironment(id="ContinuousCartPole-v1")
FORMATS = pytest.mark.parametrize("suffix", [".mp4", ".gif"])


def native(**fields: Any) -> NativeEnvironment:
    return NativeEnvironment.model_validate(fields)


def gymnasiums(name: str, limit: int | None = None) -> GymnasiumEnvironment:
    return GymnasiumEnvironment(backend="gymnasium", id=name, max_episode_steps=limit)


def disturbed(noise: float) -> NativeEnvironment:
    physics = {"gravity": 14.0, "pole_half_length": 0.8, "hold": 2.5, "delay": 1, "observation_noise": noise}
    return native(physics=physics, disturb={"push_rate": 5.0}, position_limit=1.5)


NOISY = disturbed(0.2)
SWING_UP = native(id="CartPoleSwingUp-v1", max_episode_steps=40)
CART_POLES = {
    "discrete": DISCRETE,
    "continuous": CONTINUOUS,
    "Gymnasium's": gymnasiums("CartPole-v1"),
    "other physics": NOISY,
    "swing-up": SWING_UP,
    "Gymnasium's swing-up": gymnasiums("cartpole_cli/ContinuousCartPoleSwingUp-v1", 40),
}
EACH_CART_POLE = pytest.mark.parametrize("task", CART_POLES.values(), ids=CART_POLES)
OTHERS = {"pushes": gymnasiums("Acrobot-v1", 30), "a force": gymnasiums("MountainCarContinuous-v0", 30)}
EACH_OTHER = pytest.mark.parametrize("task", OTHERS.values(), ids=OTHERS)


def right(judge: VectorEnvironment) -> Callable[[Tensor], Tensor]:
    """Always to the right, with half of the largest force."""
    if isinstance(judge.actions, Discrete):
        return lambda seen: torch.full(seen.shape[:2], judge.actions.n - 1)
    return lambda seen: torch.full((*seen.shape[:2], 1), judge.actions.high[0] / 2)


def recorded(task, *, act=right, seed: int = 0, num_episodes: int = 3, watch=None) -> tuple[Any, list[float]]:
    """The recording of an episode that was scored beside others, and the others' returns and its own, the first."""
    with closing(build_judge(task, Streams([seed]), num_episodes, 1)) as judge:
        recording = recording_of(judge, task.id)

        def both(*step) -> None:
            recording(*step)
            if watch is not None:
                watch(judge, *step)

        return recording, play(act(judge), judge, both)[0].tolist()


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def share_that_differs(first: np.ndarray, second: np.ndarray) -> float:
    assert first.shape == second.shape
    return float((np.abs(first.astype(int) - second).max(axis=-1) > 80).mean())


# What is noted


@EACH_CART_POLE
def test_the_states_are_those_of_the_scored_episode_from_its_start_to_its_end(task):
    """Each a step of the judge's own; with noise none that was observed; in other physics the noiseless state."""
    starts, reached = [], []

    def watch(judge, action, transition, running):
        if running[0, 0]:
            starts.append(transition.observation[0, 0])
            reached.append(transition.next_observation[0, 0])

    recording, _ = recorded(task, watch=watch)
    assert len(recording.states) == len(reached) + 1
    states = torch.tensor(recording.states)
    observed = torch.stack([starts[0], *reached])
    if task is not NOISY:
        torch.testing.assert_close(states, observed, rtol=1e-6, atol=1e-7)
        assert torch.equal(states[1:-1], torch.stack(starts[1:]))
        return
    assert 0.02 < (states - observed).std() < 0.5
    torch.testing.assert_close(states, torch.tensor(recorded(disturbed(0.0))[0].states))


@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("task", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_gymnasium_steps_through_the_same_states(task, seed):
    recording, returns = recorded(task, seed=seed)
    environment = ContinuousCartPoleEnv() if task is CONTINUOUS else CartPoleEnv()
    environment.reset(seed=seed)
    environment.state = np.array(recording.states[0])
    action, steps = np.array([5.0], dtype=np.float32) if task is CONTINUOUS else 1, [recording.states[0]]
    fallen = False
    while not fallen:
        observation, _, fallen, _, _ = environment.step(action)
        steps.append(observation.tolist())
    assert len(recording.states) == len(steps) == returns[0] + 1
    np.testing.assert_allclose(recording.states, steps, rtol=1e-5, atol=1e-5)


@EACH_OTHER
def test_seed_and_actions_of_another_task_lead_through_the_scored_observations(task):
    observed, drawn = [], itertools.count()

    def watch(judge, action, transition, running):
        if running[0, 0]:
            observed.append(transition.next_observation[0, 0].numpy())

    def erratic(judge):
        always = right(judge)
        return lambda seen: always(seen) * (next(drawn) % 3 > 0)

    recording, _ = recorded(task, act=erratic, watch=watch)
    assert isinstance(recording, ReplayRecording)
    with closing(gymnasium.make(task.id)) as environment:
        environment.reset(seed=recording.seed)
        again = [environment.step(action)[0] for action in recording.actions]
    assert len(again) == len(observed) == 30
    np.testing.assert_array_equal(np.array(again, dtype=np.float32), observed)
    assert len(list(recording.pictures())) == 31


@pytest.mark.parametrize("task", [*CART_POLES.values(), *OTHERS.values()], ids=[*CART_POLES, *OTHERS])
def test_alone_an_episode_is_the_first_of_many(task):
    """So a film during training shows the selection set's first episode."""
    alone, many = (recorded(task, num_episodes=number)[0] for number in (1, 100))
    if isinstance(alone, ReplayRecording):
        assert alone.seed == many.seed
    else:
        assert alone.states == many.states


# What is in the file


@FORMATS
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_film_shows_the_start_and_every_step_of_the_episode(tmp_path, suffix, continuous, seed):
    path = tmp_path / f"film{suffix}"
    recording, returns = recorded(CONTINUOUS if continuous else DISCRETE, seed=seed)
    film(recording, path)
    assert len(frames(path)) == returns[0] + 1
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@FORMATS
def test_the_first_frame_is_gymnasiums_picture_of_the_start_and_later_ones_are_not(tmp_path, suffix):
    recording, _ = recorded(DISCRETE, seed=4)
    film(recording, tmp_path / f"film{suffix}")
    pictures = frames(tmp_path / f"film{suffix}")
    with closing(gymnasium.make("CartPole-v1", render_mode="rgb_array")) as environment:
        environment.reset(seed=4)
        environment.unwrapped.state = np.array(recording.states[0])
        start = np.asarray(environment.render())
    assert share_that_differs(pictures[0], start) < 0.005  # a gif has 256 colours
    assert share_that_differs(pictures[-1], start) > 0.01


@pytest.mark.parametrize("task", [SWING_UP, CART_POLES["Gymnasium's swing-up"]], ids=["native", "Gymnasium's"])
def test_swing_up_is_drawn_as_its_environment_draws_it(tmp_path, task):
    recording, _ = recorded(task)
    film(recording, tmp_path / "film.mp4")
    pictures = frames(tmp_path / "film.mp4")
    with closing(gymnasium.make("cartpole_cli/CartPoleSwingUp-v1", render_mode="rgb_array")) as environment:
        environment.reset(seed=0)
        for picture, state in zip(pictures, recording.states, strict=True):
            environment.unwrapped.state = np.array(state)
            assert share_that_differs(picture, np.asarray(environment.render())) < 0.005


def test_other_limits_and_other_poles_are_seen_in_the_picture():
    recording, _ = recorded(NOISY)
    first = next(recording.pictures())
    with closing(CartPoleEnv(render_mode="rgb_array")) as environment:
        environment.x_threshold, environment.length = 1.5, 0.8
        environment.state = np.array(recording.states[0])
        np.testing.assert_array_equal(first, environment.render())


def test_a_state_that_is_no_number_or_far_away_is_drawn(tmp_path):
    recording, returns = recorded(DISCRETE)
    recording.states += [[1e30, 0.0, 1e9, 0.0], [float("nan")] * 4, [float("-inf"), 0.0, float("inf"), 0.0]]
    film(recording, tmp_path / "film.gif")
    assert len(frames(tmp_path / "film.gif")) == returns[0] + 4


@pytest.mark.parametrize(
    ("task", "rate"),
    [
        (DISCRETE, 50),
        (SWING_UP, 50),
        (native(physics={"time_step": 0.01}), 100),
        (native(physics={"hold": 2.0}), 25),
        (gymnasiums("Acrobot-v1", 5), gymnasium.make("Acrobot-v1").metadata["render_fps"]),
    ],
    ids=["CartPole-v1", "swing-up", "other time step", "held forces", "Acrobot-v1"],
)
def test_a_film_runs_at_the_tasks_own_speed(tmp_path, task, rate):
    film(recorded(task)[0], tmp_path / "film.mp4")
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == rate


@pytest.mark.parametrize(
    "task", [native(max_episode_steps=5), gymnasiums("CartPole-v1", 5), gymnasiums("Acrobot-v1", 5)]
)
def test_a_film_ends_with_the_time_limit(tmp_path, task):
    film(recorded(task)[0], tmp_path / "film.gif")
    assert len(frames(tmp_path / "film.gif")) == 6


def test_a_network_is_filmed_greedily_and_stays_as_it_was(tmp_path):
    sizes = {"observation_size": 4, "hidden_sizes": (16,), "activation": "tanh", "value_network": False}
    policy = PolicyNetwork(Architecture(actions=PUSHES, **sizes), Streams([0], "cpu"))
    with torch.no_grad():
        policy.torso[-1].bias.copy_(torch.tensor([[[-5.0, 5.0]]]))
    generator = torch.get_rng_state()
    recording, _ = recorded(DISCRETE, act=lambda judge: policy.greedy_action)
    film(recording, tmp_path / "film.mp4")
    assert recording.states == recorded(DISCRETE)[0].states
    assert len(frames(tmp_path / "film.mp4")) == len(recording.states)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in policy.parameters())


def test_folders_on_the_way_are_made_and_an_old_film_is_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "film.gif"
    for limit in (2, 4):
        film(recorded(native(max_episode_steps=limit))[0], path)
        assert len(frames(path)) == limit + 1
    assert [entry.name for entry in path.parent.iterdir()] == ["film.gif"]


@pytest.mark.parametrize("task", [native(max_episode_steps=1), gymnasiums("Acrobot-v1", 1)])
def test_a_seed_as_large_as_a_recipes_is_filmed(tmp_path, task):
    film(recorded(task, seed=2**63 - 1)[0], tmp_path / "film.gif")
    assert len(frames(tmp_path / "film.gif")) == 2


# None to be had


def refused(path: Path) -> str:
    with pytest.raises(CartpoleError) as caught:
        film(recorded(DISCRETE)[0], path)
    (line,) = caught.value.problems
    return line


@pytest.mark.parametrize("name", ["film.avi", "film", "film.mp4.txt", ".mp4"])
def test_another_ending_is_refused(tmp_path, name):
    line = refused(tmp_path / name)
    assert str(tmp_path / name) in line
    assert ".mp4" in line
    assert ".gif" in line
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_one_line_and_leaves_nothing(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "folder.mp4").mkdir()
    assert "cannot be written" in refused(tmp_path / "file" / "film.mp4")
    assert "cannot be written" in refused(tmp_path / "folder.mp4")
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "folder.mp4"}


class Undrawn(gymnasium.Env):
    """An environment without pictures."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium's)
    observation_space, action_space = gymnasium.spaces.Box(-1, 1, (4,)), gymnasium.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        return np.zeros(4, dtype=np.float32), {}

    def step(self, action):
        return np.zeros(4, dtype=np.float32), 0.0, True, False, {}

    def render(self):
        raise OverflowError("nothing to see")


def test_an_environment_that_cannot_be_rendered_is_one_line(tmp_path, monkeypatch):
    undrawn = EnvSpec("Undrawn-v0", entry_point=Undrawn, max_episode_steps=3, disable_env_checker=True)
    monkeypatch.setitem(gymnasium.registry, "Undrawn-v0", undrawn)
    with pytest.raises(CartpoleError, match="Undrawn-v0: cannot be filmed: nothing to see"):
        film(recorded(gymnasiums("Undrawn-v0"))[0], tmp_path / "film.mp4")
    judge = build_judge(OTHERS["pushes"], Streams([0]), 1, 1)
    with pytest.raises(CartpoleError, match="NoSuchTask-v0: cannot be filmed"):
        recording_of(judge, "NoSuchTask-v0")
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    recording, _ = recorded(DISCRETE)
    recording.states[2] = None
    with pytest.raises(Exception, match=r"None|shape"):
        film(recording, tmp_path / "film.mp4")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", [("av",), ("pygame",), ("av", "pygame")])
def test_a_missing_package_is_one_line_that_names_the_extra(tmp_path, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in missing else find(name))
    line = refused(tmp_path / "film.mp4")
    assert " and ".join(missing) in line
    assert "cartpole-cli[video]" in line
    assert list(tmp_path.iterdir()) == []


def test_with_both_packages_one_can_film():
    check_can_film()
    check_can_film(Path("film.mp4"))
