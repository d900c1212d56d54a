"""The training loop: collect, update, report. Every other module is either called from here or consumes reports.

The trainer does no I/O. It yields one `Report` per iteration; whoever iterates writes files, draws progress and
stops by leaving the loop.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.algorithms.interface import Algorithm
from cartpole_cli.algorithms.rows import Rows
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.experience import Rollout
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.sections import TrainerRecipe
from cartpole_cli.training.evaluation import Evaluator
from cartpole_cli.training.optimizer import Adam
from cartpole_cli.training.reports import Report, SeedReport
from cartpole_cli.training.selection import Selection
from cartpole_cli.training.sums import EpisodeStatistics, UpdateStatistics


class Trainer:
    """Trains S seeds until each is solved, out of budget or no longer finite.

    A seed that has finished leaves the computation; the last ones to finish stay in it.
    """

    def __init__(
        self,
        *,
        algorithm: Algorithm[Any, Any],
        environment: TrainingEnvironment,
        policy: PolicyNetwork,
        optimizer: Adam,
        evaluator: Evaluator,
        streams: Streams,
        settings: TrainerRecipe,
        learning_rate: Float[Tensor, "S"],
    ) -> None:
        self.algorithm, self.environment, self.policy = algorithm, environment, policy
        self.optimizer, self.streams, self.settings = optimizer, streams, settings
        self.learning_rate = learning_rate
        num_seeds = len(streams.seeds)
        self.members = list(range(num_seeds))
        self.iteration = 0
        self.env_steps: Int[Tensor, "S"] = torch.zeros(num_seeds, dtype=torch.int64, device=streams.device)
        self.finished: Bool[Tensor, "S"] = torch.zeros(num_seeds, dtype=torch.bool, device=streams.device)
        self.solved, self.failed = [False] * num_seeds, [False] * num_seeds
        self.selection = Selection(evaluator, num_seeds, settings.stop_at_return)
        self.episodes = EpisodeStatistics(num_seeds, environment.num_envs, streams.device)
        self.reference = deepcopy(policy).requires_grad_(False) if algorithm.reference_every > 1 else policy

    @property
    def evaluator(self) -> Evaluator:
        return self.selection.evaluator

    def iterations(self) -> Iterator[Report]:
        """One report per iteration until every seed has finished."""
        while not bool(self.finished.all()):
            self._leave_out_finished()
            if self.reference is not self.policy and self.iteration % self.algorithm.reference_every == 0:
                self.reference.load_state_dict(self.policy.state_dict())
            rollout = self.algorithm.collect(self.environment, self.policy, self.streams, self.iteration)
            update = self._update(rollout)
            self.iteration += 1
            self.env_steps += rollout.num_steps
            yield self._report(rollout, update)

    def _leave_out_finished(self) -> None:
        """Go on with the other seeds, whose numbers do not depend on those that leave."""
        going_on = [index for index, finished in enumerate(self.finished.tolist()) if not finished]
        if len(going_on) == len(self.streams.seeds):
            return
        self.streams, self.algorithm = self.streams.select(going_on), self.algorithm.select(going_on)
        self.members = [self.members[index] for index in going_on]
        self.learning_rate = self.learning_rate[going_on]
        self.environment.keep_seeds(going_on)
        self.policy.keep_seeds(going_on)
        self.optimizer.keep_seeds(going_on)
        if self.reference is not self.policy:
            self.reference.keep_seeds(going_on)
        self.episodes.keep_seeds(going_on)
        self.env_steps, self.finished = self.env_steps[going_on], self.finished[going_on]
        self.solved = [self.solved[index] for index in going_on]
        self.failed = [self.failed[index] for index in going_on]
        self.selection.keep_seeds(going_on)

    def _update(self, rollout: Rollout) -> UpdateStatistics:
        progress = (self.env_steps / self.settings.schedule_end).clamp(max=1.0)
        is_linear = self.settings.learning_rate_schedule == "linear"
        learning_rate = self.learning_rate * (1 - progress) if is_linear else self.learning_rate
        targets = self.algorithm.targets(rollout, self.policy, self.reference)
        statistics = UpdateStatistics(len(self.streams.seeds), self.streams.device, self.algorithm.diagnostics(targets))
        active = torch.ones_like(self.finished)
        for epoch in self.algorithm.epochs(targets, self.streams, self.iteration, progress):
            for step in epoch:
                active = self._step(step, active, learning_rate, statistics)
            if not bool(active.any()):
                break
        return statistics

    def _step(
        self,
        parts: Sequence[Rows],
        active: Bool[Tensor, "S"],
        learning_rate: Float[Tensor, "S"],
        statistics: UpdateStatistics,
    ) -> Bool[Tensor, "S"]:
        """Move the active seeds that have rows, by the gradients of all parts; which seeds are active from then on."""
        pending = torch.zeros_like(active)  # a seed's rows may all be in some of the parts
        for part in parts:
            loss = self.algorithm.loss(self.policy, part)
            if loss.stop is not None:
                active = active & ~loss.stop
            has_rows = part.weight.flatten(1).any(dim=1)
            pending = pending | has_rows
            statistics.add_loss(loss.terms, active & has_rows)
            self.optimizer.accumulate(loss.total)
        stepping = active & pending
        norm = self.optimizer.step(stepping, learning_rate)
        self.policy.project(stepping & norm.isfinite())
        statistics.add_step(norm, stepping)
        return active

    def _report(self, rollout: Rollout, update: UpdateStatistics) -> Report:
        episodes, episode_return = (column.tolist() for column in self.episodes.update(rollout))
        diagnostics = {name: values.tolist() for name, values in update.means().items()}
        broken = update.failures()
        env_steps: list[int] = self.env_steps.tolist()
        is_spent = [steps >= self.settings.num_steps for steps in env_steps]
        scheduled = self.iteration % self.settings.evaluate_every == 0
        due = [(scheduled or spent) and lost is None for spent, lost in zip(is_spent, broken, strict=True)]
        evaluations = self.selection.evaluate(self.policy, self.streams, self.iteration, due)
        seeds = []
        for index, (evaluation, confirmation) in enumerate(zip(*evaluations, strict=True)):
            lost = broken[index]
            if evaluation is not None and not math.isfinite(evaluation.mean):
                lost = "held-out return"
            solved = self.selection.is_solved_by(confirmation)
            self.solved[index], self.failed[index] = solved, lost is not None
            numbers = {name: values[index] for name, values in diagnostics.items()}
            seeds.append(
                SeedReport(
                    member=self.members[index],
                    seed=self.streams.seeds[index],
                    env_steps=env_steps[index],
                    episodes=int(episodes[index]),
                    episode_return=episode_return[index] if episodes[index] else None,
                    diagnostics=numbers,
                    hint=self.algorithm.hint(numbers),
                    evaluation=evaluation,
                    confirmation=confirmation,
                    improved=(
                        evaluation is not None
                        and lost is None
                        and (self.selection.improves(index, evaluation, confirmation) or solved)
                    ),
                    solved=solved,
                    failure=lost and f"{lost} in iteration {self.iteration}",
                    finished=solved or lost is not None or is_spent[index],
                )
            )
        self.finished = self.finished.new_tensor([seed.finished for seed in seeds])
        return Report(self.iteration, tuple(seeds))

    def state_dict(self) -> dict[str, Any]:
        """All that the next iteration depends on: plain data and live tensors, to be written or copied at once."""
        return {
            "members": list(self.members),
            "policy": self.policy.state_dict(),
            "reference": None if self.reference is self.policy else self.reference.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "environment": self.environment.state_dict(),
            "iteration": self.iteration,
            "env_steps": self.env_steps,
            "solved": self.solved,
            "failed": self.failed,
            "stop_at_return": self.settings.stop_at_return,
            "best_score": self.selection.best_score,
            "episode_return": self.episodes.running,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on where `state_dict` was taken; whether the episodes under way go on, or new ones had to begin.

        The trainer has to be made of `state["members"]`, those that were still in it. Its budget may be another one:
        see `finished_seeds`.
        """
        self.policy.load_state_dict(state["policy"])
        if self.reference is not self.policy:
            self.reference.load_state_dict(state["reference"])
        self.optimizer.load_state_dict(state["optimizer"])
        same_episodes = self.environment.load_state_dict(state["environment"])
        self.members, self.iteration = list(state["members"]), state["iteration"]
        device = self.streams.device
        self.env_steps = state["env_steps"].clone().to(device)
        self.solved, self.failed = list(state["solved"]), list(state["failed"])
        finished = finished_seeds(state, self.settings.num_steps, self.settings.stop_at_return)
        self.finished = self.finished.new_tensor(finished)
        self.selection.best_score = [tuple(score) for score in state["best_score"]]
        self.episodes.running = state["episode_return"].to(device) * same_episodes
        return same_episodes


def finished_seeds(state: Mapping[str, Any], num_steps: int, stop_at_return: float | None) -> list[bool]:
    """Which of the seeds in a trainer's `state_dict` have nothing left to do within a budget, maybe another one.

    A seed that has failed never goes on, one that spent its steps does if there are more, and one that was solved does
    if `stop_at_return` is gone or higher now.
    """
    before = state["stop_at_return"]
    is_enough = stop_at_return is not None and before is not None and stop_at_return <= before
    return [
        failed or (solved and is_enough) or steps >= num_steps
        for failed, solved, steps in zip(state["failed"], state["solved"], state["env_steps"].tolist(), strict=True)
    ]
