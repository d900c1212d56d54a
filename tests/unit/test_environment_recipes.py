"""What [environment] and its sections may say, and what is built of it."""

import math
import tomllib
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from cartpole_cli.environments.build import build_environment, build_judge
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.environments.randomization import STANDARD
from cartpole_cli.environments.randomized import RandomizedCartPole
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.errors import CartpoleError
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import (
    DisturbRecipe,
    NativeEnvironment,
    PhysicsRecipe,
    RandomizeRecipe,
    StartRecipe,
)
from cartpole_cli.recipe.files import resolve_recipe

SECTIONS = {
    "physics": PhysicsRecipe(gravity=5.0),
    "randomize": RandomizeRecipe(gravity=(5.0, 20.0)),
    "disturb": DisturbRecipe(push_rate=1.0),
    "start": StartRecipe(balance=0.0, anywhere=1.0),
}


def _build(**fields: Any) -> Any:
    return build_environment(NativeEnvironment(num_envs=64, **fields), Streams([0]))


def _problems(environment: dict[str, Any], *overrides: str) -> tuple[str, ...]:
    with pytest.raises(CartpoleError) as caught:
        resolve_recipe({"environment": environment}, overrides, source="mine.toml")
    return caught.value.problems


@pytest.mark.parametrize("task", ["CartPole-v1", "ContinuousCartPole-v1"])
def test_gymnasiums_tasks_are_played_as_ever_and_judged_by_gymnasium(task: Any) -> None:
    assert type(_build(id=task)) is CartPoleSimulator
    assert isinstance(build_judge(NativeEnvironment(id=task), Streams([0]), 3, 1), GymnasiumCartPole)


@pytest.mark.parametrize("section", SECTIONS)
def test_any_section_makes_another_task_of_it(section: str) -> None:
    recipe = NativeEnvironment(**{section: SECTIONS[section]})
    assert isinstance(build_environment(recipe, Streams([0])), RandomizedCartPole)
    judge = build_judge(recipe, Streams([0]), 3, 2)
    assert isinstance(judge, RandomizedCartPole)
    assert judge.dtype == torch.float64
    assert judge.observation.dtype == torch.float32
    assert judge.max_episode_steps == 1000
    assert recipe.counts_steps


def test_fields_reach_the_simulator_in_si_units() -> None:
    simulator = _build(
        physics=PhysicsRecipe(pole_mass=0.3, cart_drag=0.75),
        randomize=RandomizeRecipe(distribution="log_uniform", gravity=(5.0, 20.0), pole_drag=(0.0, 1.5), delay=(0, 2)),
        disturb=DisturbRecipe(push_rate=0.5, push_strength=(0.5, 5.0), push_angle=3.0, push_angular_velocity=90.0),
        angle_limit=90.0,
    )
    values = dict(zip(STANDARD, simulator._values[:, 0], strict=True))
    assert values["pole_mass"].tolist() == pytest.approx([0.3] * 64)
    assert values["cart_drag"].tolist() == pytest.approx([0.75] * 64)
    assert values["gravity"].median() == pytest.approx(10, abs=2.5)  # the middle of the logarithms
    assert values["pole_drag"].median() == pytest.approx(0.75, abs=0.3)
    assert set(values["delay"].tolist()) == {0.0, 1.0, 2.0}
    assert values["hold"].tolist() == [1.0] * 64
    conditions = simulator._conditions
    assert conditions.push.angle == pytest.approx(math.pi / 60)
    assert conditions.push.angular_velocity == pytest.approx(math.pi / 2)
    assert conditions.push.angle_limit == pytest.approx(math.radians(29.7))
    assert (conditions.push_rate, conditions.push_strength.low, conditions.push_strength.high) == (0.5, 0.5, 5.0)
    limits = simulator._limits.flatten().tolist()
    assert limits == pytest.approx([2.4, math.inf, math.pi / 2, math.inf])


def test_swing_up_hangs_at_first_and_has_no_angle_limit() -> None:
    simulator = _build(id="CartPoleSwingUp-v1")
    assert (simulator.state[2] - math.pi).abs().max() <= 0.05
    assert simulator._limits.flatten().tolist() == [5.0, math.inf, math.inf, math.inf]
    assert not NativeEnvironment(id="CartPoleSwingUp-v1").counts_steps


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        (
            {"randomize": {"gravity": [20, 5]}},
            "environment.randomize.gravity = [20.0, 5.0]: allowed: [lowest, highest]",
        ),
        ({"disturb": {"push_strength": [3, 1]}}, "environment.disturb.push_strength = [3.0, 1.0]: allowed"),
        ({"start": {"balance": 0.5}}, "environment.start = (0.5, 0.0, 0.0): allowed: shares"),
        ({"randomize": {"gravty": [5, 20]}}, "environment.randomize.gravty = [5, 20]: unknown field; did you mean"),
        ({"randomise": {"gravity": [5, 20]}}, "unknown field; did you mean 'randomize'?"),
        ({"physics": {"cart_mass": 0}}, "environment.physics.cart_mass = 0: allowed: greater than 0"),
        ({"physics": 3}, "environment.physics = 3: allowed: a table, [environment.physics]"),
        ({"disturb": {"push_rate": -1}}, "environment.disturb.push_rate = -1: allowed: greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(environment: dict[str, Any], problem: str) -> None:
    (line,) = _problems(environment)
    assert line.startswith("mine.toml: environment")
    assert problem in line


def test_a_sections_field_can_be_changed_from_the_command_line() -> None:
    recipe = resolve_recipe({}, ["environment.randomize.gravity=[5, 20]"], source="mine.toml")
    assert isinstance(recipe.environment, NativeEnvironment)
    assert recipe.environment.randomize == RandomizeRecipe(gravity=(5.0, 20.0))
    (line,) = _problems({}, "environment.randomize.gravity=[20, 5]")
    assert line.startswith("command line: environment.randomize.gravity")


def test_every_field_survives_a_resolved_recipe() -> None:
    given = {
        "environment": {
            "id": "CartPoleSwingUp-v1",
            "physics": {"gravity": 5.0},
            "randomize": {"delay": [0, 2], "change_rate": 0.1},
            "disturb": {"push_rate": 1.0},
            "start": {"balance": 0.25, "hanging": 0.25, "anywhere": 0.5},
        }
    }
    recipe = resolve_recipe(given, [], source="mine.toml")
    assert resolve_recipe(tomllib.loads(recipe.to_toml()), [], source="resolved") == recipe


def test_values_are_kept_within_what_they_mean() -> None:
    with pytest.raises(ValidationError):
        PhysicsRecipe(hold=0.0)
    with pytest.raises(ValidationError):
        RandomizeRecipe(delay=(0, 51))
