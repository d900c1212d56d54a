"""Films of an episode: what is in the file, and what is said when there can be none."""

import importlib.util
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import av
import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from torch import Tensor

from cartpole_cli.actions import PUSHES
from cartpole_cli.environments.film import check_can_film, film
from cartpole_cli.environments.registration import ContinuousCartPoleEnv
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import GymnasiumEnvironment, NativeEnvironment

DISCRETE, CONTINUOUS = NativeEnvironment(), NativeEnvironment(id="ContinuousCartPole-v1")
FORMATS = pytest.mark.parametrize("suffix", [".mp4", ".gif"])


def always_right(continuous: bool = False) -> Callable[[Tensor], Tensor]:
    push = torch.full((1, 1, 1), 10.0) if continuous else torch.ones(1, 1, dtype=torch.int64)
    return lambda _: push


def steps_to_the_right(seed: int, *, continuous: bool = False) -> int:
    """How long Gymnasium's environment lasts, pushed to the right from that seed's start."""
    environment = ContinuousCartPoleEnv() if continuous else CartPoleEnv()
    environment.reset(seed=seed)
    action = np.array([10.0], dtype=np.float32) if continuous else 1
    steps, fallen = 0, False
    while not fallen:
        fallen = environment.step(action)[2]
        steps += 1
    return steps


def frames(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@FORMATS
@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_film_shows_the_start_and_every_step_of_the_seeds_episode(tmp_path, suffix, continuous, seed):
    path = tmp_path / f"film{suffix}"
    film(always_right(continuous), CONTINUOUS if continuous else DISCRETE, path, seed=seed)
    assert len(frames(path)) == steps_to_the_right(seed, continuous=continuous) + 1
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@FORMATS
def test_the_first_frame_is_gymnasiums_picture_of_the_start_and_later_ones_are_not(tmp_path, suffix):
    film(always_right(), DISCRETE, tmp_path / f"film{suffix}", seed=4)
    pictures = frames(tmp_path / f"film{suffix}")
    with closing(gymnasium.make("CartPole-v1", render_mode="rgb_array")) as environment:
        environment.reset(seed=4)
        start = np.asarray(environment.render())
    assert pictures[0].shape == start.shape

    def share_that_differs(picture: np.ndarray) -> float:
        return float((np.abs(picture.astype(int) - start).max(axis=-1) > 80).mean())

    assert share_that_differs(pictures[0]) < 0.005  # a gif has 256 colours
    assert share_that_differs(pictures[-1]) > 0.01


def test_a_film_runs_at_the_tasks_own_speed(tmp_path):
    film(always_right(), DISCRETE, tmp_path / "film.mp4", seed=0)
    with av.open(str(tmp_path / "film.mp4")) as container:
        assert container.streams.video[0].average_rate == 50


@pytest.mark.parametrize("task", [NativeEnvironment(max_episode_steps=5), GymnasiumEnvironment(backend="gymnasium")])
def test_a_film_ends_with_the_time_limit(tmp_path, task):
    task = task.model_copy(update={"max_episode_steps": 5})
    film(always_right(), task, tmp_path / "film.gif", seed=0)
    assert len(frames(tmp_path / "film.gif")) == 6


def test_a_network_is_filmed_greedily_and_stays_as_it_was(tmp_path):
    sizes = {"observation_size": 4, "hidden_sizes": (16,), "activation": "tanh", "value_network": False}
    policy = PolicyNetwork(Architecture(actions=PUSHES, **sizes), Streams([0], "cpu"))
    with torch.no_grad():
        policy.torso[-1].bias.copy_(torch.tensor([[[-5.0, 5.0]]]))
    generator = torch.get_rng_state()
    film(policy.greedy_action, DISCRETE, tmp_path / "film.mp4", seed=0)
    assert len(frames(tmp_path / "film.mp4")) == steps_to_the_right(0) + 1
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in policy.parameters())


def test_another_task_is_filmed(tmp_path):
    task = GymnasiumEnvironment(backend="gymnasium", id="Acrobot-v1", max_episode_steps=3)
    film(always_right(), task, tmp_path / "film.mp4", seed=0)
    assert len(frames(tmp_path / "film.mp4")) == 4


def test_folders_on_the_way_are_made_and_an_old_film_is_replaced(tmp_path):
    path = tmp_path / "a" / "b" / "film.gif"
    for limit in (2, 4):
        film(always_right(), NativeEnvironment(max_episode_steps=limit), path, seed=0)
        assert len(frames(path)) == limit + 1
    assert [entry.name for entry in path.parent.iterdir()] == ["film.gif"]


def test_a_seed_as_large_as_a_recipes_is_filmed(tmp_path):
    film(always_right(), NativeEnvironment(max_episode_steps=1), tmp_path / "film.gif", seed=2**63 - 1)
    assert len(frames(tmp_path / "film.gif")) == 2


# None to be had


def refused(path: Path, task=DISCRETE, act=None) -> str:
    with pytest.raises(CartpoleError) as caught:
        film(act or always_right(), task, path, seed=0)
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


def test_an_environment_that_cannot_be_rendered_is_one_line(tmp_path):
    task = GymnasiumEnvironment(backend="gymnasium", id="NoSuchTask-v0")
    line = refused(tmp_path / "film.mp4", task)
    assert "NoSuchTask-v0" in line
    assert "cannot be filmed" in line
    assert list(tmp_path.iterdir()) == []


def test_a_film_that_breaks_off_leaves_nothing(tmp_path):
    pushes = iter([1, 1])
    with pytest.raises(Exception, match=r"StopIteration|raised"):
        film(lambda _: torch.tensor([[next(pushes)]]), DISCRETE, tmp_path / "film.mp4", seed=0)
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


def test_a_film_can_begin_in_a_state(tmp_path):
    """Leaning 0.2 rad to the left, pushed to the right: it fails in the first step, 12 degrees being 0.209 rad."""
    start = torch.tensor([0.0, 0.0, -0.2, -1.0])
    film(always_right(), DISCRETE, tmp_path / "film.mp4", seed=0, start=start)
    assert len(frames(tmp_path / "film.mp4")) == 2
