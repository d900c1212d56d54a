"""One policy's score as plain data, and how scores compare."""

import itertools
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from cartpole_cli.environments.build import build_judge
from cartpole_cli.environments.film import film
from cartpole_cli.environments.interface import CartPoleEnvironment, VectorEnvironment
from cartpole_cli.environments.registered import check_registered
from cartpole_cli.errors import CartpoleError
from cartpole_cli.intervals import interquartile_mean, paired_probability_of_improvement
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import GymnasiumEnvironment, NativeEnvironment
from cartpole_cli.scoring.candidates import Candidate, load_candidate, task_named
from cartpole_cli.scoring.motion import score
from cartpole_cli.training.build import choose_device

NEAR_LIMIT = 0.95
"""Of the time limit: Gymnasium calls CartPole-v1 solved at 475 of 500 steps. (A run is solved by another rule.)"""


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
    video: Path | None,
    study: str | None = None,
    on_step: Callable[[int, int], None],
) -> dict[str, Any]:
    """Score a target, and film its first episode if a file is given; the keys are those of `cartpole eval --json`.

    Raises:
        CartpoleError: nothing that can be scored, or it does not fit the environment.
    """
    where = choose_device(device)
    candidate = load_candidate(name, runs_dir, where)
    task = _task(candidate, environment_id)
    if horizon is not None:
        task = task.model_copy(update={"max_episode_steps": horizon})
    streams = Streams([seed], where, name="eval")
    judge = build_judge(task, streams, episodes, 1)
    try:
        _check_fit(candidate, judge)
        noise = streams if stochastic else None
        act = _action_rule(candidate, episodes, noise)
        limit = judge.max_episode_steps
        start = judge.observation[0, 0].cpu() if isinstance(judge, CartPoleEnvironment) else None
        evaluation, motion = score(
            act,
            judge,
            set_name=f"eval, seed {seed}",
            on_step=lambda done: on_step(done, limit),
        )
        if video is not None:
            act_alone = _action_rule(candidate, 1, noise)
            film(lambda row: act_alone(row.to(where)), task, video, seed=seed, start=start)
    finally:
        judge.close()
    summary = evaluation.as_plain_data()
    returns = summary.pop("returns")
    del summary["set"]
    near_limit = sum(value >= NEAR_LIMIT * limit for value in returns) if task.counts_steps else None
    return {
        "target": name,
        "study": study,
        "environment": task.id,
        "seed": seed,
        "stochastic": stochastic,
        "max_episode_steps": limit,
        **summary,
        "at_95_percent": near_limit,
        **(asdict(motion) if motion else {}),
        "returns": returns,
    }


def compare(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each pair of scorecards of one task, so on the same start states: how probably the first is better.

    A study's runs are left out: there are as many pairs of them as nobody reads.
    """

    def task(card: dict[str, Any]) -> tuple[str, int]:
        return ("cart-pole" if card["at_95_percent"] is not None else card["environment"], card["max_episode_steps"])

    alone = [card for card in cards if card["study"] is None]
    return [
        {
            "first": first["target"],
            "second": second["target"],
            **paired_probability_of_improvement(first["returns"], second["returns"]).as_plain_data("probability"),
        }
        for first, second in itertools.combinations(alone, 2)
        if task(first) == task(second)
    ]


def summarize_studies(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each study that was named: the middle of its runs' mean returns, and the worst."""
    summaries = []
    for study in dict.fromkeys(card["study"] for card in cards if card["study"] is not None):
        returns = [card["mean_return"] for card in cards if card["study"] == study]
        middle = interquartile_mean(returns).as_plain_data("iqm")
        summaries.append({"study": study, "num_seeds": len(returns), "mean_return": middle, "worst_seed": min(returns)})
    return summaries


def _action_rule(candidate: Candidate, num_envs: int, noise: Streams | None) -> Callable[[Tensor], Tensor]:
    """What the target does in each of so many environments: its greedy action, or one sampled with noise."""
    policy = candidate.policy
    if noise is None:
        return policy.greedy_action
    if not isinstance(policy, PolicyNetwork):
        raise CartpoleError(
            f"{candidate.name}: an ONNX file holds no distribution to sample from; leave out --stochastic"
        )
    steps = itertools.count()

    def sample(observation: Tensor) -> Tensor:
        drawn = policy.action_noise(noise, (num_envs,), next(steps))
        return policy.environment_action(policy.distribution(observation).sample(drawn))

    return sample


def _task(candidate: Candidate, given: str | None) -> NativeEnvironment | GymnasiumEnvironment:
    """What a target is scored on: the user's environment, or the file's, if that is registered."""
    if given is not None:
        return task_named(given)
    check_registered(candidate.environment.id, candidate.name)
    return candidate.environment


def _check_fit(candidate: Candidate, judge: VectorEnvironment) -> None:
    policy = candidate.policy
    if policy.observation_size != judge.observation_size or not policy.actions.fits(judge.actions):
        raise CartpoleError(
            f"{candidate.name}: takes {policy.observation_size} observations and gives {policy.actions}; "
            f"the environment has {judge.observation_size} and {judge.actions}"
        )
