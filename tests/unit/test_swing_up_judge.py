"""Swing-up on the Gymnasium backend is judged in its own environment."""

from types import SimpleNamespace
from typing import Any

import gymnasium
import numpy as np
import pytest
from members import trainer_of
from torch import Tensor

from cartpole_cli.actions import Continuous
from cartpole_cli.environments.build import build_judge
from cartpole_cli.environments.judge import GymnasiumSwingUp
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import GymnasiumEnvironment, NativeEnvironment
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.tasks import TASKS
from cartpole_cli.training.build import build_evaluator
from cartpole_cli.training.evaluation import play

pytestmark = pytest.mark.shapes

SWING_UPS = pytest.mark.parametrize("task", [task.id for task in TASKS.values() if not task.counts_steps])
PREFIXES = pytest.mark.parametrize("prefix", ["cartpole_cli/", "cartpole_cli.environments:cartpole_cli/"])


def pumping(task: str) -> Any:
    """Pushes with the pole's motion, and back to the middle: swings up, and leaves no episode at its start."""

    def force(seen: Tensor) -> Tensor:
        x, x_dot, theta, theta_dot = seen.double().unbind(dim=-1)
        return 7 * (theta_dot * theta.cos()).sign() - x - x_dot

    if isinstance(TASKS[task].actions, Continuous):
        return SimpleNamespace(greedy_action=lambda seen: force(seen).float().unsqueeze(-1))
    return SimpleNamespace(greedy_action=lambda seen: (force(seen) > 0).long())


def recipe_of(task: str, prefix: str, limit: int = 60) -> Any:
    return GymnasiumEnvironment(backend="gymnasium", id=prefix + task, max_episode_steps=limit)


@SWING_UPS
@PREFIXES
def test_a_score_is_that_of_the_native_backend_from_the_same_starts(task: str, prefix: str) -> None:
    native = build_judge(NativeEnvironment.model_validate({"id": task, "max_episode_steps": 60}), Streams([0]), 8, 1)
    judge: Any = build_judge(recipe_of(task, prefix), Streams([0]), 8, 1)
    assert isinstance(judge, GymnasiumSwingUp)
    for single, state in zip(judge._environments[0].envs, native.observation[0].double().numpy(), strict=True):
        single.unwrapped.state = state.copy()
    judge.observation = native.observation
    native.reset_to(native.observation)  # type: ignore[attr-defined]  # rounded to what both can have
    returns, expected = (play(pumping(task).greedy_action, environment)[0] for environment in (judge, native))
    assert 10 < expected.min() < expected.max() < 60
    np.testing.assert_allclose(returns.numpy(), expected.numpy(), rtol=0, atol=0.02)


@SWING_UPS
def test_episodes_begin_where_gymnasiums_do_and_last_as_long_as_the_task(task: str) -> None:
    judge = build_judge(recipe_of(task, "cartpole_cli/", limit=None), Streams([0]), 50, 1)  # type: ignore[arg-type]
    assert judge.max_episode_steps == gymnasium.make(f"cartpole_cli/{task}").spec.max_episode_steps  # type: ignore[union-attr]
    assert (judge.observation[..., 2].abs() - np.pi).abs().max() <= 0.0501


@SWING_UPS
def test_training_is_judged_in_it(task: str) -> None:
    recipe = Recipe.model_validate(
        {
            "environment": {
                "backend": "gymnasium",
                "id": f"cartpole_cli/{task}",
                "num_envs": 2,
                "max_episode_steps": 40,
            },
            "trainer": {"num_steps": 100, "evaluate_every": 1, "evaluation_episodes": 3},
        }
    )
    trainer = trainer_of(recipe, [0])
    evaluation = next(trainer.iterations()).seeds[0].evaluation
    assert evaluation is not None
    # A pole that hangs at rest is worth 0.4 a step, one that is balanced 1.
    assert 0 < evaluation.mean < 0.7 * 40
    final = build_evaluator(recipe).final(trainer.policy, trainer.streams)[0]
    assert 0 < final.mean < 0.7 * 40
