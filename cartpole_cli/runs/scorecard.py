"""One policy's score as plain data, and how scores compare."""

import itertools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from cartpole_cli.environments.build import build_judge, is_cart_pole
from cartpole_cli.environments.interface import ContinuousActions, VectorEnvironment
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.runs.targets import Target, load_target, task_named
from cartpole_cli.training.build import choose_device
from cartpole_cli.training.scoring import probability_of_improvement, score

SOLVED_SHARE = 0.95
"""Gymnasium calls CartPole-v1 solved at 475 of 500 steps."""


def make_scorecard(
    name: str,
    runs_dir: Path,
    *,
    device: str,
    episodes: int,
    seed: int,
    environment_id: str | None,
    stochastic: bool,
    horizon: int | None,
    on_step: Callable[[int, int], None],
) -> dict[str, Any]:
    """Score a target; the keys are those of `cartpole eval --json`.

    Raises:
        CartpoleError: nothing that can be scored, or it does not fit the environment.
    """
    target = load_target(name, runs_dir, choose_device(device))
    task = target.environment if environment_id is None else task_named(environment_id)
    if horizon is not None:
        task = task.model_copy(update={"max_episode_steps": horizon})
    streams = Streams([seed], choose_device(device), name="eval")
    judge = build_judge(task, streams, episodes, 1)
    try:
        act = _action_rule(target, judge, streams if stochastic else None)
        limit = judge.max_episode_steps
        evaluation, motion = score(
            act,
            judge,
            set_name=f"eval, seed {seed}",
            is_cart_pole=is_cart_pole(task),
            on_step=lambda done: on_step(done, limit),
        )
    finally:
        judge.close()
    summary = evaluation.as_plain_data()
    returns = summary.pop("returns")
    del summary["set"]
    solved = sum(value >= SOLVED_SHARE * limit for value in returns) if is_cart_pole(task) else None
    return {
        "target": name,
        "environment": task.id,
        "seed": seed,
        "stochastic": stochastic,
        "max_episode_steps": limit,
        **summary,
        "solved": solved,
        **(asdict(motion) if motion else {}),
        "returns": returns,
    }


def compare(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each pair of scorecards on the same start states: how probably the first is better, with its interval."""
    return [
        {
            "first": first["target"],
            "second": second["target"],
            **probability_of_improvement(first["returns"], second["returns"]),
        }
        for first, second in itertools.combinations(cards, 2)
    ]


def _action_rule(target: Target, judge: VectorEnvironment, noise: Streams | None) -> Callable[[Tensor], Tensor]:
    policy = target.policy
    _check_fit(target, judge)
    if noise is None:
        return policy.greedy_action
    if not isinstance(policy, PolicyNetwork):
        raise CartpoleError(f"{target.name}: an ONNX file holds no distribution to sample from; leave out --stochastic")
    steps = itertools.count()

    def sample(observation: Tensor) -> Tensor:
        drawn = policy.action_noise(noise, (judge.num_envs,), next(steps))
        return policy.environment_action(policy.distribution(observation).sample(drawn))

    return sample


def _check_fit(target: Target, judge: VectorEnvironment) -> None:
    policy = target.policy
    if isinstance(policy, PolicyNetwork):
        architecture = policy.architecture
        takes, gives = architecture.observation_size, architecture.num_actions or len(architecture.action_low)
        continuous = architecture.num_actions is None
    else:
        takes, continuous = 4, policy.num_values != 2
        gives = 1 if continuous else 2
    if isinstance(judge.actions, ContinuousActions):
        wanted, kind = len(judge.actions.low), "continuous"
    else:
        wanted, kind = judge.actions.num_actions, "discrete"
    if (takes, gives, continuous) != (judge.observation_size, wanted, kind == "continuous"):
        raise CartpoleError(
            f"{target.name}: takes {takes} observations and gives {gives} {'continuous' if continuous else 'discrete'} "
            f"actions; the environment has {judge.observation_size} and {wanted} {kind}"
        )
