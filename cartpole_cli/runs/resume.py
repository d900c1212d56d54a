"""Resume a run: what it was, what may change, and whether anything is left to do."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartpole_cli.environments.registered import check_registered_or_repeated
from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.recipe.files import load_recipe, resolve_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.changes import HARMLESS, changes, forbidden_overrides, is_among, notes, problems
from cartpole_cli.runs.checkpoint import load_checkpoint
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.find import find_run
from cartpole_cli.runs.folders import SWEEP
from cartpole_cli.runs.saved_policy import recipe_inside
from cartpole_cli.runs.seed_run import seed_runs
from cartpole_cli.runs.summary import StudySummary, Summary, summarize_study
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of
from cartpole_cli.training.evaluation import Evaluation
from cartpole_cli.training.trainer import finished_seeds


@dataclass(frozen=True, slots=True)
class Resumable:
    """A run to resume.

    `recipe` is what to go on by; `state` what last.pth holds (None: it never wrote one), `digest` its SHA-256;
    `manifest` what run.json says; `is_over` whether no seed has anything left to learn; `changed` the dotted keys in
    which `recipe` is another than before; `notes` what the user should know.
    """

    directory: RunDirectory
    recipe: Recipe
    state: dict[str, Any] | None
    digest: str | None
    manifest: dict[str, Any]
    is_over: bool
    changed: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def trains_otherwise(self) -> bool:
        """Whether iterations that last.pth does not know would be others than before."""
        return not all(is_among(HARMLESS, key) for key in self.changed)

    @property
    def folders(self) -> dict[int, RunDirectory]:
        """Where each seed's files are."""
        is_study = self.recipe.trainer.num_seeds > 1
        return {seed: self.directory.of_seed(seed) if is_study else self.directory for seed in self.recipe.seeds}

    @property
    def has_ended(self) -> bool:
        """Whether all seeds have finished within the recipe's budget, and been scored."""
        if not self.is_over or (self.recipe.trainer.num_seeds > 1 and not self.directory.study.exists()):
            return False
        whole = [self.directory, *self.folders.values()]
        return all(_status(directory) in {"finished", "failed"} for directory in whole) and all(
            _is_scored(directory) for directory in self.folders.values()
        )

    def summary(self) -> Summary | StudySummary:
        """How one that has ended did end, from its files: what `Session.finish` returned then."""
        assert self.state is not None
        runs = seed_runs(self.recipe, self.directory, range(len(self.recipe.seeds)), self.state)
        summaries = [each.summary(_final_evaluation(each.directory)) for each in runs.values()]
        if len(summaries) == 1:
            return summaries[0]
        seconds = {key: self.state[key] for key in ("seconds", "evaluation_seconds")}
        return summarize_study(self.directory, summaries, **seconds)


def load_resumable(name: str, runs_dir: Path, overrides: Sequence[str]) -> Resumable:
    """The run of that name, or in that folder, with fields of its recipe changed.

    Changes come from the command line, and from recipe.toml if it was edited.

    Raises:
        CartpoleError: no such run, a seed of a study, a sweep, a damaged run, or a change that cannot be made in the
            middle of a run.
    """
    directory = find_run(name, runs_dir)
    manifest = Reader().fields(directory.manifest)
    if manifest.get("kind") == SWEEP:
        raise CartpoleError(f"{directory.path}: a sweep; to go on: cartpole sweep --resume {directory.path}")
    if isinstance(manifest.get("study"), str):
        reason = f"a seed of the study {manifest['study']}, whose seeds are trained together"
        raise CartpoleError(f"{directory.path}: {reason}; to go on: cartpole train --resume {directory.path.parent}")
    digest = digest_of(directory.last)
    state = load_checkpoint(directory.last, "training") if directory.last.exists() else None
    if state is None and _has_results(directory):
        again = f"to begin anew, in another folder: cartpole train --recipe {directory.recipe}"
        raise CartpoleError(f"{directory.path}: has results, but no last.pth to go on from; {again}")
    before = _recipe_of(state, directory)
    try:
        edited, after = (_edited(directory, before, given) for given in ((), overrides))
    except CartpoleError as error:
        raise CartpoleError(*(forbidden_overrides(before, overrides) or error.problems)) from error
    settings = after.trainer
    try:
        found = list(problems(before, edited, after, state, directory))
        is_over = state is not None and all(
            finished_seeds(state["trainer"], settings.num_steps, settings.stop_at_return)
        )
        remarks = tuple(notes(before, after, state))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CartpoleError(f"{directory.last}: not a training that can be resumed: {one_line(error)}") from error
    if found:
        raise CartpoleError(*found)
    source = str(directory.last if state else directory.recipe)
    check_registered_or_repeated(after.environment.id, source, overrides)
    return Resumable(directory, after, state, digest, manifest, is_over, tuple(changes(before, after)), remarks)


def _recipe_of(state: dict[str, Any] | None, directory: RunDirectory) -> Recipe:
    """The recipe that was trained by so far."""
    if state is None:
        return load_recipe(directory.recipe)
    inside = recipe_inside(state.get("recipe"), directory.last)
    if isinstance(inside, str):
        raise CartpoleError(f"{inside}; it cannot be resumed: train again")
    return inside


def _edited(directory: RunDirectory, before: Recipe, overrides: Sequence[str]) -> Recipe:
    """recipe.toml as it is now, or the recipe so far where there is none, with changes from the command line."""
    if directory.recipe.exists():
        return load_recipe(directory.recipe, overrides)
    return resolve_recipe(tomllib.loads(before.to_toml()), overrides, source=str(directory.last))


def _has_results(directory: RunDirectory) -> bool:
    """Whether anything was learned there."""
    seeds = [RunDirectory(path) for path in directory.path.glob("s[0-9]*")]
    return directory.study.exists() or any(
        path.exists() and not (path.is_file() and path.stat().st_size == 0)
        for each in (directory, *seeds)
        for path in (each.best, each.best_metadata, each.evaluation, each.metrics)
    )


def _is_scored(directory: RunDirectory) -> bool:
    """Whether the final score is of the best checkpoint, or there is none to score."""
    digest = digest_of(directory.best)
    return digest == Reader().fields(directory.evaluation).get(CHECKPOINT)


def _status(directory: RunDirectory) -> Any:
    return Reader().fields(directory.manifest).get("status")


def _final_evaluation(directory: RunDirectory) -> Evaluation | None:
    """The final score in a run's folder, None if it cannot be read."""
    try:
        data = Reader().fields(directory.evaluation)
        return Evaluation(str(data["set"]), tuple(map(float, data["returns"])))
    except (ValueError, TypeError, KeyError):
        return None
