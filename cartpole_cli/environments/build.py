"""Recipe -> environment."""

import math

import torch

from cartpole_cli.environments.gymnasium_masked import MaskedResets
from cartpole_cli.environments.gymnasium_next_step import NextStepResets
from cartpole_cli.environments.interface import TrainingEnvironment, VectorEnvironment
from cartpole_cli.environments.judge import GymnasiumCartPole, GymnasiumSwingUp
from cartpole_cli.environments.randomization import Conditions, Push, Range, Starts
from cartpole_cli.environments.randomized import RandomizedCartPole
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import (
    DisturbRecipe,
    GymnasiumEnvironment,
    NativeEnvironment,
    PhysicsRecipe,
    StartRecipe,
)
from cartpole_cli.tasks import MAX_EPISODE_STEPS, STANDARD


def build_environment(
    recipe: NativeEnvironment | GymnasiumEnvironment, streams: Streams, *, shows_physics: bool = False
) -> TrainingEnvironment:
    """The environments a recipe trains in.

    Args:
        recipe: the task.
        streams: start states, and all that is drawn.
        shows_physics: whether a native environment's observations go on with what its episodes have drawn.
    """
    if isinstance(recipe, GymnasiumEnvironment):
        mode, limit = recipe.vectorization_mode, recipe.max_episode_steps
        adapter = NextStepResets if mode == "vector_entry_point" else MaskedResets
        return adapter(recipe.id, mode, streams, recipe.num_envs, max_episode_steps=limit)
    if recipe.is_gymnasiums and not shows_physics:
        return CartPoleSimulator(streams, recipe.num_envs, recipe.task, max_episode_steps=recipe.max_episode_steps)
    return _randomized(recipe, streams, recipe.num_envs, recipe.max_episode_steps, torch.float32, shows_physics)


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
    limit = recipe.max_episode_steps and recipe.max_episode_steps * horizon
    if isinstance(recipe, NativeEnvironment) and not recipe.is_gymnasiums:
        return _randomized(recipe, streams, num_episodes, recipe.max_episode_steps * horizon, torch.float64)
    if recipe.task is None:
        return MaskedResets(recipe.id, "sync", streams, num_episodes, max_episode_steps=limit)
    if recipe.task.counts_steps:
        steps = limit or MAX_EPISODE_STEPS * horizon
        return GymnasiumCartPole(streams, num_episodes, recipe.task.actions, max_episode_steps=steps)
    return GymnasiumSwingUp(recipe.id, streams, num_episodes, max_episode_steps=limit)


def _randomized(
    recipe: NativeEnvironment,
    streams: Streams,
    num_envs: int,
    max_episode_steps: int,
    dtype: torch.dtype,
    shows_physics: bool = False,
) -> RandomizedCartPole:
    return RandomizedCartPole(
        streams,
        num_envs,
        recipe.task,
        _conditions(recipe),
        max_episode_steps=max_episode_steps,
        dtype=dtype,
        shows_physics=shows_physics,
    )


def range_of(recipe: NativeEnvironment | GymnasiumEnvironment, name: str) -> Range:
    """Between what the cart-poles' number of that name lies in a recipe's episodes."""
    return _conditions(recipe if isinstance(recipe, NativeEnvironment) else NativeEnvironment()).values[name]


def _conditions(recipe: NativeEnvironment) -> Conditions:
    """What a recipe's sections say, in SI units."""
    physics, disturb = recipe.physics or PhysicsRecipe(), recipe.disturb or DisturbRecipe()
    start = recipe.start or StartRecipe(**{"balance": 0.0, recipe.task.start: 1.0})
    values = {}
    for name in STANDARD:
        low, high = getattr(physics, name)
        values[name] = Range(float(low), float(high), physics.distribution == "log_uniform" and low > 0)
    return Conditions(
        values=values,
        change_rate=physics.change_rate,
        push_rate=disturb.push_rate,
        push_strength=Range(
            *disturb.push_strength, disturb.push_distribution == "log_uniform" and disturb.push_strength[0] > 0
        ),
        push=Push(
            velocity=disturb.push_velocity,
            angle=math.radians(disturb.push_angle),
            angle_limit=math.radians(disturb.push_angle_limit),
            angular_velocity=math.radians(disturb.push_angular_velocity),
            lifts=disturb.push_lifts,
        ),
        pushed_share=disturb.pushed_share,
        hitch_rate=disturb.hitch_rate,
        hitch_seconds=Range(*disturb.hitch_seconds),
        burst_rate=disturb.burst_rate,
        burst_seconds=Range(*disturb.burst_seconds),
        burst_pushes=disturb.burst_pushes,
        burst_strength=disturb.burst_strength,
        starts=Starts(**start.model_dump()),
    )
