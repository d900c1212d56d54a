"""Recipe -> environment."""

from typing import assert_never

from cartpole_cli.environments.gymnasium_adapter import GymnasiumAdapter
from cartpole_cli.environments.interface import TrainingEnvironment, VectorEnvironment
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe import GymnasiumEnvironment, NativeEnvironment

CART_POLE_STEPS = 500


def build_environment(recipe: NativeEnvironment | GymnasiumEnvironment, streams: Streams) -> TrainingEnvironment:
    """The environments a recipe trains in."""
    match recipe:
        case NativeEnvironment():
            return CartPoleSimulator(
                streams,
                recipe.num_envs,
                continuous=recipe.id == "ContinuousCartPole-v1",
                max_episode_steps=recipe.max_episode_steps,
            )
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
    """The environments that score what a recipe trains: always Gymnasium's own.

    Args:
        recipe: the task.
        streams: start states.
        num_episodes: environments per seed, of which the first episode counts.
        horizon: how many times the task's time limit an episode may last.
    """
    limit = recipe.max_episode_steps
    if is_cart_pole(recipe):
        continuous = recipe.id.endswith("ContinuousCartPole-v1")
        steps = (limit or CART_POLE_STEPS) * horizon
        return GymnasiumCartPole(streams, num_episodes, continuous=continuous, max_episode_steps=steps)
    return GymnasiumAdapter(recipe.id, "sync", streams, num_episodes, max_episode_steps=limit and limit * horizon)


def is_cart_pole(recipe: NativeEnvironment | GymnasiumEnvironment) -> bool:
    """Whether the task is one of ours, whose return is the number of steps survived."""
    return recipe.is_cart_pole
