"""`cartpole train --workers`: a study whose seeds are trained in parts."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cartpole_cli.cli.signals import EXIT_INTERRUPTED, STOPPING_WORKERS, stop_on_signal
from cartpole_cli.cli.streams import tell
from cartpole_cli.cli.train_outcome import as_argument
from cartpole_cli.cli.train_report import report, say, seeds_in_words
from cartpole_cli.cli.workers import announce
from cartpole_cli.errors import CartpoleError, printable

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from cartpole_cli.recipe.recipe import Recipe
    from cartpole_cli.runs.directory import RunDirectory
    from cartpole_cli.runs.summary import StudySummary
    from cartpole_cli.workers.interface import Workers
    from cartpole_cli.workers.study import StudyInParts

    Opener = Callable[[torch.device], StudyInParts]


def created(
    recipe: "Recipe", recipe_name: str, runs_dir: Path, name: str | None, device: "torch.device"
) -> "StudyInParts":
    """A new study."""
    from cartpole_cli.workers.study import StudyInParts

    return StudyInParts.create(recipe, device=device, recipe_name=recipe_name, runs_dir=runs_dir, name=name, tell=tell)


def study_in_parts(directory: "RunDirectory", changes: list[str]) -> "tuple[Recipe, Opener]":
    """The recipe of a study that was begun in parts, and how to open it.

    Raises:
        CartpoleError: a change of its recipe, which all parts share.
    """
    from cartpole_cli.environments.registered import check_registered_or_repeated
    from cartpole_cli.recipe.files import load_recipe
    from cartpole_cli.runs.changes import changes as differences

    recipe, after = (load_recipe(directory.recipe, given) for given in ((), changes))
    for key, (_, new) in differences(recipe, after).items():
        if key != "trainer.device":
            reason = "cannot change while the study is trained in parts, which share it; allowed: once it has ended"
            raise CartpoleError(f"{key} = {new!r}: {reason}")
    check_registered_or_repeated(recipe.environment.id, str(directory.recipe), changes)
    return recipe, partial(opened, recipe, directory, after.trainer.device)


def opened(recipe: "Recipe", directory: "RunDirectory", device_name: str, _: "torch.device") -> "StudyInParts":
    """A resumed study, on the named device."""
    from cartpole_cli.runs.folders import manifest_of
    from cartpole_cli.training.build import choose_device
    from cartpole_cli.workers.study import StudyInParts

    before = manifest_of(directory.path)
    name, there = before.get("recipe"), choose_device(device_name)
    name = name if isinstance(name, str) else None
    return StudyInParts(recipe, directory, device=there, recipe_name=name, tell=tell, before=before)


def by_workers(
    recipe: "Recipe", open_study: "Opener", workers: "Workers | None", asked: str | None, *, quiet: bool, as_json: bool
) -> "StudySummary":
    """Train what is missing of a study by workers, or part by part in this process (None)."""
    from cartpole_cli.cli.train_display import PipeConsole

    if recipe.trainer.num_seeds == 1:
        raise CartpoleError(f"--workers {asked} needs --seeds 2 or more: one seed is one computation")
    console = PipeConsole(stderr=as_json, quiet=quiet, highlight=False, emoji=False)
    say(console, f"{recipe.algorithm.name} on {printable(recipe.environment.id)}, {seeds_in_words(recipe.seeds)}")
    from cartpole_cli.training.build import set_up_torch
    from cartpole_cli.workers.here import Here

    workers = workers or Here()
    announce(workers, partial(say, console))
    with workers:
        study = open_study(set_up_torch(recipe.trainer))
        chosen = "" if asked else " (--workers chooses)"
        say(console, f"workers: {workers}{chosen}, device of each: {study.device.type}")
        try:
            _follow(study, workers, console)
        except (KeyboardInterrupt, BrokenPipeError) as error:
            tell(_interrupted(study))
            if isinstance(error, BrokenPipeError):
                raise
            raise typer.Exit(EXIT_INTERRUPTED) from None
    if study.summary is None:
        tell(_interrupted(study))
        raise typer.Exit(EXIT_INTERRUPTED)
    report(console, study.summary, recipe, as_json=as_json)
    return study.summary


def _interrupted(study: "StudyInParts") -> str:
    count = len(study.recipe.seeds)
    kept = f"{count - len(study.missing)} of {count} seeds are trained"
    return f"interrupted, {kept}; to go on: cartpole train --resume {as_argument(study.directory.path)}"


def _follow(study: "StudyInParts", workers: "Workers", console: "Console") -> None:
    from cartpole_cli.cli.share_display import ShareDisplay
    from cartpole_cli.workers.study import train_studies

    stops: list[bool] = []
    display, count = ShareDisplay(console), len(study.recipe.seeds)
    with study, stop_on_signal(partial(stops.append, True), display.acknowledge, STOPPING_WORKERS), display:
        for _, share in train_studies([study], workers):
            done = count - len(study.missing)
            display.update(f"{done} of {count} seeds trained, {share:.0%} of the steps", share, done=done)
            if stops:
                return
