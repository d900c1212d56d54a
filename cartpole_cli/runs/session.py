"""A run from start to summary: a trainer, its files and its trackers."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

import torch
from torch import Tensor

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe import Recipe
from cartpole_cli.runs.checkpoint import load_policy, save_checkpoint
from cartpole_cli.runs.directory import RunDirectory, write_file
from cartpole_cli.runs.manifest import describe_circumstances
from cartpole_cli.runs.resume import Resumable, trim_metrics
from cartpole_cli.runs.summary import Summary
from cartpole_cli.runs.trackers import build_trackers
from cartpole_cli.runs.video import check_can_film, film
from cartpole_cli.training.build import build_trainer
from cartpole_cli.training.evaluation import Evaluation
from cartpole_cli.training.trainer import Report, SeedReport, Trainer


class Session:
    """One run on disk, made by `create` or `resume`.

    Use as a context manager: leaving it by an exception marks the run as failed. `tell` receives warnings and hints
    for the user.
    """

    def __init__(
        self,
        recipe: Recipe,
        trainer: Trainer,
        directory: RunDirectory,
        *,
        device: torch.device,
        seconds: float,
        tracker_id: str,
        tell: Callable[[str], None],
    ) -> None:
        self.recipe, self.trainer, self.directory, self.device = recipe, trainer, directory, device
        self.stop_requested = False
        self._manifest = describe_circumstances(device, recipe.trainer.seed)
        self._seconds, self._tracker_id = seconds, tracker_id
        write_file(directory.recipe, recipe.to_toml().encode())
        self._write_manifest("running")
        self._save_last()
        self._trackers = build_trackers(recipe, directory.metrics, tracker_id, tell, resumed=trainer.iteration > 0)

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        *,
        device: torch.device,
        recipe_name: str,
        runs_dir: Path,
        name: str | None,
        tell: Callable[[str], None],
    ) -> "Session":
        """A new run, in a folder of that name or of one made from time, recipe and seed.

        Raises:
            CartpoleError: the environment or the folder cannot be made.
        """
        trainer = _build_trainer(recipe, device)
        directory = RunDirectory.create(runs_dir, recipe_name=recipe_name, seed=recipe.trainer.seed, name=name)
        return cls(recipe, trainer, directory, device=device, seconds=0.0, tracker_id=uuid4().hex[:8], tell=tell)

    @classmethod
    def resume(cls, run: Resumable, *, device: torch.device, tell: Callable[[str], None]) -> "Session":
        """The run goes on from its last.pth, or from its start if it never wrote one.

        Raises:
            CartpoleError: the environment cannot be made, or last.pth does not fit the recipe.
        """
        trainer, seconds, tracker_id = _build_trainer(run.recipe, device), 0.0, uuid4().hex[:8]
        if run.state is not None:
            try:
                same_episodes = trainer.load_state_dict(run.state["trainer"])
                trainer.evaluator.seconds = run.state["evaluation_seconds"]
                seconds, tracker_id = run.state["seconds"], run.state["tracker_id"]
            except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                reason = " ".join(str(error).split())[:200]
                raise CartpoleError(f"{run.directory.last}: does not fit its recipe: {reason}") from error
            if not same_episodes:
                tell("note: not every environment could be put back into its episode; new ones have begun there")
        trim_metrics(run.directory.metrics, trainer.iteration)
        return cls(run.recipe, trainer, run.directory, device=device, seconds=seconds, tracker_id=tracker_id, tell=tell)

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with suppress(CartpoleError):  # what ended the run is the news
                self._write_manifest("interrupted" if kind is KeyboardInterrupt else "failed")
        for tracker in self._trackers:
            tracker.close()
        self.trainer.environment.close()

    def request_stop(self) -> None:
        """Stop after the iteration under way."""
        self.stop_requested = True

    def reports(self) -> Iterator[Report]:
        """Train, writing each iteration's files before its report is seen."""
        started = time.perf_counter() - self._seconds
        for report in self.trainer.iterations():
            self._seconds = time.perf_counter() - started
            self._record(report)
            yield report
            if self.stop_requested:
                break
        self._seconds = time.perf_counter() - started

    def finish(self) -> Summary:
        """Write last.pth, score best.pth on the final set, and close the books."""
        self._save_last()
        evaluation_seconds = self.trainer.evaluator.seconds
        trainer, status = self.trainer, "interrupted"
        if bool(trainer.finished[0]):
            status = "failed" if trainer.failures[0] else "finished"
        final = self._final_evaluation() if status != "interrupted" and self.directory.best.exists() else None
        self._write_manifest(status)
        return Summary(
            run_dir=str(self.directory.path),
            best_checkpoint=str(self.directory.best) if self.directory.best.exists() else None,
            mean_return=final.mean if final else None,
            min_return=min(final.returns) if final else None,
            ci95=final.ci95 if final else None,
            episodes=len(final.returns) if final else 0,
            env_steps=int(trainer.env_steps[0]),
            seconds=round(self._seconds, 3),
            evaluation_seconds=round(evaluation_seconds, 3),
            solved=trainer.solved[0],
            failure=trainer.failures[0],
            status=status,
        )

    def _record(self, report: Report) -> None:
        """Write an iteration's files, last.pth at the end: what it says has happened is in the others."""
        seed, settings, iteration = report.seeds[0], self.recipe.trainer, report.iteration
        record = {
            "iteration": iteration,
            "env_steps": seed.env_steps,
            "seconds": round(self._seconds, 4),
            "episodes": seed.episodes,
            "episode_return": seed.episode_return,
            **seed.diagnostics,
        }
        for evaluation in (seed.evaluation, seed.confirmation):
            if evaluation is not None:
                record[f"{evaluation.set_name}_return"] = evaluation.mean
        for tracker in self._trackers:
            tracker.log(record)
        if seed.improved:
            self._save_best(iteration, seed)
        if settings.save_every and iteration % settings.save_every == 0:
            snapshot = self._policy_checkpoint({"iteration": iteration, "env_steps": seed.env_steps})
            save_checkpoint(self.directory.snapshot(seed.env_steps), snapshot)
        if settings.render_every and iteration % settings.render_every == 0:
            self._film(iteration, seed.env_steps)
        if iteration % settings.checkpoint_every == 0:
            self._save_last()

    def _film(self, iteration: int, env_steps: int) -> None:
        path = self.directory.video(env_steps)
        policy, device = self.trainer.policy, self.device

        def act(observation: Tensor) -> Tensor:
            return policy.greedy_action(observation.to(device))

        film(act, self.recipe.environment, path, seed=self.recipe.trainer.seed)
        for tracker in self._trackers:
            tracker.log_video(path, iteration)

    def _save_best(self, iteration: int, seed: SeedReport) -> None:
        metadata = {
            "iteration": iteration,
            "env_steps": seed.env_steps,
            "seed": self.recipe.trainer.seed,
            "evaluation": seed.evaluation and _without_returns(seed.evaluation),
            "confirmation": seed.confirmation and _without_returns(seed.confirmation),
        }
        save_checkpoint(self.directory.best, self._policy_checkpoint(metadata))
        _write_json(self.directory.best_metadata, metadata)

    def _policy_checkpoint(self, metadata: dict[str, Any]) -> dict[str, Any]:
        """A policy that needs no other file: weights, architecture, and the recipe it came from."""
        policy = self.trainer.policy
        return {
            "kind": "policy",
            "architecture": policy.architecture.as_plain_data(),
            "policy": policy.seed_state(0),
            "recipe": self.recipe.to_toml(),
            "metadata": metadata,
        }

    def _save_last(self) -> None:
        state = {
            "kind": "training",
            "recipe": self.recipe.to_toml(),
            "trainer": self.trainer.state_dict(),
            "seconds": self._seconds,
            "evaluation_seconds": self.trainer.evaluator.seconds,
            "tracker_id": self._tracker_id,
        }
        save_checkpoint(self.directory.last, state)

    def _final_evaluation(self) -> Evaluation:
        policy = load_policy(self.directory.best, self.device)
        evaluation = self.trainer.evaluator.final(policy)[0]
        _write_json(self.directory.evaluation, evaluation.as_plain_data())
        return evaluation

    def _write_manifest(self, status: str) -> None:
        self._manifest["status"] = status
        self._manifest["seconds"] = round(self._seconds, 3)
        self._manifest["env_steps"] = int(self.trainer.env_steps[0])
        _write_json(self.directory.manifest, self._manifest)


def _build_trainer(recipe: Recipe, device: torch.device) -> Trainer:
    if recipe.trainer.render_every:
        check_can_film()
    return build_trainer(recipe, [recipe.trainer.seed], device)


def _without_returns(evaluation: Evaluation) -> dict[str, Any]:
    return {key: value for key, value in evaluation.as_plain_data().items() if key != "returns"}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())
