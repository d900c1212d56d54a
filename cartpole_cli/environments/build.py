"""Recipe -> environment."""

from typing import assert_never

from cartpole_cli.environments.gymnasium_adapter import GymnasiumAdapter
from cartpole_cli.environments.interface import TrainingEnvironment, VectorEnvironment
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.environments.registration import CONTINUOUS_CART_POLE
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe import GymnasiumEnvironment, NativeEnvironment


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
    recipe: NativeEnvironment | GymnasiumEnvironment, streams: Streams, num_episodes: int
) -> VectorEnvironment:
    """The environments that score what a recipe trains: always Gymnasium's own."""
    match recipe:
        case NativeEnvironment():
            return GymnasiumCartPole(
                streams,
                num_episodes,
                continuous=recipe.id == "ContinuousCartPole-v1",
                max_episode_steps=recipe.max_episode_steps,
            )
        case GymnasiumEnvironment() if recipe.id.rpartition(":")[2] in {"CartPole-v1", CONTINUOUS_CART_POLE}:
            return GymnasiumCartPole(
                streams,
                num_episodes,
                continuous=recipe.id.endswith(CONTINUOUS_CART_POLE),
                max_episode_steps=recipe.max_episode_steps or 500,
            )
        case GymnasiumEnvironment():
            return GymnasiumAdapter(
                recipe.id, "sync", streams, num_episodes, max_episode_steps=recipe.max_episode_steps
            )
        case _:
            assert_never(recipe)
