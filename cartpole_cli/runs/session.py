"""A run from start to summary: a trainer, its files and its trackers."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe import Recipe
from cartpole_cli.runs.checkpoint import load_policy, save_checkpoint
from cartpole_cli.runs.directory import RunDirectory, write_file
from cartpole_cli.runs.manifest import describe_circumstances
from cartpole_cli.runs.trackers import build_trackers
from cartpole_cli.runs.video import check_can_film, film
from cartpole_cli.training.build import build_trainer
from cartpole_cli.training.evaluation import Evaluation
from cartpole_cli.training.trainer import Report, SeedReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended. Returns are of best.pth on the final set; None if the run was cut short.

    `seconds` are those of the training loop, of which `evaluation_seconds` went into held-out episodes.
    `solved`: `trainer.stop_at_return` was reached and confirmed.
    """

    run_dir: str
    best_checkpoint: str | None
    mean_return: float | None
    min_return: float | None
    ci95: tuple[float, float] | None
    episodes: int
    env_steps: int
    seconds: float
    evaluation_seconds: float
    solved: bool
    status: str


class Session:
    """One run on disk. Use as a context manager: leaving it by an exception marks the run as failed.

    Args:
        recipe: what to train.
        device: where.
        recipe_name: goes into the folder's name.
        runs_dir: the folder of all runs.
        name: the run's folder, instead of one made from time, recipe and seed.
        tell: receives warnings and hints for the user.

    Raises:
        CartpoleError: the environment or the folder cannot be made.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        device: torch.device,
        recipe_name: str,
        runs_dir: Path,
        name: str | None,
        tell: Callable[[str], None],
    ) -> None:
        self.recipe = recipe
        self.device = device
        seed = recipe.trainer.seed
        if recipe.trainer.render_every:
            check_can_film()
        self.trainer = build_trainer(recipe, [seed], device)
        self.directory = RunDirectory.create(runs_dir, recipe_name=recipe_name, seed=seed, name=name)
        self.stop_requested = False
        self._manifest = describe_circumstances(device, seed)
        self._latest: SeedReport | None = None
        self._seconds = 0.0
        write_file(self.directory.recipe, recipe.to_toml().encode())
        self._write_manifest("running")
        self._trackers = build_trackers(recipe, self.directory.metrics, tell)

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
        started = time.perf_counter()
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
        latest, status = self._latest, "interrupted"
        if latest is not None and latest.finished:
            status = "failed" if latest.failed else "finished"
        final = self._final_evaluation() if status != "interrupted" and self.directory.best.exists() else None
        self._write_manifest(status)
        return Summary(
            run_dir=str(self.directory.path),
            best_checkpoint=str(self.directory.best) if self.directory.best.exists() else None,
            mean_return=final.mean if final else None,
            min_return=min(final.returns) if final else None,
            ci95=final.ci95 if final else None,
            episodes=len(final.returns) if final else 0,
            env_steps=latest.env_steps if latest else 0,
            seconds=round(self._seconds, 3),
            evaluation_seconds=round(evaluation_seconds, 3),
            solved=latest is not None and latest.solved,
            status=status,
        )

    def _record(self, report: Report) -> None:
        seed, settings = report.seeds[0], self.recipe.trainer
        self._latest = seed
        if seed.improved:
            self._save_best(report.iteration, seed)
        if settings.save_every and report.iteration % settings.save_every == 0:
            snapshot = self._policy_checkpoint({"iteration": report.iteration, "env_steps": seed.env_steps})
            save_checkpoint(self.directory.snapshot(seed.env_steps), snapshot)
        if report.iteration % settings.checkpoint_every == 0:
            self._save_last()
        record = {
            "iteration": report.iteration,
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
        if settings.render_every and report.iteration % settings.render_every == 0:
            self._film(report.iteration, seed.env_steps)

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
        state = {"kind": "training", "recipe": self.recipe.to_toml(), "trainer": self.trainer.state_dict()}
        save_checkpoint(self.directory.last, state)

    def _final_evaluation(self) -> Evaluation:
        policy = load_policy(self.directory.best, self.device)
        evaluation = self.trainer.evaluator.final(policy)[0]
        _write_json(self.directory.evaluation, evaluation.as_plain_data())
        return evaluation

    def _write_manifest(self, status: str) -> None:
        self._manifest["status"] = status
        self._manifest["seconds"] = round(self._seconds, 3)
        self._manifest["env_steps"] = self._latest.env_steps if self._latest else 0
        _write_json(self.directory.manifest, self._manifest)


def _without_returns(evaluation: Evaluation) -> dict[str, Any]:
    return {key: value for key, value in evaluation.as_plain_data().items() if key != "returns"}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())
