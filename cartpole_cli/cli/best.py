"""`cartpole best`."""

import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cartpole_cli.cli.best_table import print_runs
from cartpole_cli.cli.progress import ScoringProgress
from cartpole_cli.errors import CartpoleError, did_you_mean, printable

if TYPE_CHECKING:
    from cartpole_cli.runs.reading import Run

EXIT_NO_RUN = 1


class Order(StrEnum):
    """What comes first."""

    RETURN = "return"
    TIME = "time"
    STEPS = "steps"


SORT_FIELDS = {Order.TIME: "seconds", Order.STEPS: "env_steps"}


class Status(StrEnum):
    """How far a run is."""

    RUNNING = "running"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    FAILED = "failed"
    BROKEN = "broken"


def best(
    runs_dir: Annotated[Path, typer.Argument(metavar="RUNS_DIR", help="Folder that holds the runs.")] = Path("runs"),
    algorithm: Annotated[str | None, typer.Option(help="Only runs of this algorithm, such as ppo.")] = None,
    environment: Annotated[str | None, typer.Option(help="Only runs on this environment id.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only runs of this status.")] = None,
    sort: Annotated[
        Order, typer.Option(help="Best return first; or the shortest time, or the fewest environment steps.")
    ] = Order.RETURN,
    limit: Annotated[int, typer.Option(min=1, help="How many runs to show.")] = 20,
    confirm: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Test the shown runs again, on the same N fresh episodes, and re-rank."),
    ] = None,
    only_path: Annotated[bool, typer.Option("--path", help="Print the best checkpoint's path only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the shown runs as a JSON list.")] = False,
) -> None:
    """List runs, best first: by mean return, worst episode, longer-horizon return, fewer steps; or as --sort says.

    A study, and each finalist of a sweep, is listed by its best seed. Give a study's own folder as RUNS_DIR to list all
    its seeds.

    The keys of --json: run, run_dir, study (name, num_seeds, num_solved, num_interrupted, mean_return, env_steps: the
    last two interquartile means with 95 % intervals), best_checkpoint, recipe, algorithm, environment, set (final, or
    selection for a run without a final score), episodes, mean_return, min_return, ci95, longer_horizon_return,
    confirmed (with --confirm: set, episodes, mean_return, min_return, ci95), distinguishable (false if its interval
    overlaps the best run's), env_steps, seconds, status (finished, running, interrupted, failed or broken), problem
    (what is wrong with it). What is not known is null.
    """
    from cartpole_cli.runs.ranking import as_plain_data, best_of_studies, ranked, winner
    from cartpole_cli.runs.reading import read_runs

    if only_path and as_json:
        raise CartpoleError("--path, --json: give one of them")
    every = best_of_studies(ranked(read_runs(runs_dir)))
    if algorithm is not None:
        _check_algorithm(algorithm, every)
    found = [
        run
        for run in every
        if algorithm in {None, run.algorithm}
        and environment in {None, run.environment}
        and status in {None, run.status}
    ]
    found = _ordered(found, sort)
    shown, rest = found[:limit], found[limit:]
    if confirm is not None:
        shown = _ordered(_confirmed(shown, confirm), sort)
    leader = next(iter(ranked(shown)), None)
    if only_path:
        _print_path(winner(shown), runs_dir)
    elif as_json:
        print(json.dumps([as_plain_data(run, leader or run) for run in shown], indent=2), flush=True)
    elif leader is None:
        print(printable(f"no runs to show in {runs_dir}{_near(environment, every)}"))
    else:
        print_runs(shown, leader, rest)


def _ordered(runs: "Iterable[Run]", sort: Order) -> "list[Run]":
    from cartpole_cli.runs.ranking import ranked, shortest

    best_first = ranked(runs)
    return best_first if sort == Order.RETURN else shortest(best_first, SORT_FIELDS[sort])


def _check_algorithm(name: str, runs: "list[Run]") -> None:
    """A name that no run has is a mistake, or an algorithm that was not used yet."""
    if any(run.algorithm == name for run in runs):
        return
    from cartpole_cli.recipe.fields import VARIANTS

    known = list(VARIANTS["algorithm"][1])
    if name not in known:
        raise CartpoleError(f"--algorithm {name!r}: unknown; allowed: {', '.join(known)}{did_you_mean(name, known)}")


def _near(environment: str | None, runs: "list[Run]") -> str:
    """Which environments there are, where there is none of that id."""
    ids = sorted({run.environment for run in runs if run.environment})
    if environment is None or environment in ids or not ids:
        return ""
    return f": none on {environment}; there are {', '.join(ids)}{did_you_mean(environment, ids)}"


def _print_path(run: "Run | None", runs_dir: Path) -> None:
    if run is None:
        print(f"no run in {printable(str(runs_dir))} has a checkpoint with a score", file=sys.stderr)
        raise typer.Exit(EXIT_NO_RUN)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(run.directory.best) + b"\n")  # a path need not be text
    sys.stdout.flush()


def _confirmed(runs: "list[Run]", num_episodes: int) -> "Iterator[Run]":
    """The runs with their scores on fresh episodes."""
    with ScoringProgress("runs") as progress:
        show = progress.follow("tested again")
        import torch  # a second, so something is shown before it

        from cartpole_cli.scoring.confirm import confirm

        torch.set_num_threads(1)
        for done, run in enumerate(runs, start=1):
            if run.score is None or not run.has_checkpoint:
                yield run
            else:
                try:
                    yield replace(run, confirmed=confirm(run.directory, num_episodes))
                except CartpoleError as error:
                    yield replace(run, problem=str(error))
            show(done, len(runs))
