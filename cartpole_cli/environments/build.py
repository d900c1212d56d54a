"""Recipe -> environment."""

import math
from typing import assert_never

import torch

from cartpole_cli.environments import swing_up
from cartpole_cli.environments.gymnasium_adapter import GymnasiumAdapter
from cartpole_cli.environments.interface import TrainingEnvironment, VectorEnvironment
from cartpole_cli.environments.judge import GymnasiumCartPole, GymnasiumSwingUp
from cartpole_cli.environments.randomization import STANDARD, Conditions, Push, Range, Starts
from cartpole_cli.environments.randomized import RandomizedCartPole
from cartpole_cli.environments.rewards import balance_reward, swing_up_reward
from cartpole_cli.environments.simulator import ANGLE_LIMIT, POSITION_LIMIT, CartPoleSimulator
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import (
    DisturbRecipe,
    GymnasiumEnvironment,
    NativeEnvironment,
    PhysicsRecipe,
    RandomizeRecipe,
    StartRecipe,
)

CART_POLE_STEPS = 500


def build_environment(recipe: NativeEnvironment | GymnasiumEnvironment, streams: Streams) -> TrainingEnvironment:
    """The environments a recipe trains in."""
    match recipe:
        case NativeEnvironment() if recipe.is_gymnasiums:
            return CartPoleSimulator(
                streams,
                recipe.num_envs,
                continuous=recipe.is_continuous,
                max_episode_steps=recipe.max_episode_steps,
            )
        case NativeEnvironment():
            return _randomized(recipe, streams, recipe.num_envs, recipe.max_episode_steps, torch.float32)
        case GymnasiumEnvironment():
            return GymnasiumAdapter(
                recipe.id,
                recipe.vectorization_mode,
                streams,
                recipe.num_envs,
                max_episode_steps=recipe.max_episode_steps,
            )
        case _:
            assert_never(recipe)


def build_judge(
    recipe: NativeEnvironment | GymnasiumEnvironment, streams: Streams, num_episodes: int, horizon: int
) -> VectorEnvironment:
    """The environments that score what a recipe trains: Gymnasium's own, where it has the task.

    Others are played in the native simulator, in float64.

    Args:
        recipe: the task.
        streams: start states.
        num_episodes: environments per seed, of which the first episode counts.
        horizon: how many times the task's time limit an episode may last.
    """
    limit = recipe.max_episode_steps
    if isinstance(recipe, NativeEnvironment) and not recipe.is_gymnasiums:
        return _randomized(recipe, streams, num_episodes, recipe.max_episode_steps * horizon, torch.float64)
    if recipe.is_swing_up:
        return GymnasiumSwingUp(recipe.id, streams, num_episodes, max_episode_steps=limit and limit * horizon)
    if recipe.is_cart_pole:
        continuous = recipe.id.endswith("ContinuousCartPole-v1")
        steps = (limit or CART_POLE_STEPS) * horizon
        return GymnasiumCartPole(streams, num_episodes, continuous=continuous, max_episode_steps=steps)
    return GymnasiumAdapter(recipe.id, "sync", streams, num_episodes, max_episode_steps=limit and limit * horizon)


def _randomized(
    recipe: NativeEnvironment, streams: Streams, num_envs: int, max_episode_steps: int, dtype: torch.dtype
) -> RandomizedCartPole:
    if recipe.is_swing_up:
        position_limit, angle_limit = swing_up.POSITION_LIMIT, math.inf
    else:
        position_limit, angle_limit = POSITION_LIMIT, ANGLE_LIMIT
    return RandomizedCartPole(
        streams,
        num_envs,
        _conditions(recipe),
        continuous=recipe.is_continuous,
        reward=swing_up_reward if recipe.is_swing_up else balance_reward,
        position_limit=recipe.position_limit or position_limit,
        angle_limit=math.radians(recipe.angle_limit) if recipe.angle_limit else angle_limit,
        max_episode_steps=max_episode_steps,
        dtype=dtype,
    )


def range_of(recipe: NativeEnvironment | GymnasiumEnvironment, name: str) -> Range:
    """Between what the cart-poles' number of that name lies in a recipe's episodes."""
    return _conditions(recipe if isinstance(recipe, NativeEnvironment) else NativeEnvironment()).values[name]


def _conditions(recipe: NativeEnvironment) -> Conditions:
    """What a recipe's sections say, in SI units; a range of one value where nothing is randomized."""
    physics, randomize = recipe.physics or PhysicsRecipe(), recipe.randomize or RandomizeRecipe()
    disturb = recipe.disturb or DisturbRecipe()
    start = recipe.start or (StartRecipe(balance=0.0, hanging=1.0) if recipe.is_swing_up else StartRecipe())
    values = {}
    for name in STANDARD:
        low, high = getattr(randomize, name) or (getattr(physics, name),) * 2
        values[name] = Range(float(low), float(high), randomize.distribution == "log_uniform" and low > 0)
    return Conditions(
        values=values,
        change_rate=randomize.change_rate,
        push_rate=disturb.push_rate,
        push_strength=Range(*disturb.push_strength),
        push=Push(
            velocity=disturb.push_velocity,
            angle=math.radians(disturb.push_angle),
            angle_limit=math.radians(disturb.push_angle_limit),
            angular_velocity=math.radians(disturb.push_angular_velocity),
        ),
        starts=Starts(**start.model_dump()),
    )
