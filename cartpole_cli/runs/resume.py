"""Go on with a run: what it was, what may change, and what its files hold beyond its last checkpoint."""

import json
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError, did_you_mean
from cartpole_cli.files import write_file
from cartpole_cli.recipe import Recipe
from cartpole_cli.recipe_files import resolve_recipe
from cartpole_cli.runs.checkpoint import load_checkpoint
from cartpole_cli.runs.directory import RunDirectory

FIXED = ("environment", "policy", "algorithm.name", "trainer.seed", "trainer.num_seeds")


@dataclass(frozen=True, slots=True)
class Resumable:
    """A run to go on with: its folder, the recipe to go on by, and what last.pth holds (None: it never wrote one)."""

    directory: RunDirectory
    recipe: Recipe
    state: dict[str, Any] | None
    notes: tuple[str, ...]


def load_resumable(target: str, runs_dir: Path, overrides: Sequence[str]) -> Resumable:
    """The run that `target` names, a folder or a name in the runs folder, with fields of its recipe changed.

    Raises:
        CartpoleError: no such run, a damaged one, or a change that cannot be made in the middle of a run.
    """
    directory = RunDirectory(_find(target, runs_dir))
    state = load_checkpoint(directory.last, "training") if directory.last.exists() else None
    source = str(directory.last if state else directory.recipe)
    try:
        text = state["recipe"] if state else directory.recipe.read_text(encoding="utf-8")
        before = resolve_recipe(tomllib.loads(text), [], source=source)
        after = resolve_recipe(tomllib.loads(text), overrides, source=source)
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise CartpoleError(f"{source}: no recipe to go on by") from error
    changes = dict(_changes(before.model_dump(), after.model_dump()))
    problems = [
        f"command line: {key} = {new!r}: cannot change in the middle of a run; it was {old!r}"
        for key, (old, new) in changes.items()
        if any(f"{key}.".startswith(f"{fixed}.") for fixed in FIXED)
    ]
    if state and "trainer.num_steps" in changes:
        problems += _budget_problems(after.trainer.num_steps, state)
    if problems:
        raise CartpoleError(*problems)
    return Resumable(directory, after, state, tuple(_notes(before, after)))


def trim_metrics(path: Path, iteration: int) -> None:
    """Drop the lines of later iterations, and one that was cut short; end the last one.

    Raises:
        CartpoleError: the file cannot be read or written.
    """
    kept = []
    try:
        lines = path.read_bytes().splitlines(keepends=True) if path.exists() else []
    except OSError as error:
        raise CartpoleError(f"{path}: cannot be read ({error.strerror})") from error
    for line in lines:
        try:
            if json.loads(line)["iteration"] > iteration:
                break
        except (ValueError, TypeError, KeyError):
            break
        kept.append(line.removesuffix(b"\n") + b"\n")
    if kept != lines:
        write_file(path, b"".join(kept))


def _budget_problems(num_steps: int, state: dict[str, Any]) -> Iterator[str]:
    steps = dict(zip(state["trainer"]["seeds"], state["trainer"]["env_steps"].tolist(), strict=True))
    under_way = [count for seed, count in steps.items() if not state["runs"][seed]["finished"]]
    done = max(under_way, default=min(steps.values()))
    left = [
        str(seed)
        for seed, run in state["runs"].items()
        if run["finished"] and not run["solved"] and not run["failure"] and seed not in state["trainer"]["seeds"]
    ]
    if num_steps <= done:
        yield f"command line: trainer.num_steps = {num_steps}: the run has done {done} already; allowed: more than that"
    if left:
        reason = f"seed {', '.join(left)} spent the old budget while others went on; allowed: unchanged"
        yield f"command line: trainer.num_steps = {num_steps}: {reason}"


def _find(target: str, runs_dir: Path) -> Path:
    try:
        for folder in (Path(target), runs_dir / target):
            if RunDirectory(folder).recipe.is_file() or RunDirectory(folder).last.is_file():
                return folder
        names = [path.name for path in runs_dir.iterdir()] if runs_dir.is_dir() else []
    except OSError as error:
        raise CartpoleError(f"--resume {target!r}: cannot be read ({error.strerror})") from error
    raise CartpoleError(f"--resume {target!r}: no run there or in {runs_dir}{did_you_mean(target, names)}")


def _changes(before: dict[str, Any], after: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """(dotted key, (old, new)) of every field that differs."""
    for key in before | after:
        old, new = before.get(key), after.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _changes(old, new, f"{prefix}{key}.")
        elif old != new:
            yield prefix + key, (old, new)


def _notes(before: Recipe, after: Recipe) -> Iterator[str]:
    old, new = before.trainer, after.trainer
    linear = new.learning_rate_schedule == "linear" or getattr(after.algorithm, "clip_range_schedule", "") == "linear"
    if linear and new.schedule_steps is None and new.num_steps != old.num_steps:
        yield (
            f"linear schedules now end at {new.num_steps} steps: a new schedule "
            f"(trainer.schedule_steps={old.num_steps} keeps the old one)"
        )
