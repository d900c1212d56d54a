"""Under pushes and delays, too, a seed of a study is its solo run, and a saved run goes on bit for bit."""

import io
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from members import trainer_of

from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe
from cartpole_cli.recipe.environment import (
    DisturbRecipe,
    NativeEnvironment,
    PhysicsRecipe,
    RewardRecipe,
    StartRecipe,
)
from cartpole_cli.recipe.recipe import MIN_GROUPS, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.training.trainer import Trainer

SEEDS = (11, 12, 13)
ALGORITHMS = pytest.mark.parametrize(
    "algorithm",
    [
        PPORecipe(steps_per_iteration=40, num_epochs=2, minibatch_size=64),
        GRPORecipe(name="grpo", group_size=2, branch_from="episode", num_epochs=2),
        DPORecipe(name="dpo", group_size=2, num_epochs=2),
    ],
    ids=lambda recipe: recipe.name,
)
PAGE_PPO = PPORecipe(steps_per_iteration=40, num_epochs=2, minibatch_size=64, gae_lambda=0.9)
"""Trained under what only the page does, with a value network that sees the physics."""
TASKS = ("CartPole-v1", "ContinuousCartPoleSwingUp-v1")
CASES = pytest.mark.parametrize(
    ("algorithm", "task"),
    [*((each, task) for each in ALGORITHMS.args[1] for task in TASKS), (PAGE_PPO, TASKS[1])],
)


def _trainer(algorithm: Any, task: Any, seeds: Sequence[int]) -> Trainer:
    environment = NativeEnvironment(
        id=task,
        num_envs=MIN_GROUPS * 2,
        max_episode_steps=40,
        physics=PhysicsRecipe(
            distribution="log_uniform",
            change_rate=0.5,
            gravity=(5.0, 20.0),
            cart_mass=(0.2, 5.0),
            cart_drag=(0.0, 1.5),
            hold=(1.0, 3.5),
            delay=(0, 2),
            observation_noise=(0.0, 0.05),
        ),
        disturb=DisturbRecipe(push_rate=1.0, push_strength=(0.5, 5.0)),
        start=StartRecipe(balance=0.5, hanging=0.1, anywhere=0.4),
    )
    policy = PolicyRecipe(features="trig", hidden_sizes=(32, 32), activation="relu")
    if algorithm is PAGE_PPO:
        policy = PolicyRecipe(features="fine", hidden_sizes=(32, 32), activation="relu", value_sees="physics")
        disturb = DisturbRecipe(push_rate=1.0, pushed_share=0.7, push_lifts=True, hitch_rate=1.0, burst_rate=1.0)
        reward = RewardRecipe(effort=0.1, change=0.1, distance=0.1)
        environment = environment.model_copy(update={"disturb": disturb, "reward": reward})
    recipe = Recipe(
        algorithm=algorithm,
        environment=environment,
        policy=policy,
        trainer=TrainerRecipe(evaluate_every=2, evaluation_episodes=5, num_steps=20_000),
    )
    return trainer_of(recipe, seeds)


@pytest.mark.shapes
@ALGORITHMS
def test_an_iteration_goes_through_with_shapes_checked(algorithm: Any) -> None:
    [report] = islice(_trainer(algorithm, "ContinuousCartPoleSwingUp-v1", SEEDS[:2]).iterations(), 1)
    assert [seed.failure for seed in report.seeds] == [None, None]


@CASES
def test_a_seed_is_its_solo_run(algorithm: Any, task: str) -> None:
    study, solo = _trainer(algorithm, task, SEEDS), _trainer(algorithm, task, SEEDS[1:2])
    for together, alone in zip(islice(study.iterations(), 4), islice(solo.iterations(), 4), strict=True):
        assert repr(replace(together.seeds[1], member=0)) == repr(alone.seeds[0])
    for stacked, own in zip(study.policy.parameters(), solo.policy.parameters(), strict=True):
        assert torch.equal(stacked[1:2], own)
        assert not torch.equal(stacked[0:1], own)


@CASES
def test_a_saved_run_goes_on_bit_for_bit(algorithm: Any, task: str) -> None:
    whole = _trainer(algorithm, task, SEEDS[:2])
    iterations = whole.iterations()
    for _ in range(3):
        next(iterations)
    file = io.BytesIO()
    torch.save(whole.state_dict(), file)
    expected = [next(iterations) for _ in range(2)]
    file.seek(0)
    resumed = _trainer(algorithm, task, SEEDS[:2])
    assert resumed.load_state_dict(torch.load(file, weights_only=True))
    for report, other in zip(expected, resumed.iterations(), strict=False):
        assert repr(report) == repr(other)
    for before, after in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert before.shape == after.shape
