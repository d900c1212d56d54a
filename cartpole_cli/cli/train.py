"""`cartpole train`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cartpole_cli.cli.completion import complete_device, complete_override, complete_recipe, complete_run
from cartpole_cli.cli.signals import EXIT_INTERRUPTED, stop_on_signal
from cartpole_cli.cli.streams import tell
from cartpole_cli.cli.train_outcome import as_argument
from cartpole_cli.cli.train_report import device_hint, report, say, seeds_in_words
from cartpole_cli.cli.workers import WorkersOption
from cartpole_cli.errors import CartpoleError, memory_asked, printable

if TYPE_CHECKING:
    import torch
    from rich.console import Console

    from cartpole_cli.recipe.recipe import Recipe
    from cartpole_cli.runs.resume import Resumable
    from cartpole_cli.runs.session import Session
    from cartpole_cli.runs.summary import StudySummary, Summary

    Opener = Callable[[torch.device, Console], Session]
    Start = Callable[..., Summary | StudySummary]

EXIT_NO_RESULT = 1


def train(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Recipe fields to change, as in trainer.num_steps=5000.",
            show_default=False,
            autocompletion=complete_override,
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name or path; default: reinforce.", autocompletion=complete_recipe)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="RUN", help="Resume a run, given its folder or name.", autocompletion=complete_run),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Same as trainer.seed=SEED.")] = None,
    seeds: Annotated[
        int | None, typer.Option(metavar="N", help="Train a study: N seeds from SEED on, as one computation.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.", autocompletion=complete_device)] = None,
    workers: WorkersOption = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the run's folder.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors and warnings only.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the resolved recipe and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Train a policy and write its run folder."""
    from cartpole_cli.recipe.files import find_recipe, load_recipe

    options = {"seed": seed, "num_seeds": seeds, "device": device}
    changes = [*(overrides or []), *(f"trainer.{key}={value}" for key, value in options.items() if value is not None)]
    if resume is not None:
        if recipe is not None or name is not None:
            raise CartpoleError("--resume uses the run's own recipe and folder: leave out --recipe and --name")
        resolved, start = _going_on(resume, runs_dir, changes, workers)
    else:
        path = find_recipe(recipe or "reinforce")
        resolved = load_recipe(path, changes)
        start = _beginning(resolved, path.stem, runs_dir, name, workers)
    if dry_run:
        print(resolved.to_toml(), end="")
        return
    _exit(start(quiet=quiet, as_json=as_json))


def _exit(summary: "Summary | StudySummary") -> NoReturn:
    raise typer.Exit({"finished": 0, "interrupted": EXIT_INTERRUPTED, "failed": EXIT_NO_RESULT}[summary.status])


def _beginning(recipe: "Recipe", recipe_name: str, runs_dir: Path, name: str | None, workers: str | None) -> "Start":
    """How a new run starts: in this process, or a study by workers."""
    from cartpole_cli.cli.train_parts import by_workers, created
    from cartpole_cli.cli.workers import workers_of
    from cartpole_cli.workers.interface import MEMBERS_AT_ONCE

    chosen = workers_of(workers, recipe, recipe.trainer.num_seeds, at_once=MEMBERS_AT_ONCE)
    if chosen is None:
        return partial(_run, recipe, partial(_created, recipe, recipe_name, runs_dir, name))
    return partial(by_workers, recipe, partial(created, recipe, recipe_name, runs_dir, name), chosen, workers)


def _going_on(resume: str, runs_dir: Path, changes: list[str], workers: str | None) -> "tuple[Recipe, Start]":
    """How to resume a run: in this process or by workers, as it began."""
    from cartpole_cli.cli.train_parts import by_workers, opened, study_in_parts
    from cartpole_cli.cli.workers import workers_of
    from cartpole_cli.runs.find import find_run
    from cartpole_cli.runs.parts import has_parts
    from cartpole_cli.runs.resume import load_resumable
    from cartpole_cli.workers.interface import MEMBERS_AT_ONCE

    directory = find_run(resume, runs_dir)
    if has_parts(directory):
        recipe, open_study = study_in_parts(directory, changes)
        chosen = workers_of(workers, recipe, recipe.trainer.num_seeds)
        return recipe, partial(by_workers, recipe, open_study, chosen, workers)
    run = load_resumable(resume, runs_dir, changes)
    if run.has_ended:
        return run.recipe, partial(_tell_ended, run)
    if run.state is None and run.recipe.trainer.num_seeds > 1:
        chosen = workers_of(workers, run.recipe, run.recipe.trainer.num_seeds, at_once=MEMBERS_AT_ONCE)
        if chosen is not None:  # none of its seeds is trained yet
            open_study = partial(opened, run.recipe, directory, run.recipe.trainer.device)
            return run.recipe, partial(by_workers, run.recipe, open_study, chosen, workers)
    elif workers not in {None, "1"}:
        raise CartpoleError(f"{run.directory.path}: one process began it and has to resume it: leave out --workers")
    return run.recipe, partial(_run, run.recipe, partial(_resumed, run))


def _created(
    recipe: "Recipe", recipe_name: str, runs_dir: Path, name: str | None, device: "torch.device", console: "Console"
) -> "Session":
    from cartpole_cli.runs.session import Session

    return Session.create(recipe, device=device, recipe_name=recipe_name, runs_dir=runs_dir, name=name, tell=tell)


def _resumed(run: "Resumable", device: "torch.device", console: "Console") -> "Session":
    from cartpole_cli.runs.session import Session

    session = Session.resume(run, device=device, tell=tell)
    steps = sum(run.progress.env_steps for run in session.runs.values())
    done = f"{session.trainer.iteration} iterations, {steps} steps"
    say(console, f"resuming {printable(str(run.directory.path))} after {done}")
    for note in run.notes:
        say(console, f"note: {note}")
    return session


def _tell_ended(run: "Resumable", *, quiet: bool, as_json: bool) -> "Summary | StudySummary":
    """Say how a run ended that has nothing left to do; nothing is written."""
    from rich.console import Console

    from cartpole_cli.cli.train_outcome import describe_rest

    console = Console(stderr=as_json, quiet=quiet, highlight=False, emoji=False)
    summary = run.summary()
    say(console, describe_rest(summary, run.recipe.trainer.num_steps, run.changed))
    report(console, summary, run.recipe, as_json=as_json)
    return summary


def _run(recipe: "Recipe", open_session: "Opener", *, quiet: bool, as_json: bool) -> "Summary | StudySummary":
    from cartpole_cli.cli.train_display import PipeConsole

    console = PipeConsole(stderr=as_json, quiet=quiet, highlight=False, emoji=False)
    say(console, f"{recipe.algorithm.name} on {printable(recipe.environment.id)}, {seeds_in_words(recipe.seeds)}")

    # Imports torch: a second, so something is said before it.
    from cartpole_cli.training.build import iteration_size, set_up_torch

    device = set_up_torch(recipe.trainer)
    say(console, f"device: {device.type}{device_hint(recipe.trainer.device, device.type)}")
    session = open_session(device, console)
    size = iteration_size(recipe, session.trainer.environment)
    if size.warning is not None:
        tell(size.warning)
    again = f"interrupted; to go on: cartpole train --resume {as_argument(session.directory.path)}"
    try:
        summary = _train(session, console)
    except KeyboardInterrupt:
        tell(again)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except BrokenPipeError:
        tell(again)
        raise
    except (MemoryError, RuntimeError) as error:
        asked = memory_asked(error)
        if asked is None:
            raise
        raise CartpoleError(f"not enough memory ({asked}) for an iteration of up to {size}") from error
    report(console, summary, recipe, as_json=as_json)
    return summary


def _train(session: "Session", console: "Console") -> "Summary | StudySummary":
    from cartpole_cli.cli.train_display import TrainingDisplay
    from cartpole_cli.cli.train_views import Goal

    under_way = session.trainer.members
    display = TrainingDisplay(
        console,
        Goal.of(session.trainer),
        num_seeds=len(session.recipe.seeds),
        steps_before=sum(run.progress.env_steps for run in session.runs.values()),
        left=[run.progress for member, run in session.runs.items() if member not in under_way],
        best=session.runs[0].progress.best_return,
    )
    with session, stop_on_signal(session.request_stop, display.acknowledge), display:
        for report in session.reports():
            display.update(report)
        display.say("scoring the best checkpoint")
        return session.finish()
