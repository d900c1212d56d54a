"""Held-out episodes, played greedily in Gymnasium's equations: the only source of a policy's score."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from statistics import median
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.environments.interface import Transition, VectorEnvironment
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.estimate import Estimate
from cartpole_cli.intervals import mean
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams

CONFIRMATION_EPISODES = 100
FINAL_EPISODES = 100
Watcher = Callable[[Tensor, Transition, Bool[Tensor, "S N"]], None]
"""Takes the actions of a step, what it did, and where it belongs to a first episode."""


@dataclass(frozen=True)
class Evaluation:
    """The returns of one policy's episodes on one named set of start states.

    Where episodes were played beyond their time limit, `returns` are scaled back to it, and `within_limit` has what
    they had returned by then.
    """

    set_name: str
    returns: tuple[float, ...]
    within_limit: tuple[float, ...] | None = None

    @cached_property
    def mean(self) -> float:
        return float(np.mean(self.returns))

    @cached_property
    def estimate(self) -> Estimate:
        """The mean with its interval, which takes a moment."""
        return mean(np.array(self.returns))

    def as_plain_data(self) -> dict[str, Any]:
        return {
            "set": self.set_name,
            "episodes": len(self.returns),
            "mean_return": self.mean,
            "std_return": float(np.std(self.returns)),
            "min_return": min(self.returns),
            "median_return": median(self.returns),
            "max_return": max(self.returns),
            "ci95": list(self.estimate.interval),
            "returns": list(self.returns),
        }


class Evaluator:
    """Plays the policies of S seeds on named sets of episodes that share no start state with each other or training.

    - "selection": which checkpoint is best; the same episodes each time.
    - "confirmation": is it really solved? 100 fresh episodes each time it is asked, which last
      `confirmation_horizon` times as long, their returns divided by it: a cart that drifts slowly to the rail's
      end survives the time limit, and falls soon after.
    - "final": the reported score, on which nothing was ever chosen.

    Args:
        judge: makes the environment that judges, from streams, a number of episodes and a horizon.
        selection_episodes: size of the selection set.
        confirmation_horizon: 1, or more where the return counts the steps survived.
    """

    def __init__(
        self,
        judge: Callable[[Streams, int, int], VectorEnvironment],
        *,
        selection_episodes: int,
        confirmation_horizon: int,
    ) -> None:
        self._judge = judge
        self._selection_episodes, self.confirmation_horizon = selection_episodes, confirmation_horizon
        self.seconds = 0.0
        """Time spent in here so far."""

    def selection(self, policy: PolicyNetwork, streams: Streams) -> list[Evaluation]:
        return self._play(policy, streams, "selection", "selection", self._selection_episodes)

    def confirmation(self, policy: PolicyNetwork, streams: Streams, iteration: int) -> list[Evaluation]:
        stream = f"confirmation/{iteration}"
        return self._play(policy, streams, "confirmation", stream, CONFIRMATION_EPISODES, self.confirmation_horizon)

    def final(self, policy: PolicyNetwork, streams: Streams) -> list[Evaluation]:
        return self._play(policy, streams, "final", "final", FINAL_EPISODES)

    def environment(self, streams: Streams, stream: str, num_episodes: int, horizon: int = 1) -> VectorEnvironment:
        """The judge at the start of that many of a set's episodes."""
        return self._judge(streams.named("evaluation").named(stream), num_episodes, horizon)

    def _play(
        self, policy: PolicyNetwork, streams: Streams, set_name: str, stream: str, num_episodes: int, horizon: int = 1
    ) -> list[Evaluation]:
        started = time.perf_counter()
        environment = self.environment(streams, stream, num_episodes, horizon)
        try:
            returns = play(policy.greedy_action, environment)
        finally:
            environment.close()
            self.seconds += time.perf_counter() - started
        if horizon == 1:
            return [Evaluation(set_name, tuple(row)) for row in returns.tolist()]
        within = returns.clamp(max=environment.max_episode_steps / horizon)
        rows = zip((returns / horizon).tolist(), within.tolist(), strict=True)
        return [Evaluation(set_name, tuple(row), tuple(by_then)) for row, by_then in rows]


@torch.inference_mode()
def play(
    act: Callable[[Tensor], Tensor], environment: VectorEnvironment, watch: Watcher | None = None
) -> Float[Tensor, "S N"]:
    """The return of the first episode of every environment.

    Args:
        act: observation [S, N, O] -> the environment's actions.
        environment: at the start of its episodes.
        watch: told of each step.
    """
    if watch is None and isinstance(environment, GymnasiumCartPole):
        return environment.returns_of(act)
    total = torch.zeros(environment.num_seeds, environment.num_envs, dtype=torch.float64, device="cpu")
    running = torch.ones_like(total, dtype=torch.bool)
    while running.any():
        action = act(environment.observation)
        transition = environment.step(action)
        if watch is not None:
            watch(action, transition, running)
        total += torch.where(running, transition.reward.cpu(), 0.0)
        running &= ~(transition.terminated | transition.truncated).cpu()
    return total
