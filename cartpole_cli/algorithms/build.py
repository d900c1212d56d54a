"""Recipe -> algorithm."""

from typing import assert_never

from cartpole_cli.algorithms.interface import Algorithm
from cartpole_cli.algorithms.ppo import PPO
from cartpole_cli.algorithms.reinforce import Reinforce
from cartpole_cli.recipe import PPORecipe, ReinforceRecipe


def build_algorithm(recipe: ReinforceRecipe | PPORecipe) -> Algorithm:
    """The algorithm a recipe names, with its numbers."""
    match recipe:
        case ReinforceRecipe():
            return Reinforce(
                gamma=recipe.gamma,
                baseline=recipe.baseline,
                normalize_advantage=recipe.normalize_advantage,
                value_coefficient=recipe.value_coefficient,
                entropy_coefficient=recipe.entropy_coefficient,
            )
        case PPORecipe():
            return PPO(
                steps_per_iteration=recipe.steps_per_iteration,
                num_epochs=recipe.num_epochs,
                minibatch_size=recipe.minibatch_size,
                gamma=recipe.gamma,
                gae_lambda=recipe.gae_lambda,
                clip_range=recipe.clip_range,
                anneal_clip_range=recipe.clip_range_schedule == "linear",
                normalize_advantage=recipe.normalize_advantage,
                value_coefficient=recipe.value_coefficient,
                value_clip_range=recipe.value_clip_range,
                entropy_coefficient=recipe.entropy_coefficient,
                target_kl=recipe.target_kl,
            )
        case _:
            assert_never(recipe)
