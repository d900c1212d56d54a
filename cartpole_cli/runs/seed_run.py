"""One seed on disk: the files and trackers of a run, or of a study's part."""

from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cartpole_cli.environments.film import film
from cartpole_cli.environments.recording import recording_of
from cartpole_cli.files import aside, make_folder, move, write_file
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.checkpoint import save_checkpoint
from cartpole_cli.runs.directory import RunDirectory, write_json
from cartpole_cli.runs.history import History, Moment, continued
from cartpole_cli.runs.manifest import of_seed
from cartpole_cli.runs.metrics import trim_metrics
from cartpole_cli.runs.progress import Progress
from cartpole_cli.runs.summary import Summary
from cartpole_cli.runs.trackers import Tracker, WandbMode, build_trackers
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of
from cartpole_cli.training.build import build_evaluator
from cartpole_cli.training.evaluation import Evaluation, play
from cartpole_cli.training.reports import SeedReport


class SeedRun:
    """Writes one seed's reports to files, and remembers the seed's progress.

    Args:
        recipe: the seed's own, as if it were trained alone.
        directory: where its files go.
        state: `state_dict` of one that goes on, None for a new one.
        study: the name of the study it is a part of.
    """

    def __init__(
        self, recipe: Recipe, directory: RunDirectory, state: dict[str, Any] | None, *, study: str | None = None
    ) -> None:
        self.recipe, self.directory, self.seed, self._study = recipe, directory, recipe.trainer.seed, study
        self.progress = Progress() if state is None else Progress.of_state(state)
        self._trackers: list[Tracker] = []
        self._history: History | None = None
        self._recipe_text = recipe.to_toml()

    def open(
        self,
        iteration: int,
        manifest: dict[str, Any],
        tell: Callable[[str], None],
        wandb_modes: list[WandbMode],
        policy: PolicyNetwork,
        place: int | None,
    ) -> None:
        """Begin, or go on after that many iterations, with what the files say beyond them forgotten.

        Args:
            iteration: how many are done.
            manifest: what run.json says of the run or its study, besides its state.
            tell: receives warnings for the user.
            wandb_modes: those to try, as `build_trackers` says.
            policy: has the seed's parameters at `place`; None of a seed that trains no more.
        """
        self._manifest = of_seed(manifest, self.seed, self._study)
        trim_metrics(self.directory.metrics, iteration, tell)
        self._history = continued(self.directory.history, policy, self.progress.evaluations, tell)
        if iteration == 0 and place is not None:
            self._history.add(Moment(0, 0, 0, None), policy, place)
        self._history.save()
        self.write_manifest("running")
        self._trackers = build_trackers(
            self.recipe,
            self.directory.metrics,
            self.progress.tracker_id,
            tell,
            resumed=iteration > 0,
            study=self._study,
            wandb_modes=wandb_modes,
        )

    def set_best_aside(self, tell: Callable[[str], None]) -> bool:
        """Give best.pth another name if last.pth does not know it; whether it was so.

        By the same recipe the run comes by that checkpoint again; by another it never had that policy.

        Raises:
            CartpoleError: it cannot be renamed.
        """
        best = self.directory.best
        if digest_of(best) in {None, self.progress.best_digest}:
            return False
        other = aside(best, "abandoned")
        move(best, other)
        self.progress.best_return = self.progress.best_digest = None
        tell(f"note: {best}: its iterations are trained again by another recipe; renamed to {other.name}")
        return True

    def write_recipe(self) -> None:
        """Make the folder, and write the recipe that trains this seed alone."""
        make_folder(self.directory.path)
        write_file(self.directory.recipe, self._recipe_text.encode())

    def record(
        self,
        iteration: int,
        report: SeedReport,
        policy: PolicyNetwork,
        place: int,
        seconds: float,
        evaluation_seconds: float,
    ) -> None:
        """Write one iteration's files; `policy` has the seed's parameters at `place`, the seconds are its share."""
        progress, settings = self.progress, self.recipe.trainer
        progress.seconds += seconds
        progress.evaluation_seconds += evaluation_seconds
        progress.env_steps, progress.solved = report.env_steps, report.solved
        progress.failure, progress.finished = report.failure, report.finished
        numbers = {
            "iteration": iteration,
            "env_steps": report.env_steps,
            "seconds": round(progress.seconds, 4),
            "episodes": report.episodes,
            "episode_return": report.episode_return,
            **report.diagnostics,
        }
        for evaluation in (report.evaluation, report.confirmation):
            if evaluation is not None:
                numbers[f"{evaluation.set_name}_return"] = evaluation.mean
        for tracker in self._trackers:
            tracker.log(numbers)
        if report.evaluation is not None and report.failure is None and self._history is not None:
            progress.evaluations += 1
            moment = Moment(progress.evaluations, iteration, report.env_steps, report.evaluation.mean)
            self._history.add(moment, policy, place)
        if report.improved and report.evaluation is not None:
            progress.best_return = report.evaluation.mean
            self._save_best(iteration, report, policy, place)
        if settings.save_every and iteration % settings.save_every == 0:
            metadata = {"iteration": iteration, "env_steps": report.env_steps}
            path = self.directory.snapshot(report.env_steps)
            make_folder(path.parent)
            self._save_policy(path, policy, place, metadata)
        if settings.render_every and iteration % settings.render_every == 0:
            self._film(iteration, policy.select([place]))

    def finish(self, final: Evaluation | None) -> Summary:
        """Write the final score, if there is one, and close the books."""
        if final is not None:
            named = final.as_plain_data() | {CHECKPOINT: digest_of(self.directory.best)}
            write_json(self.directory.evaluation, named)
        summary = self.summary(final)
        self.write_manifest(summary.status)
        return summary

    def summary(self, final: Evaluation | None) -> Summary:
        """How the run ended, with the score of best.pth on the final set."""
        progress = self.progress
        return Summary(
            run_dir=str(self.directory.path),
            seed=self.seed,
            best_checkpoint=str(self.directory.best) if self.directory.best.exists() else None,
            mean_return=final.estimate if final else None,
            min_return=min(final.returns) if final else None,
            episodes=len(final.returns) if final else 0,
            best_return=progress.best_return,
            env_steps=progress.env_steps,
            seconds=round(progress.seconds, 3),
            evaluation_seconds=round(progress.evaluation_seconds, 3),
            solved=progress.solved,
            failure=progress.failure,
            status="failed" if progress.failure else "finished" if progress.finished else "interrupted",
        )

    def save_history(self) -> None:
        """Write the policies on the way so far; before `open` there are none."""
        if self._history is not None:
            self._history.save()

    def close(self) -> None:
        """Let go of the trackers."""
        for tracker in self._trackers:
            tracker.close()
        self._trackers = []

    def write_manifest(self, status: str) -> None:
        progress = {"status": status, "seconds": round(self.progress.seconds, 3), "env_steps": self.progress.env_steps}
        write_json(self.directory.manifest, self._manifest | progress)

    def state_dict(self) -> dict[str, Any]:
        return asdict(self.progress)

    def _save_best(self, iteration: int, report: SeedReport, policy: PolicyNetwork, place: int) -> None:
        metadata = {
            "iteration": iteration,
            "env_steps": report.env_steps,
            "seed": self.seed,
            "evaluation": report.evaluation and _without_returns(report.evaluation),
            "confirmation": report.confirmation and _without_returns(report.confirmation),
        }
        self._save_policy(self.directory.best, policy, place, metadata)
        self.progress.best_digest = digest_of(self.directory.best)
        write_json(self.directory.best_metadata, metadata | {CHECKPOINT: self.progress.best_digest})

    def _save_policy(self, path: Path, policy: PolicyNetwork, place: int, metadata: dict[str, Any]) -> None:
        """A policy that needs no other file: weights, architecture, and the recipe it came from."""
        content = {
            "kind": "policy",
            "architecture": policy.architecture.as_plain_data(),
            "policy": policy.seed_state(place),
            "recipe": self._recipe_text,
            "metadata": metadata,
        }
        save_checkpoint(path, content)

    def _film(self, iteration: int, policy: PolicyNetwork) -> None:
        """The first episode of the selection set, as the judge plays it."""
        path, streams = (
            self.directory.video(self.progress.env_steps),
            Streams([self.seed], next(policy.parameters()).device),
        )
        make_folder(path.parent)
        with closing(build_evaluator(self.recipe).environment(streams, "selection", 1)) as judge:
            play(policy.greedy_action, judge, recording := recording_of(judge, self.recipe.environment.id))
        film(recording, path)
        for tracker in self._trackers:
            tracker.log_video(path, iteration)


def _without_returns(evaluation: Evaluation) -> dict[str, Any]:
    return {key: value for key, value in evaluation.as_plain_data().items() if key != "returns"}


def seed_runs(
    recipe: Recipe, directory: RunDirectory, members: Iterable[int], state: dict[str, Any] | None
) -> dict[int, SeedRun]:
    """A run for each of these members (places among the recipe's seeds), as last.pth left it, or new."""
    is_study = recipe.trainer.num_seeds > 1
    return {
        member: SeedRun(
            recipe.for_seed(seed := recipe.seeds[member]),
            directory.of_seed(seed) if is_study else directory,
            state["runs"][member] if state else None,
            study=directory.path.name if is_study else None,
        )
        for member in members
    }
