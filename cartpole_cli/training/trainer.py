"""The training loop: collect, update, report. Every other module is either called from here or consumes reports.

The trainer does no I/O. It yields one `Report` per iteration; whoever iterates writes files, draws progress and
stops by leaving the loop.
"""

import math
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cartpole_cli.algorithms.interface import Algorithm
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.training.evaluation import Evaluation, Evaluator
from cartpole_cli.training.optimizer import Adam
from cartpole_cli.training.statistics import EpisodeStatistics, UpdateStatistics


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """When to evaluate and when to stop; see `TrainerRecipe`."""

    num_steps: int
    schedule_steps: int
    learning_rate: float
    anneal_learning_rate: bool
    evaluate_every: int
    stop_at_return: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedReport:
    """What one iteration did to one seed."""

    env_steps: int
    episodes: int
    episode_return: float | None
    diagnostics: dict[str, float]
    hint: str | None
    evaluation: Evaluation | None
    confirmation: Evaluation | None
    improved: bool
    solved: bool
    failure: str | None
    """What was not finite, and when; a seed that has failed learns no more."""
    finished: bool

    @property
    def failed(self) -> bool:
        return self.failure is not None


@dataclass(frozen=True, slots=True)
class Report:
    """One iteration of all seeds."""

    iteration: int
    seeds: tuple[SeedReport, ...]


class Trainer:
    """Trains S seeds until each is solved, out of budget or no longer finite."""

    def __init__(
        self,
        *,
        algorithm: Algorithm,
        environment: TrainingEnvironment,
        policy: PolicyNetwork,
        optimizer: Adam,
        evaluator: Evaluator,
        streams: Streams,
        budget: Budget,
    ) -> None:
        self.algorithm, self.environment, self.policy = algorithm, environment, policy
        self.optimizer, self.evaluator, self.streams, self.budget = optimizer, evaluator, streams, budget
        num_seeds = len(streams.seeds)
        self.iteration = 0
        self.env_steps: Int[Tensor, "S"] = torch.zeros(num_seeds, dtype=torch.int64, device=streams.device)
        self.finished: Bool[Tensor, "S"] = torch.zeros(num_seeds, dtype=torch.bool, device=streams.device)
        self.solved = [False] * num_seeds
        self.failures: list[str | None] = [None] * num_seeds
        self.best_score = [(float("-inf"), float("-inf"))] * num_seeds
        self.episodes = EpisodeStatistics(num_seeds, environment.num_envs, streams.device)
        self.reference = deepcopy(policy).requires_grad_(False) if algorithm.reference_every > 1 else policy

    def iterations(self) -> Iterator[Report]:
        """One report per iteration until every seed has finished."""
        while not bool(self.finished.all()):
            if self.reference is not self.policy and self.iteration % self.algorithm.reference_every == 0:
                self.reference.load_state_dict(self.policy.state_dict())
            rollout = self.algorithm.collect(self.environment, self.policy, self.streams, self.iteration)
            update = self._update(rollout)
            self.iteration += 1
            self.env_steps += torch.where(self.finished, 0, rollout.num_steps)
            yield self._report(rollout, update)

    def _update(self, rollout: Rollout) -> UpdateStatistics:
        progress = (self.env_steps / self.budget.schedule_steps).clamp(max=1.0)
        learning_rate = self.budget.learning_rate * (
            1 - progress if self.budget.anneal_learning_rate else torch.ones_like(progress)
        )
        targets = self.algorithm.targets(rollout, self.policy, self.reference)
        statistics = UpdateStatistics(len(self.streams.seeds), self.streams.device, self.algorithm.diagnostics(targets))
        active = ~self.finished
        pending = torch.zeros_like(active)
        for epoch in self.algorithm.epochs(targets, self.streams, self.iteration, progress):
            for batch in epoch:
                loss = self.algorithm.loss(self.policy, batch)
                active = active & ~loss.stop
                has_rows = batch.weight.any(dim=1)
                pending = pending | has_rows
                statistics.add_loss(loss.terms, active & has_rows)
                self.optimizer.accumulate(loss.total)
                if batch.completes_step:
                    stepping = active & pending
                    statistics.add_step(self.optimizer.step(stepping, learning_rate), stepping)
                    pending = torch.zeros_like(active)
            if not bool(active.any()):
                break
        return statistics

    def _report(self, rollout: Rollout, update: UpdateStatistics) -> Report:
        episodes, episode_return = (column.tolist() for column in self.episodes.update(rollout))
        diagnostics = {name: values.tolist() for name, values in update.means().items()}
        broken = update.failures()
        was_finished: list[bool] = self.finished.tolist()
        env_steps: list[int] = self.env_steps.tolist()
        over_budget = [steps >= self.budget.num_steps for steps in env_steps]
        scheduled = self.iteration % self.budget.evaluate_every == 0
        due = [
            (scheduled or over) and not unable and not done
            for over, unable, done in zip(over_budget, broken, was_finished, strict=True)
        ]
        evaluations, confirmations = self._evaluate(due)
        seeds = []
        for index, evaluation in enumerate(evaluations):
            confirmation = confirmations[index]
            solved = confirmation is not None and self._reaches_target(confirmation)
            self.solved[index] = self.solved[index] or solved
            lost = broken[index]
            if evaluation is not None and not math.isfinite(evaluation.mean):
                lost = "held-out return"
            if lost and not was_finished[index]:
                self.failures[index] = f"{lost} in iteration {self.iteration}"
            improved = (
                evaluation is not None and not lost and (self._is_best(index, evaluation, confirmation) or solved)
            )
            numbers = {name: values[index] for name, values in diagnostics.items()}
            seeds.append(
                SeedReport(
                    env_steps=env_steps[index],
                    episodes=int(episodes[index]),
                    episode_return=episode_return[index] if episodes[index] else None,
                    diagnostics=numbers,
                    hint=self.algorithm.hint(numbers),
                    evaluation=evaluation,
                    confirmation=confirmation,
                    improved=improved,
                    solved=self.solved[index],
                    failure=self.failures[index],
                    finished=was_finished[index] or solved or bool(self.failures[index]) or over_budget[index],
                )
            )
        self.finished = self.finished.new_tensor([seed.finished for seed in seeds])
        return Report(self.iteration, tuple(seeds))

    def _evaluate(self, due: list[bool]) -> tuple[list[Evaluation | None], list[Evaluation | None]]:
        """Selection scores of the seeds that are due, and confirmation scores of those that reach the target."""
        nothing: list[Evaluation | None] = [None] * len(due)
        if not any(due):
            return nothing, nothing
        selected = _only(self.evaluator.selection(self.policy), due)
        reached = [evaluation is not None and self._reaches_target(evaluation) for evaluation in selected]
        if not any(reached):
            return selected, nothing
        return selected, _only(self.evaluator.confirmation(self.policy, self.iteration), reached)

    def _reaches_target(self, evaluation: Evaluation) -> bool:
        target = self.budget.stop_at_return
        return target is not None and evaluation.mean >= target

    def _is_best(self, index: int, evaluation: Evaluation, confirmation: Evaluation | None) -> bool:
        """Whether this is the best score so far; of equals the one confirmed for longer, then the later one."""
        returns, confirmed = evaluation.returns, float("-inf")
        if confirmation is not None:
            returns, confirmed = returns + (confirmation.within_limit or confirmation.returns), confirmation.mean
        score = (sum(returns) / len(returns), confirmed)
        if score < self.best_score[index]:
            return False
        self.best_score[index] = score
        return True

    def state_dict(self) -> dict[str, Any]:
        """All that the next iteration depends on: plain data and live tensors, to be written or copied at once."""
        return {
            "policy": self.policy.state_dict(),
            "reference": None if self.reference is self.policy else self.reference.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "environment": self.environment.state_dict(),
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "finished": self.finished,
            "solved": self.solved,
            "failures": self.failures,
            "best_score": self.best_score,
            "episode_return": self.episodes.running,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on where `state_dict` was taken; whether the episodes under way go on, or new ones had to begin.

        The budget may be another one: a seed that had spent it goes on if there is more.
        """
        self.policy.load_state_dict(state["policy"])
        if self.reference is not self.policy:
            self.reference.load_state_dict(state["reference"])
        self.optimizer.load_state_dict(state["optimizer"])
        same_episodes = self.environment.load_state_dict(state["environment"])
        self.iteration = state["iteration"]
        device = self.streams.device
        self.env_steps = state["env_steps"].clone().to(device)
        self.solved, self.failures = list(state["solved"]), list(state["failures"])
        ended = [solved or bool(failure) for solved, failure in zip(self.solved, self.failures, strict=True)]
        self.finished = self.finished.new_tensor(ended) | (self.env_steps >= self.budget.num_steps)
        self.best_score = [tuple(score) for score in state["best_score"]]
        self.episodes.running = state["episode_return"].to(device) * same_episodes
        return same_episodes


def _only(evaluations: list[Evaluation], wanted: list[bool]) -> list[Evaluation | None]:
    return [evaluation if want else None for evaluation, want in zip(evaluations, wanted, strict=True)]
