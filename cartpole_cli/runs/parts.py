"""A study whose seeds are trained in parts, each by another process, as it lies in its folder.

A part that has ended has its seeds' folders in the study's, and what its last.pth was in `last.s<first>-s<last>.pth`.
When all are there, they make the last.pth that the study would have if it had been trained as one computation.
"""

import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError, doing, one_line, writing
from cartpole_cli.files import move
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.parcel import unpack
from cartpole_cli.runs.saved_policy import recipe_inside
from cartpole_cli.runs.seed_run import seed_runs
from cartpole_cli.training.joined import joined

PATTERN = "last.s*-s*.pth"
SUMS = ("seconds", "evaluation_seconds")


@dataclass(frozen=True, slots=True)
class Part:
    """Some seeds of a study, by their places in it, that have been trained: what their last.pth holds."""

    path: Path
    members: tuple[int, ...]
    state: dict[str, Any]


def has_parts(directory: RunDirectory) -> bool:
    """Whether a study is trained in parts, and not all of them are there."""
    return not directory.last.exists() and any(directory.path.glob(PATTERN))


def read_parts(directory: RunDirectory, recipe: Recipe, tell: Callable[[str], None]) -> list[Part]:
    """The parts that have ended, by their members; one whose folders are gone is left out, with a note.

    Raises:
        CartpoleError: a file is damaged, of another recipe, or of seeds that another one has.
    """
    whole: list[Part] = []
    for path in sorted(directory.path.glob(PATTERN)):
        part = _read_part(path, recipe, directory)
        for other in whole:
            if set(part.members) & set(other.members):
                raise CartpoleError(f"{path}: has seeds that {other.path.name} has, too; remove one of them")
        if all(directory.of_seed(recipe.seeds[member]).manifest.exists() for member in part.members):
            whole.append(part)
        else:
            tell(f"note: {path}: folders of its seeds are gone; its seeds are trained again")
    return sorted(whole, key=lambda part: part.members)


def _read_part(path: Path, recipe: Recipe, directory: RunDirectory) -> Part:
    again = "; remove it to train its seeds again"
    try:
        state = load_checkpoint(path, "training")
    except CartpoleError as error:
        raise CartpoleError(f"{error}{again}") from error
    if recipe_inside(state.get("recipe"), path) != recipe:
        reason = f"was trained by another recipe than {directory.recipe}; put that back as it was, or remove the part"
        raise CartpoleError(f"{path}: {reason} to train its seeds again")
    try:
        members = tuple(sorted(state["runs"]))
        seed_runs(recipe, directory, members, state)
        joined([state["trainer"]])
        sum(float(state[key]) for key in SUMS)
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CartpoleError(f"{path}: not a part of this study: {one_line(error)}{again}") from error
    return Part(path, members, state)


def add_part(parcel: bytes, directory: RunDirectory, recipe: Recipe, members: Sequence[int]) -> Part:
    """Put the folders of some seeds, by their places, into their study's, and then their last.pth.

    Raises:
        CartpoleError: the parcel is none, or cannot be written.
    """
    seeds = [recipe.seeds[member] for member in members]
    path = directory.path / f"last.s{seeds[0]}-s{seeds[-1]}.pth"
    with writing(directory.path):
        scratch = Path(tempfile.mkdtemp(prefix=".part-", dir=directory.path))
    try:
        unpack(parcel, scratch / "study")
        for seed in seeds:
            there = directory.of_seed(seed).path
            with doing(there, "replaced"):
                if there.exists():
                    shutil.rmtree(there)
                (scratch / "study" / there.name).rename(there)
        move(scratch / "study" / directory.last.name, path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return _read_part(path, recipe, directory)


def join(directory: RunDirectory, parts: Sequence[Part], seconds: float) -> dict[str, Any]:
    """Write the study's last.pth from those of all its parts, which are then gone; what it holds.

    Args:
        directory: the study's.
        parts: all of them.
        seconds: that it took; held-out episodes have their share of these.

    Raises:
        CartpoleError: it cannot be written, or the parts do not fit together.
    """
    spent, evaluating = (sum(part.state[key] for part in parts) for key in SUMS)
    try:
        state = parts[0].state | {
            "trainer": joined([part.state["trainer"] for part in parts]),
            "runs": {member: run for part in parts for member, run in part.state["runs"].items()},
            "seconds": seconds,
            "evaluation_seconds": seconds * evaluating / spent if spent else 0.0,
        }
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CartpoleError(f"{directory.path}: its parts do not fit together: {one_line(error)}") from error
    save_checkpoint(directory.last, state)
    for path in directory.path.glob(PATTERN):
        with suppress(OSError):  # last.pth is there: they are read no more
            path.unlink()
    return state


def clear_scratch(directory: RunDirectory) -> None:
    """Remove what a killed process was unpacking."""
    for path in directory.path.glob(".part-*"):
        shutil.rmtree(path, ignore_errors=True)
