"""Recipe -> algorithm."""

from typing import assert_never

from cartpole_cli.algorithms.dpo import DPO
from cartpole_cli.algorithms.grpo import GRPO
from cartpole_cli.algorithms.interface import Algorithm
from cartpole_cli.algorithms.ppo import PPO
from cartpole_cli.algorithms.reinforce import Reinforce
from cartpole_cli.recipe.algorithm import AlgorithmRecipe, DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe


def build_algorithm(recipe: AlgorithmRecipe) -> Algorithm:
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
        case GRPORecipe():
            return GRPO(
                group_size=recipe.group_size,
                branch=recipe.branch_from == "episode",
                credit=recipe.credit,
                advantage_scale=recipe.advantage_scale,
                scale_floor=recipe.scale_floor,
                aggregation=recipe.aggregation,
                num_epochs=recipe.num_epochs,
                minibatch_size=recipe.minibatch_size,
                clip_range=recipe.clip_range,
                clip_range_high=recipe.clip_range if recipe.clip_range_high is None else recipe.clip_range_high,
                kl_weight=recipe.kl_weight,
                kl_estimator=recipe.kl_estimator,
                kl_reference_every=recipe.reference_every,
            )
        case DPORecipe():
            return DPO(
                group_size=recipe.group_size,
                steps_before_failure=recipe.steps_before_failure if recipe.branch_from == "before_failure" else None,
                pairs=recipe.pairs,
                max_pairs=recipe.max_pairs,
                min_margin=recipe.min_margin,
                rater_temperature=recipe.rater_temperature if recipe.rater == "bradley_terry" else None,
                window=recipe.window,
                window_steps=recipe.window_steps,
                variant=recipe.loss,
                beta=recipe.beta,
                label_smoothing=recipe.label_smoothing,
                sft_weight=recipe.sft_weight,
                num_epochs=recipe.num_epochs,
                groups_per_minibatch=recipe.groups_per_minibatch,
                reference_every=recipe.reference_every,
            )
        case _:
            assert_never(recipe)
