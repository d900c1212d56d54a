"""A run or a study from start to summary: a trainer, and the files and trackers of its seeds."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from cartpole_cli.environments.film import check_can_film
from cartpole_cli.environments.registered import import_module_of
from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.files import write_file
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.checkpoint import load_policy, save_checkpoint
from cartpole_cli.runs.directory import RunDirectory, write_json
from cartpole_cli.runs.lock import FolderLock
from cartpole_cli.runs.manifest import new_manifest, resumed_manifest
from cartpole_cli.runs.resume import Resumable
from cartpole_cli.runs.seed_run import seed_runs
from cartpole_cli.runs.summary import StudySummary, Summary, summarize_study
from cartpole_cli.runs.trackers import wandb_modes
from cartpole_cli.runs.trailer import digest_of
from cartpole_cli.training.build import build_trainer
from cartpole_cli.training.evaluation import Evaluation
from cartpole_cli.training.reports import Report
from cartpole_cli.training.selection import NO_SCORE
from cartpole_cli.training.trainer import Trainer

STOPPED = {KeyboardInterrupt, BrokenPipeError}
"""What a user does to end a run; anything else is a failure."""


class Session:
    """One run, or one study of several seeds, on disk; made by `create` or `resume`.

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
        manifest: dict[str, Any],
        before: Resumable | None,
        tell: Callable[[str], None],
    ) -> None:
        state = before.state if before else None
        self.recipe, self.trainer, self.directory, self.device = recipe, trainer, directory, device
        self.stop_requested = False
        self._is_study = recipe.trainer.num_seeds > 1
        self._seconds: float = state["seconds"] if state else 0.0
        self._shared = self._seconds, trainer.evaluator.seconds
        self._manifest = manifest
        self.runs = seed_runs(recipe, directory, range(len(recipe.seeds)) if state else trainer.members, state)
        for member, solved, finished in zip(trainer.members, trainer.solved, trainer.finished.tolist(), strict=True):
            progress = self.runs[member].progress
            progress.finished, progress.solved = finished, solved and finished
        self._lock = FolderLock(directory.path)
        try:
            if digest_of(directory.last) != (before and before.digest):
                raise CartpoleError(f"{directory.path}: another process has just trained it; try again")
            if before is not None and before.trains_otherwise:
                for place, member in enumerate(trainer.members):
                    if self.runs[member].set_best_aside(tell):
                        trainer.selection.best_score[place] = NO_SCORE
            self._begin(tell)
        except BaseException:
            self._close()
            raise

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
        members: Sequence[int] | None = None,
    ) -> "Session":
        """A new run, in a folder of that name or of one made from time, recipe and seed, by the user's own recipe.

        `members` are the places of a study's seeds that are trained here; None: all of them.

        Raises:
            CartpoleError: the environment or the folder cannot be made.
        """
        import_module_of(recipe.environment.id)
        trainer = _build_trainer(recipe, members or range(len(recipe.seeds)), device)
        suffix = f"x{recipe.trainer.num_seeds}" if recipe.trainer.num_seeds > 1 else f"s{recipe.trainer.seed}"
        directory = RunDirectory.create(runs_dir, recipe_name=recipe_name, suffix=suffix, name=name)
        manifest = new_manifest(recipe, recipe_name, device)
        with directory.gone_on_failure():
            return cls(recipe, trainer, directory, device=device, manifest=manifest, before=None, tell=tell)

    @classmethod
    def resume(cls, run: Resumable, *, device: torch.device, tell: Callable[[str], None]) -> "Session":
        """Resume the run from its last.pth, or from its start if it never wrote one.

        Raises:
            CartpoleError: the environment cannot be made, last.pth does not fit the recipe, or another process is
                at work in the folder.
        """
        state, manifest = run.state, resumed_manifest(run.manifest, run.recipe, device)
        same_episodes = True
        try:
            members = state["trainer"]["members"] if state else range(len(run.recipe.seeds))
            trainer = _build_trainer(run.recipe, members, device)
            if state is not None:
                same_episodes = trainer.load_state_dict(state["trainer"])
                trainer.evaluator.seconds = state["evaluation_seconds"]
            session = cls(run.recipe, trainer, run.directory, device=device, manifest=manifest, before=run, tell=tell)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise CartpoleError(f"{run.directory.last}: does not fit its recipe: {one_line(error)}") from error
        if not same_episodes:
            tell("note: some environments could not be put back into their episodes; new episodes have begun there")
        return session

    def _begin(self, tell: Callable[[str], None]) -> None:
        """Write what is known before the first report.

        The recipes come first: if the process is killed among them, a resume finds them edited, and goes on by them.
        """
        if self._is_study:
            write_file(self.directory.recipe, self.recipe.to_toml().encode())
            self._write_study_manifest("running")
        for run in self.runs.values():
            run.write_recipe()
        self._save_last()
        modes = wandb_modes(self.recipe.logger)
        places = {member: place for place, member in enumerate(self.trainer.members)}
        for member, run in self.runs.items():
            run.open(self.trainer.iteration, self._manifest, tell, modes, self.trainer.policy, places.get(member))

    def __enter__(self) -> "Session":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            with suppress(CartpoleError):  # what ended the run is the news
                self._write_manifests("interrupted" if kind in STOPPED else "failed")
        self._close()

    def _close(self) -> None:
        for run in self.runs.values():
            run.close()
        self.trainer.environment.close()
        self._lock.release()

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

    def finish(self) -> Summary | StudySummary:
        """Write last.pth, score every best.pth on the final set, and close the books."""
        self._save_last()
        seconds = {"seconds": self._seconds, "evaluation_seconds": self.trainer.evaluator.seconds}
        finals = self._final_evaluations()
        summaries = [run.finish(finals.get(member)) for member, run in self.runs.items()]
        if not self._is_study:
            return summaries[0]
        summary = summarize_study(self.directory, summaries, **seconds)
        write_json(self.directory.study, summary.as_plain_data())
        self._write_study_manifest(summary.status)
        return summary

    def _record(self, report: Report) -> None:
        """Write an iteration's files, and last.pth at the end: everything it refers to is in the others by then."""
        before, self._shared = self._shared, (self._seconds, self.trainer.evaluator.seconds)
        share = [(now - then) / len(report.seeds) for now, then in zip(self._shared, before, strict=True)]
        for place, seed in enumerate(report.seeds):
            self.runs[seed.member].record(report.iteration, seed, self.trainer.policy, place, *share)
        if report.iteration % self.recipe.trainer.checkpoint_every == 0:
            self._save_last()

    def _save_last(self) -> None:
        for run in self.runs.values():
            run.save_history()
        state = {
            "kind": "training",
            "recipe": self.recipe.to_toml(),
            "trainer": self.trainer.state_dict(),
            "seconds": self._seconds,
            "evaluation_seconds": self.trainer.evaluator.seconds,
            "runs": {member: run.state_dict() for member, run in self.runs.items()},
        }
        save_checkpoint(self.directory.last, state)

    def _final_evaluations(self) -> dict[int, Evaluation]:
        """The final score of each member that has finished with a best.pth, all played at once."""
        scored = {
            member: run
            for member, run in self.runs.items()
            if run.progress.finished and (run.directory.best.exists() or run.directory.best_metadata.exists())
        }
        if not scored:
            return {}
        policy = PolicyNetwork.stack([load_policy(run.directory.best, self.device) for run in scored.values()])
        streams = Streams([run.seed for run in scored.values()], self.device)
        return dict(zip(scored, self.trainer.evaluator.final(policy, streams), strict=True))

    def _write_manifests(self, status: str) -> None:
        for run in self.runs.values():
            run.write_manifest(status)
        if self._is_study:
            self._write_study_manifest(status)

    def _write_study_manifest(self, status: str) -> None:
        progress = {
            "status": status,
            "seconds": round(self._seconds, 3),
            "env_steps": sum(run.progress.env_steps for run in self.runs.values()),
        }
        write_json(self.directory.manifest, self._manifest | progress)


def _build_trainer(recipe: Recipe, members: Sequence[int], device: torch.device) -> Trainer:
    if recipe.trainer.render_every:
        check_can_film()
    trainer = build_trainer([recipe.for_seed(recipe.seeds[member]) for member in members], device)
    trainer.members = list(members)
    return trainer
