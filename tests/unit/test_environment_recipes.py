"""What [environment] and its sections may say, and what is built of it."""

import math
import tomllib
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from cartpole_cli.actions import Continuous
from cartpole_cli.environments.build import build_environment, build_judge
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.environments.randomized import RandomizedCartPole
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.errors import CartpoleError
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import (
    DisturbRecipe,
    NativeEnvironment,
    PhysicsRecipe,
    RewardRecipe,
    StartRecipe,
)
from cartpole_cli.recipe.files import resolve_recipe
from cartpole_cli.tasks import STANDARD, Costs

SECTIONS = {
    "physics": PhysicsRecipe(),
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
        physics=PhysicsRecipe(
            distribution="log_uniform",
            gravity=(5.0, 20.0),
            pole_mass=0.3,
            cart_drag=0.75,
            pole_drag=(0.0, 1.5),
            delay=(0, 2),
        ),
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


def test_what_lasts_and_what_costs_reaches_the_simulator() -> None:
    simulator = _build(
        id="ContinuousCartPoleSwingUp-v1",
        disturb=DisturbRecipe(
            **{
                "push_strength": (0.5, 5.0),
                "push_distribution": "log_uniform",
                "pushed_share": 0.5,
                "push_lifts": True,
            },
            **{"hitch_rate": 0.1, "hitch_seconds": 0.5, "burst_rate": 0.2, "burst_pushes": 4.0, "burst_strength": 2.0},
        ),
        reward=RewardRecipe(effort=0.1, change=0.2, distance=0.3),
    )
    conditions = simulator._conditions
    assert conditions.push_strength.logarithmic
    assert conditions.push.lifts
    assert (conditions.pushed_share, conditions.hitch_rate, conditions.burst_rate) == (0.5, 0.1, 0.2)
    assert (conditions.hitch_seconds.low, conditions.hitch_seconds.high) == (0.5, 0.5)
    assert (conditions.burst_seconds.low, conditions.burst_seconds.high) == (0.5, 3.0)
    assert (conditions.burst_pushes, conditions.burst_strength) == (4.0, 2.0)
    assert simulator.task.costs == Costs(effort=0.1, change=0.2, distance=0.3)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"algorithm": {"name": "grpo"}, "environment": {"num_envs": 1024}}, "no value network"),
        ({"environment": {"backend": "gymnasium"}}, "needs environment.backend = 'native'"),
    ],
)
def test_a_value_network_that_is_not_there_or_shown_nothing_sees_no_physics(data: dict[str, Any], said: str) -> None:
    with pytest.raises(CartpoleError) as caught:
        resolve_recipe(data | {"policy": {"value_sees": "physics"}}, (), source="mine.toml")
    (line,) = caught.value.problems
    assert line.startswith("mine.toml: policy.value_sees = 'physics': ")
    assert said in line


@pytest.mark.parametrize(
    ("state", "pays"),
    [
        ((0.0, 9.0, 0.0, 0.0), 1.0),
        ((-0.99, 0.0, math.radians(-11.9), 0.99), 1.0),
        ((0.0, 0.0, 2 * math.pi, 0.0), 1.0),
        ((1.01, 0.0, 0.0, 0.0), 0.0),
        ((0.0, 0.0, math.radians(12.1), 0.0), 0.0),
        ((0.0, 0.0, 0.0, -1.01), 0.0),
        ((0.0, 0.0, math.pi, 0.0), 0.0),
    ],
)
def test_a_sparse_swing_up_pays_for_a_calm_pole_near_the_middle_alone(state: tuple[float, ...], pays: float) -> None:
    simulator = _build(id="CartPoleSwingUp-v1", reward=RewardRecipe(kind="sparse"))
    after = torch.tensor(state).view(4, 1, 1).expand_as(simulator.state)
    assert simulator._reward(after).unique().tolist() == [pays]


def test_swing_up_hangs_at_first_and_has_no_angle_limit() -> None:
    simulator = _build(id="CartPoleSwingUp-v1")
    assert (simulator.state[2] - math.pi).abs().max() <= 0.05
    assert simulator._limits.flatten().tolist() == [5.0, math.inf, math.inf, math.inf]
    assert not NativeEnvironment(id="CartPoleSwingUp-v1").counts_steps


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        (
            {"physics": {"gravity": [20, 5]}},
            "environment.physics.gravity = [20, 5]: allowed: a range, the lower number first",
        ),
        ({"physics": {"gravity": "moon"}}, "environment.physics.gravity = 'moon': allowed: a number, or [lowest, high"),
        ({"physics": {"gravity": [1, 2, 3]}}, "gravity = [1, 2, 3]: allowed: a number, or [lowest, highest]"),
        ({"physics": {"gravity": [5]}}, "environment.physics.gravity = [5]: allowed: a number, or [lowest, highest]"),
        ({"physics": {"gravity": [-1, 5]}}, "environment.physics.gravity[1] = -1: allowed: greater than or equal to 0"),
        ({"physics": {"gravity": True}}, "environment.physics.gravity = True: allowed: a valid number"),
        ({"physics": {"gravity": math.nan}}, "environment.physics.gravity = nan: allowed: a finite number"),
        ({"physics": {"delay": 0.5}}, "environment.physics.delay = 0.5: allowed: a valid integer"),
        ({"disturb": {"push_strength": [3, 1]}}, "environment.disturb.push_strength = [3, 1]: allowed: a range"),
        ({"start": {"balance": 0.5}}, "environment.start = (0.5, 0.0, 0.0): allowed: shares"),
        ({"physics": {"gravty": [5, 20]}}, "environment.physics.gravty = [5, 20]: unknown field; did you mean"),
        ({"phisics": {"gravity": [5, 20]}}, "unknown field; did you mean 'physics'?"),
        ({"physics": {"cart_mass": 0}}, "environment.physics.cart_mass = 0: allowed: greater than 0"),
        ({"physics": 3}, "environment.physics = 3: allowed: a table, [environment.physics]"),
        ({"disturb": {"hitch_seconds": [0, 1]}}, "environment.disturb.hitch_seconds[1] = 0: allowed: greater than 0"),
        (
            {"reward": {"effort": 0.1}},
            "environment.reward = {'effort': 0.1}: the reward",
        ),
        ({"disturb": {"push_rate": -1}}, "environment.disturb.push_rate = -1: allowed: greater than or equal to 0"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(environment: dict[str, Any], problem: str) -> None:
    (line,) = _problems(environment)
    assert line.startswith("mine.toml: environment")
    assert problem in line


@pytest.mark.parametrize(("given", "pair"), [("[5, 20]", (5.0, 20.0)), ("5", (5.0, 5.0)), ("1e1", (10.0, 10.0))])
def test_a_number_or_a_range_can_be_given_on_the_command_line(given: str, pair: tuple[float, float]) -> None:
    recipe = resolve_recipe({}, [f"environment.physics.gravity={given}"], source="mine.toml")
    assert isinstance(recipe.environment, NativeEnvironment)
    assert recipe.environment.physics == PhysicsRecipe(gravity=pair)
    assert recipe.environment.physics.gravity == pair
    (line,) = _problems({}, "environment.physics.gravity=[20, 5]")
    assert line.startswith("command line: environment.physics.gravity")


def test_a_range_without_width_is_written_as_a_number() -> None:
    given = {"environment": {"physics": {"gravity": [5, 20], "cart_mass": [2, 2], "delay": 1}}}
    text = resolve_recipe(given, [], source="mine.toml").to_toml()
    written = tomllib.loads(text)["environment"]["physics"]
    assert (written["gravity"], written["cart_mass"], written["delay"]) == ([5.0, 20.0], 2.0, 1)
    assert written["pole_mass"] == STANDARD["pole_mass"]


def test_a_recipe_that_still_randomizes_is_told_what_to_write() -> None:
    moved = "environment.randomize: is now part of [environment.physics]: add there "
    ranges = {"distribution": "log_uniform", "cart_mass": [0.5, 2.0]}
    assert _problems({"randomize": ranges}) == (
        f"mine.toml: {moved}distribution = 'log_uniform', cart_mass = [0.5, 2.0]",
    )
    assert _problems({}, "environment.randomize.delay=[0, 1]") == (f"command line: {moved}delay = [0, 1]",)
    (line,) = _problems({"randomize": 3})
    assert line == f"mine.toml: {moved.removesuffix('add there ')}leave it out"


def test_the_range_of_forces_is_that_of_the_actions() -> None:
    recipe = NativeEnvironment(id="ContinuousCartPole-v1", physics=PhysicsRecipe(force_magnitude=(2.0, 30.0)))
    assert build_environment(recipe, Streams([0])).actions == Continuous((-30.0,), (30.0,))


def test_every_field_survives_a_resolved_recipe() -> None:
    given = {
        "environment": {
            "id": "CartPoleSwingUp-v1",
            "physics": {"gravity": 5.0, "delay": [0, 2], "change_rate": 0.1},
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
        PhysicsRecipe(delay=(0, 51))
