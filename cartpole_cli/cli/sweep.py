"""`cartpole sweep`."""

import json
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cartpole_cli.cli.completion import complete_device, complete_override, complete_recipe, complete_run
from cartpole_cli.cli.signals import EXIT_INTERRUPTED, STOPPING, STOPPING_WORKERS, stop_on_signal
from cartpole_cli.cli.streams import tell
from cartpole_cli.cli.train_outcome import as_argument
from cartpole_cli.cli.workers import WorkersOption, announce, asked_workers, workers_of
from cartpole_cli.errors import CartpoleError, memory_asked, printable

if TYPE_CHECKING:
    from rich.console import Console

    from cartpole_cli.sweep.search import Search
    from cartpole_cli.sweep.sweep import Sweep
    from cartpole_cli.workers.interface import Workers


class Sampler(StrEnum):
    """Where settings come from."""

    GRID = "grid"
    RANDOM = "random"
    TPE = "tpe"


class Metric(StrEnum):
    """What a seed is scored by."""

    MEAN_HELD_OUT = "mean_held_out"
    FINAL = "final"


def sweep(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SEARCH.toml] [KEY=VALUES]...",
            help="A search file; fields and the values to try, as in trainer.learning_rate=log(1e-4,1e-1) or "
            "algorithm.num_epochs=4,8; KEY=VALUE changes the recipe of all trials.",
            show_default=False,
            autocompletion=complete_override,
        ),
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="A recipe's name or path; default: reinforce.", autocompletion=complete_recipe)
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(metavar="SWEEP", help="Resume a search, given its folder or name.", autocompletion=complete_run),
    ] = None,
    sampler: Annotated[Sampler | None, typer.Option(help="Default: random. tpe needs the [sweep] extra.")] = None,
    trials: Annotated[int | None, typer.Option(help="Settings to try; default: 64, or the whole grid.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Seeds per setting; default: 4.")] = None,
    metric: Annotated[
        Metric | None,
        typer.Option(help="A seed's score: its held-out return averaged over the budget (default), or the last one."),
    ] = None,
    finalists: Annotated[
        int | None, typer.Option(help="Best settings to train again on new seeds; default: 5; 0: none.")
    ] = None,
    confirm_seeds: Annotated[int | None, typer.Option(help="New seeds per finalist; default: 32.")] = None,
    sampler_seed: Annotated[int | None, typer.Option(help="Seed that draws the settings; default: 0.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same as trainer.seed=SEED: the first training seed.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.", autocompletion=complete_device)] = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    name: Annotated[str | None, typer.Option(help="Name of the search's folder.")] = None,
    workers: WorkersOption = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors and warnings only.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the search and how long it would take, and stop.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
) -> None:
    """Search for a recipe's best numbers: many settings, each with several seeds, trained as one computation.

    VALUES: a,b,c or choice(a,b,c); range(1,10); interval(low,high); log(low,high), short for
    tag(log,interval(low,high)).

    It then trains the best settings on new seeds, beside the recipe as it was, and writes the best one to best.toml.
    """
    options = {
        "sampler": sampler and sampler.value,
        "trials": trials,
        "seeds": seeds,
        "metric": metric and metric.value,
        "finalists": finalists,
        "confirm_seeds": confirm_seeds,
        "sampler_seed": sampler_seed,
    }
    given = {key: value for key, value in options.items() if value is not None}
    if resume is not None:
        others = [word for word in words or () if not word.startswith("environment.id=")]
        if others or recipe or name or given or seed is not None:
            raise CartpoleError("--resume continues the search as it was, in its folder: leave out the other options")
        opener = partial(_resumed, resume, runs_dir, words or [], device)
        _exit(_run(None, opener, workers, quiet=quiet, as_json=as_json))
    from cartpole_cli.sweep.sampler import check_sampler
    from cartpole_cli.sweep.search import make_search

    files = [word for word in words or () if "=" not in word and word.endswith(".toml")]
    if len(files) > 1:
        raise CartpoleError(f"{files[1]}: a second search file; expected one")
    changes = [word for word in words or () if word not in files]
    changes += [f"trainer.{key}={value}" for key, value in (("seed", seed), ("device", device)) if value is not None]
    search = make_search(Path(files[0]) if files else None, recipe, changes, given)
    check_sampler(search)
    if dry_run:
        _tell_plan(search)
        return
    _exit(_run(search, partial(_created, search, runs_dir, name), workers, quiet=quiet, as_json=as_json))


def _exit(is_done: bool) -> NoReturn:
    raise typer.Exit(0 if is_done else EXIT_INTERRUPTED)


def _tell_plan(search: "Search") -> None:
    """The search as a file, and what it would cost."""
    from cartpole_cli.cli.words import count, duration
    from cartpole_cli.sweep.estimate import plan
    from cartpole_cli.training.build import set_up_torch

    found = plan(search, set_up_torch(search.recipe.trainer))
    print(search.to_toml(), end="")
    settings = search.settings
    parts = f"{count(search.num_trials, 'trial')} x {count(settings.seeds, 'seed')}"
    if settings.finalists:
        parts += f", then {settings.finalists} finalists and the recipe x {count(settings.confirm_seeds, 'seed')}"
    print(f"# {parts}: {count(found.num_computations, 'computation')} of trials")
    print(f"# at most about {duration(found.seconds)} of training, held-out episodes not counted (from one iteration)")


def _run(
    search: "Search | None", open_sweep: "Callable[[], Sweep]", asked: str | None, *, quiet: bool, as_json: bool
) -> bool:
    """Run a new search, or resume one (None); returns whether it has ended."""
    from cartpole_cli.cli.train_display import PipeConsole

    console = PipeConsole(stderr=as_json, quiet=quiet, highlight=False, emoji=False)
    if search is not None:
        trials = f"{search.num_trials:,} trials x {search.settings.seeds} seeds"
        _print(console, f"{search.recipe.algorithm.name} on {printable(search.recipe.environment.id)}, {trials}")

    from cartpole_cli.workers.here import Here

    asked_for = (None if asked is None else asked_workers(asked)) or Here()
    announce(asked_for, partial(_print, console))
    with asked_for:
        work = open_sweep()
        if search is None:
            _print(console, f"resuming {printable(str(work.folder.path))} after {len(work.trials)} trials")
        if asked is not None:
            return _work(work, asked_for, console, as_json=as_json)
        with (usual := _usual_workers(work, console)):
            return _work(work, usual, console, as_json=as_json)


def _work(work: "Sweep", workers: "Workers", console: "Console", *, as_json: bool) -> bool:
    """Run a search by workers; whether it has ended."""
    again = f"interrupted; to go on: cartpole sweep --resume {as_argument(work.folder.path)}"
    try:
        _follow(work, workers, console)
    except (KeyboardInterrupt, BrokenPipeError) as error:
        tell(again)
        if isinstance(error, BrokenPipeError):
            raise
        return False
    except (MemoryError, RuntimeError) as error:
        asked = memory_asked(error)
        if asked is None:
            raise
        raise CartpoleError(f"not enough memory ({asked}) for the trials of one computation") from error
    if work.report is None:
        tell(again)
        return False
    _show(work, console)
    if as_json:
        print(json.dumps(work.report.as_plain_data()))
    return True


def _usual_workers(work: "Sweep", console: "Console") -> "Workers":
    """As many as pay."""
    from cartpole_cli.workers.here import Here

    members = work.search.num_trials * work.search.settings.seeds
    workers = workers_of(None, work.search.recipe, members)
    if workers is not None:
        _print(console, f"workers: {workers} (--workers chooses)")
    return workers or Here()


def _created(search: "Search", runs_dir: Path, name: str | None) -> "Sweep":
    from cartpole_cli.sweep.sweep import Sweep

    return Sweep.create(search, runs_dir=runs_dir, name=name, tell=tell)


def _resumed(name: str, runs_dir: Path, repeated: list[str], device: str | None) -> "Sweep":
    from cartpole_cli.sweep.sweep import Sweep

    folder = _folder(name, runs_dir)
    return Sweep.resume(folder, repeated=repeated, device=device, tell=tell)


def _folder(name: str, runs_dir: Path) -> Path:
    found = next((path for path in (Path(name), runs_dir / name) if path.is_dir()), None)
    if found is None:
        raise CartpoleError(f"{name}: no such folder, and no search in {runs_dir}")
    return found


def _follow(work: "Sweep", workers: "Workers", console: "Console") -> None:
    from cartpole_cli.cli.sweep_display import SweepDisplay

    if work.search.recipe.logger.type != "disabled":
        tell("note: trials are not logged to W&B; finalists are")
    display = SweepDisplay(console, work.search.num_trials)
    text = STOPPING if workers.count == 1 else STOPPING_WORKERS
    with work, stop_on_signal(work.request_stop, display.acknowledge, text), display:
        for progress in work.run(workers):
            display.see(progress)


def _show(work: "Sweep", console: "Console") -> None:
    """What was found, and what to do with it."""
    from cartpole_cli.cli.sweep_display import describe, finalists_table

    assert work.report is not None
    if work.report.outcomes:
        console.print(finalists_table(work.report))
    for line in describe(work.report):
        _print(console, line)
    if work.report.best is not None:
        _print(console, f"next: cartpole train --recipe {as_argument(work.folder.best)}")
    _print(console, f"{'      ' if work.report.best else 'next: '}cartpole plot {as_argument(work.folder.path)}")


def _print(console: "Console", text: str) -> None:
    console.print(text, markup=False, soft_wrap=True)
