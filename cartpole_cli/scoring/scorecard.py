"""One policy's score as plain data, and how scores compare."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from cartpole_cli.environments.build import build_judge
from cartpole_cli.environments.interface import CartPoleEnvironment, Transition, VectorEnvironment
from cartpole_cli.environments.recording import Recording, recording_of
from cartpole_cli.errors import CartpoleError
from cartpole_cli.intervals import interquartile_mean, paired_probability_of_improvement
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.scoring.candidates import Candidate, EnvironmentRecipe, task_named
from cartpole_cli.scoring.motion import MotionMeter
from cartpole_cli.training.evaluation import Evaluation, Watcher, play

NEAR_LIMIT = 0.95
"""Of the time limit: Gymnasium calls CartPole-v1 solved at 475 of 500 steps. (A run is solved by another rule.)"""
NO_PART_OF_A_TASK = {"id", "backend", "num_envs", "vectorization_mode", "max_episode_steps"}
"""Fields of [environment] that a judge's episodes do not depend on, or that are compared otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How candidates are scored."""

    episodes: int
    seed: int
    environment_id: str | None = None
    """Unset: what each was trained on."""
    stochastic: bool = False
    horizon: int | None = None
    """The time limit in steps; unset: the task's own."""

    def task_for(self, candidate: Candidate, tell: Callable[[str], None]) -> EnvironmentRecipe:
        """What a candidate is scored on; `tell` and errors as `Candidate.task` has them."""
        task = candidate.task(tell) if self.environment_id is None else task_named(self.environment_id)
        return task if self.horizon is None else task.model_copy(update={"max_episode_steps": self.horizon})


@dataclass(frozen=True, slots=True)
class Scored:
    """What became of a candidate."""

    card: dict[str, Any]
    """With the keys of `cartpole eval --json`."""
    task: EnvironmentRecipe
    recording: Recording | None
    """Of its first episode, if one was wanted."""


def score(
    candidate: Candidate,
    terms: Terms,
    *,
    record: bool = False,
    on_step: Callable[[int, int], None] = lambda done, limit: None,
    tell: Callable[[str], None] = lambda note: None,
) -> Scored:
    """Play a candidate's episodes.

    Args:
        candidate: the policy.
        terms: the rules.
        record: whether to keep what is needed to film the first episode.
        on_step: told the number of steps done, and the most there can be.
        tell: receives notes for the user.

    Raises:
        CartpoleError: the candidate does not fit the environment, or the environment cannot be made, or filmed.
    """
    task = terms.task_for(candidate, tell)
    streams = Streams([terms.seed], candidate.device, name="eval")
    with closing(build_judge(task, streams, terms.episodes, 1)) as judge:
        _check_fit(candidate, judge)
        act = _sampler(candidate, terms.episodes, streams) if terms.stochastic else candidate.policy.greedy_action
        meter = MotionMeter(judge) if isinstance(judge, CartPoleEnvironment) else None
        recording = recording_of(judge, task.id) if record else None
        limit = judge.max_episode_steps
        returns = play(act, judge, watching([meter, recording], lambda done: on_step(done, limit)))
    motion = asdict(meter.motion()) if meter else {}
    return Scored(_card(candidate, terms, task, limit, returns[0].tolist(), motion), task, recording)


def _card(
    candidate: Candidate,
    terms: Terms,
    task: EnvironmentRecipe,
    limit: int,
    returns: list[float],
    motion: dict[str, Any],
) -> dict[str, Any]:
    evaluation = Evaluation("eval", tuple(returns)).as_plain_data()
    del evaluation["set"], evaluation["returns"]
    return {
        "target": candidate.name,
        "study": candidate.study,
        "environment": task.id,
        "seed": terms.seed,
        "stochastic": terms.stochastic,
        "max_episode_steps": limit,
        **evaluation,
        "at_95_percent": sum(each >= NEAR_LIMIT * limit for each in returns) if task.counts_steps else None,
        **motion,
        "returns": returns,
    }


def compare(scored: Sequence[Scored]) -> list[dict[str, Any]]:
    """For each pair that was scored on one task, so from the same start states: how probably the first is better.

    A study's runs are left out: there are as many pairs of them as nobody reads.
    """
    alone = [each for each in scored if each.card["study"] is None]
    pairs = [(first, second) for first, second in itertools.combinations(alone, 2) if _comparable(first, second)]
    return [_comparison(first.card, second.card) for first, second in pairs]


def _comparison(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    better = paired_probability_of_improvement(first["returns"], second["returns"])
    return {"first": first["target"], "second": second["target"], **better.as_plain_data("probability")}


def _comparable(first: Scored, second: Scored) -> bool:
    """Whether both began in the same states, in the same physics, for the same return.

    Where the return is the number of steps, pushes and forces compare.
    """
    limits = [each.card["max_episode_steps"] for each in (first, second)]
    names = ["cart-pole" if each.task.counts_steps else each.task.id for each in (first, second)]
    rest = [each.task.model_dump(exclude=NO_PART_OF_A_TASK, exclude_none=True) for each in (first, second)]
    return limits[0] == limits[1] and names[0] == names[1] and rest[0] == rest[1]


def summarize_studies(cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each study that was named: the middle of its runs' mean returns, and the worst."""
    summaries = []
    for study in dict.fromkeys(card["study"] for card in cards if card["study"] is not None):
        returns = [card["mean_return"] for card in cards if card["study"] == study]
        middle = interquartile_mean(returns).as_plain_data("iqm")
        summaries.append({"study": study, "num_seeds": len(returns), "mean_return": middle, "worst_seed": min(returns)})
    return summaries


def watching(watchers: Iterable[Watcher | None], on_step: Callable[[int], None]) -> Watcher:
    """All of them as one, and then `on_step` with the number of steps so far."""
    present = [each for each in watchers if each is not None]
    numbers = itertools.count(1)

    def watch(action: Tensor, transition: Transition, running: Tensor) -> None:
        for each in present:
            each(action, transition, running)
        on_step(next(numbers))

    return watch


def _sampler(candidate: Candidate, num_envs: int, noise: Streams) -> Callable[[Tensor], Tensor]:
    """Samples the candidate's actions in so many environments."""
    policy = candidate.policy
    if not isinstance(policy, PolicyNetwork):
        raise CartpoleError(
            f"{candidate.name}: an ONNX file holds no distribution to sample from; leave out --stochastic"
        )
    steps = itertools.count()

    def sample(observation: Tensor) -> Tensor:
        drawn = policy.action_noise(noise, (num_envs,), next(steps))
        return policy.environment_action(policy.distribution(observation).sample(drawn))

    return sample


def _check_fit(candidate: Candidate, judge: VectorEnvironment) -> None:
    policy = candidate.policy
    if policy.observation_size != judge.observation_size or not policy.actions.fits(judge.actions):
        raise CartpoleError(
            f"{candidate.name}: takes {policy.observation_size} observations and gives {policy.actions}; "
            f"the environment has {judge.observation_size} and {judge.actions}"
        )
