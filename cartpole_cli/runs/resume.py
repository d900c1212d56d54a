"""Go on with a run: what it was, what may change, and whether anything is left to do."""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartpole_cli.environment_recipes import Problem
from cartpole_cli.environments.registered import check_registered_or_repeated
from cartpole_cli.errors import CartpoleError, did_you_mean
from cartpole_cli.recipe import Recipe
from cartpole_cli.recipe_errors import COMMAND_LINE
from cartpole_cli.recipe_files import load_recipe, recipe_from_text, resolve_recipe
from cartpole_cli.runs.checkpoint import load_checkpoint
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of
from cartpole_cli.training.trainer import finished_seeds

FIXED = ("environment", "policy", "algorithm.name", "trainer.seed", "trainer.num_seeds")


@dataclass(frozen=True, slots=True)
class Resumable:
    """A run to go on with.

    `recipe` is what to go on by; `state` what last.pth holds (None: it never wrote one), `digest` its SHA-256;
    `manifest` what run.json says; `notes` what the user should know.
    """

    directory: RunDirectory
    recipe: Recipe
    state: dict[str, Any] | None
    digest: str | None
    manifest: dict[str, Any]
    notes: tuple[str, ...]

    @property
    def folders(self) -> dict[int, RunDirectory]:
        """Where each seed's files are."""
        is_study = self.recipe.trainer.num_seeds > 1
        return {seed: self.directory.of_seed(seed) if is_study else self.directory for seed in self.recipe.seeds}

    @property
    def has_ended(self) -> bool:
        """Whether all seeds have finished within the recipe's budget, and been scored."""
        if self.state is None:
            return False
        settings, trainer = self.recipe.trainer, self.state["trainer"]
        if not all(finished_seeds(trainer, settings.num_steps, settings.stop_at_return)):
            return False
        if settings.num_seeds > 1 and not self.directory.study.exists():
            return False
        whole = [self.directory, *self.folders.values()]
        return all(_status(directory) in {"finished", "failed"} for directory in whole) and all(
            _is_scored(directory) for directory in self.folders.values()
        )


def load_resumable(target: str, runs_dir: Path, overrides: Sequence[str]) -> Resumable:
    """The run that `target` names, a folder or a name in the runs folder, with fields of its recipe changed.

    Changes come from the command line, and from recipe.toml if it was edited.

    Raises:
        CartpoleError: no such run, a seed of a study, a damaged run, or a change that cannot be made in the middle of a
            run.
    """
    directory = RunDirectory(_find(target, runs_dir))
    manifest = Reader().fields(directory.manifest, json.loads)
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
        edited, after = (_edited(directory, before, changes) for changes in ((), overrides))
    except CartpoleError as error:
        raise CartpoleError(*(_forbidden_overrides(before, overrides) or error.problems)) from error
    problems = list(_problems(before, edited, after, state, directory))
    if problems:
        raise CartpoleError(*problems)
    source = str(directory.last if state else directory.recipe)
    check_registered_or_repeated(after.environment.id, source, overrides)
    notes = tuple(_notes(before, after, state))
    return Resumable(directory, after, state, digest, manifest, notes)


def _recipe_of(state: dict[str, Any] | None, directory: RunDirectory) -> Recipe:
    """The recipe that was trained by so far."""
    if state is None:
        return load_recipe(directory.recipe)
    return recipe_from_text(state.get("recipe"), source=str(directory.last))


def _edited(directory: RunDirectory, before: Recipe, overrides: Sequence[str]) -> Recipe:
    """recipe.toml as it is now, or the recipe so far where there is none, with changes from the command line."""
    if directory.recipe.exists():
        return load_recipe(directory.recipe, overrides)
    return resolve_recipe(tomllib.loads(before.to_toml()), overrides, source=str(directory.last))


def _problems(
    before: Recipe, edited: Recipe, after: Recipe, state: dict[str, Any] | None, directory: RunDirectory
) -> Iterator[str]:
    """Changes that cannot be made."""
    typed = _changes(edited, after)
    found = [
        (key, new, f"cannot change in the middle of a run; it was {old!r}")
        for key, (old, new) in _changes(before, after).items()
        if _is_fixed(key)
    ]
    if state is not None:
        found += _budget_problems(before, after, state)
    for key, given, reason in found:
        yield f"{COMMAND_LINE if key in typed else directory.recipe}: {key} = {given!r}: {reason}"
    if after.trainer.num_seeds > 1:
        yield from _edits_of_seeds(before, edited, directory)


def _edits_of_seeds(before: Recipe, edited: Recipe, directory: RunDirectory) -> Iterator[str]:
    for seed in before.seeds:
        path = directory.of_seed(seed).recipe
        if path.exists() and load_recipe(path) not in (before.for_seed(seed), edited.for_seed(seed)):
            yield f"{path}: was edited, but the seeds of a study have one recipe: edit {directory.recipe}"


def _budget_problems(before: Recipe, after: Recipe, state: dict[str, Any]) -> Iterator[Problem]:
    """What asks seeds to go on that cannot: last.pth has no weights of those that have left the computation."""
    old, new, trainer = before.trainer, after.trainer, state["trainer"]
    gone = {seed: run for seed, run in state["runs"].items() if seed not in trainer["seeds"]}
    if new.num_steps != old.num_steps:
        steps = dict(zip(trainer["seeds"], trainer["env_steps"].tolist(), strict=True))
        under_way = [count for seed, count in steps.items() if not state["runs"][seed]["finished"]]
        done = max(under_way, default=min(steps.values()))
        if new.num_steps <= done:
            yield "trainer.num_steps", new.num_steps, f"the run has done {done} already; allowed: more than that"
        left = [str(seed) for seed, run in gone.items() if not run["solved"] and not run["failure"]]
        if left:
            reason = f"seed {', '.join(left)} spent the old budget while others went on; allowed: unchanged"
            yield "trainer.num_steps", new.num_steps, reason
    solved = [str(seed) for seed, run in gone.items() if run["solved"]]
    if solved and not _is_met(new.stop_at_return, old.stop_at_return):
        reason = f"seed {', '.join(solved)} reached {old.stop_at_return} and left while others went on"
        yield "trainer.stop_at_return", new.stop_at_return, f"{reason}; allowed: at most {old.stop_at_return}"


def _is_met(target: float | None, reached: float | None) -> bool:
    return target is not None and reached is not None and target <= reached


def _forbidden_overrides(before: Recipe, overrides: Sequence[str]) -> list[str]:
    """A line for each change of what cannot change, whatever else it would make invalid."""
    pairs = [override.strip().lstrip("~").partition("=") for override in overrides]
    return [
        f"{COMMAND_LINE}: {key}: cannot change in the middle of a run; it was {_value(before, key)!r}"
        for key, _, given in pairs
        if _is_fixed(key) and given.strip("\"' ") != str(_value(before, key))
    ]


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for name in key.split("."):
        value = getattr(value, name, None)
    return value


def _is_fixed(key: str) -> bool:
    return any(f"{key}.".startswith(f"{fixed}.") for fixed in FIXED)


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
    return digest == Reader().fields(directory.evaluation, json.loads).get(CHECKPOINT)


def _status(directory: RunDirectory) -> Any:
    return Reader().fields(directory.manifest, json.loads).get("status")


def _find(target: str, runs_dir: Path) -> Path:
    try:
        for folder in (Path(target), runs_dir / target):
            if RunDirectory(folder).recipe.is_file() or RunDirectory(folder).last.is_file():
                return folder
        names = [path.name for path in runs_dir.iterdir()] if runs_dir.is_dir() else []
    except OSError as error:
        raise CartpoleError(f"--resume {target!r}: cannot be read ({error.strerror})") from error
    if Path(target).exists() or (runs_dir / target).exists():
        raise CartpoleError(f"--resume {target!r}: not the folder of a run: it has neither recipe.toml nor last.pth")
    raise CartpoleError(f"--resume {target!r}: no run there or in {runs_dir}{did_you_mean(target, names)}")


def _changes(before: Recipe, after: Recipe) -> dict[str, tuple[Any, Any]]:
    """(old, new) of every field that differs, by dotted keys."""
    return dict(_differences(before.model_dump(), after.model_dump()))


def _differences(
    before: dict[str, Any], after: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for key in before | after:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _differences(old, new, f"{prefix}{key}.")
        elif old != new:
            yield prefix + key, (old, new)


def _notes(before: Recipe, after: Recipe, state: dict[str, Any] | None) -> Iterator[str]:
    """What becomes of linear schedules."""
    old, new = before.trainer, after.trainer
    linear = new.learning_rate_schedule == "linear" or getattr(after.algorithm, "clip_range_schedule", "") == "linear"
    if state is None or not linear or all(finished_seeds(state["trainer"], new.num_steps, new.stop_at_return)):
        return
    done = int(state["trainer"]["env_steps"].max())
    if (new.schedule_steps or new.num_steps) <= done:
        yield (
            f"linear schedules have reached 0 at {new.schedule_steps or new.num_steps} steps, and {done} are done: "
            f"nothing more is learned; trainer.schedule_steps={max(new.num_steps, 2 * done)} begins new ones"
        )
    elif new.schedule_steps is None and new.num_steps != old.num_steps:
        kept = f" (trainer.schedule_steps={old.num_steps} keeps the old one)" if old.num_steps > done else ""
        yield f"linear schedules now end at {new.num_steps} steps: a new schedule{kept}"
