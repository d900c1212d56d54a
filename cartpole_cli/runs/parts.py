"""A study whose seeds are trained in parts, each by another process, as it lies in its folder.

A part that has ended has its seeds' folders in the study's, and what its last.pth was in `last.s<first>-s<last>.pth`.
When all are there, they make the last.pth that the study would have if it had been trained as one computation.
"""

import shutil
import tempfile
from collections.abc import Sequence
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


def read_parts(directory: RunDirectory, recipe: Recipe) -> list[Part]:
    """The parts that have ended, by their members; one whose folders are gone is left out.

    Raises:
        CartpoleError: a file is damaged, or of another recipe.
    """
    parts = [_read_part(path, recipe, directory) for path in directory.path.glob(PATTERN)]
    whole = [
        part
        for part in parts
        if all(directory.of_seed(recipe.seeds[member]).manifest.exists() for member in part.members)
    ]
    return sorted(whole, key=lambda part: part.members)


def _read_part(path: Path, recipe: Recipe, directory: RunDirectory) -> Part:
    try:
        state = load_checkpoint(path, "training")
    except CartpoleError as error:
        raise CartpoleError(f"{error}; remove it to train its seeds again") from error
    if recipe_inside(state.get("recipe"), path) != recipe:
        reason = "was edited since some of its seeds were trained, which would be of another recipe"
        raise CartpoleError(f"{directory.recipe}: {reason}; expected: as it was")
    try:
        members = tuple(sorted(state["runs"]))
        inside = all(member in range(len(recipe.seeds)) for member in members)
    except (KeyError, TypeError) as error:
        raise CartpoleError(f"{path}: not a part of this study: {one_line(error)}") from error
    if not inside:
        raise CartpoleError(f"{path}: not a part of this study: it has other seeds")
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


def join(directory: RunDirectory, parts: Sequence[Part]) -> dict[str, Any]:
    """Write the study's last.pth from those of all its parts, which are then gone; what it holds.

    Raises:
        CartpoleError: it cannot be written, or the parts do not fit together.
    """
    first = parts[0].state
    try:
        state = first | {
            "trainer": joined([part.state["trainer"] for part in parts]),
            "runs": {member: run for part in parts for member, run in part.state["runs"].items()},
            **{key: sum(part.state[key] for part in parts) for key in SUMS},
        }
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
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
