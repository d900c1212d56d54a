"""`cartpole best`."""

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cartpole_cli.cli.tables import Column, fitting, plain_table, rich_table
from cartpole_cli.errors import printable

if TYPE_CHECKING:
    from cartpole_cli.runs.fields import Score
    from cartpole_cli.runs.reading import Run, Study

EXIT_NO_RUN = 1
SECONDS_BETWEEN_LINES = 1.0
OVERLAPS, SELECTION = "~", "*"
LEGEND = {
    OVERLAPS: "not distinguishable from the best run: their 95 % intervals overlap",
    SELECTION: "not scored on the final set yet: the return on the episodes its checkpoint was chosen on",
}
DISPENSABLE = ("recipe", "environment", "time", "algorithm", "env steps", "worst", "status", "95 % interval", "")


def best(
    runs_dir: Annotated[Path, typer.Argument(metavar="RUNS_DIR", help="Where runs are kept.")] = Path("runs"),
    algorithm: Annotated[str | None, typer.Option(help="Only runs of this algorithm, as in ppo.")] = None,
    environment: Annotated[str | None, typer.Option(help="Only runs on this environment id.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many runs to show.")] = 20,
    confirm: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Test the shown runs again, on the same N fresh episodes, and re-rank."),
    ] = None,
    only_path: Annotated[bool, typer.Option("--path", help="Print the best checkpoint's path only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the shown runs as a JSON list.")] = False,
) -> None:
    """List runs, best first: by mean return, worst episode, longer-horizon return, fewer steps.

    Of a study the best seed is listed; all of them, where RUNS_DIR is the study's own folder.

    The keys of --json: run, run_dir, study (name, num_seeds, num_solved, mean_return, env_steps: interquartile means
    with 95 % intervals), best_checkpoint, recipe, algorithm, environment, set (final, or selection for a
    run without a final score), episodes, mean_return, min_return, ci95, longer_horizon_return, confirmed (with
    --confirm: set, episodes, mean_return, min_return, ci95), distinguishable (false: its interval overlaps the best
    run's), env_steps, seconds, status (finished, running, interrupted, failed or broken), problem (what is
    wrong with it). What is not known is null.
    """
    from cartpole_cli.errors import CartpoleError
    from cartpole_cli.runs.ranking import as_plain_data, best_of_studies, ranked, winner
    from cartpole_cli.runs.reading import read_runs

    if only_path and as_json:
        raise CartpoleError("--path, --json: give one of them")
    found = [
        run
        for run in best_of_studies(ranked(read_runs(runs_dir)))
        if algorithm in {None, run.algorithm} and environment in {None, run.environment}
    ]
    shown, rest = found[:limit], found[limit:]
    if confirm is not None:
        shown = ranked(_confirmed(shown, confirm))
    if only_path:
        _print_path(winner(shown), runs_dir)
    elif as_json:
        print(json.dumps([as_plain_data(run, shown[0]) for run in shown], indent=2), flush=True)
    else:
        _print_table(shown, rest, runs_dir)


def _print_path(run: "Run | None", runs_dir: Path) -> None:
    if run is None:
        print(f"no run in {printable(str(runs_dir))} has a checkpoint with a score", file=sys.stderr)
        raise typer.Exit(EXIT_NO_RUN)
    sys.stdout.flush()
    sys.stdout.buffer.write(os.fsencode(run.directory.best) + b"\n")  # a path need not be text
    sys.stdout.flush()


def _confirmed(runs: "list[Run]", num_episodes: int) -> "Iterator[Run]":
    """The runs with their scores on fresh episodes; how far it is goes to stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from cartpole_cli.errors import CartpoleError

    console = Console(stderr=True, highlight=False)
    columns = (TextColumn("testing again"), BarColumn(), MofNCompleteColumn())
    last_line = time.perf_counter()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(runs))
        import torch  # a second, so something is shown before it

        from cartpole_cli.runs.confirm import confirm

        torch.set_num_threads(1)
        for count, run in enumerate(runs, start=1):
            if run.score is None or not run.has_checkpoint:
                yield run
            else:
                try:
                    yield replace(run, confirmed=confirm(run.directory, num_episodes))
                except CartpoleError as error:
                    yield replace(run, problem=str(error))
            progress.advance(task)
            if not console.is_terminal and time.perf_counter() - last_line >= SECONDS_BETWEEN_LINES:
                last_line = time.perf_counter()
                print(f"tested again: {count} of {len(runs)}", file=sys.stderr, flush=True)


def _print_table(runs: "list[Run]", rest: "list[Run]", runs_dir: Path) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    columns = _columns(runs, console.encoding) if runs else []
    lines = _notes(runs, rest) if runs else [f"no runs to show in {runs_dir}"]
    if console.is_terminal:
        shown = fitting(columns, console.width, DISPENSABLE)
        missing = [column.heading for column in columns if column not in shown]
        lines += [f"left out, the terminal is too narrow: {', '.join(filter(None, missing))}"] if missing else []
        console.print(rich_table(shown))
    else:
        lines = [*plain_table(columns), *lines]
    text = "\n".join(printable(line, console.encoding) for line in lines)
    console.print(text, markup=False, soft_wrap=True)


def _columns(runs: "list[Run]", encoding: str) -> list[Column]:
    again = any(run.confirmed for run in runs)
    columns = [
        Column("run", False, [run.name for run in runs]),
        Column("recipe", False, [run.recipe or "-" for run in runs]),
        Column("algorithm", False, [run.algorithm or "-" for run in runs]),
        Column("environment", False, [run.environment or "-" for run in runs]),
        *_score_columns("return", [run.score for run in runs]),
        *(_score_columns("again", [run.confirmed for run in runs]) if again else ()),
        Column("", False, [_mark(run, runs[0]) for run in runs]),
        Column("env steps", True, ["-" if run.env_steps is None else f"{run.env_steps:,}" for run in runs]),
        Column("time", True, [_duration(run.seconds) for run in runs]),
        Column("status", False, [run.status for run in runs]),
    ]
    return [replace(column, cells=[printable(cell, encoding) for cell in column.cells]) for column in columns]


def _score_columns(heading: str, scores: "list[Score | None]") -> list[Column]:
    figures = [_figures(score) for score in scores]
    headings = (heading, "95 % interval", "worst")
    return [Column(heading, True, [row[place] for row in figures]) for place, heading in enumerate(headings)]


def _figures(score: "Score | None") -> tuple[str, str, str]:
    if score is None:
        return "-", "-", "-"
    low, high = score.ci95
    return _number(score.mean_return), f"{_number(low)} to {_number(high)}", _number(score.min_return)


def _mark(run: "Run", best: "Run") -> str:
    from cartpole_cli.runs.ranking import distinguishable

    selection = run.score is not None and run.score.set_name == "selection"
    return (OVERLAPS if distinguishable(run, best) is False else "") + (SELECTION if selection else "")


def _notes(runs: "list[Run]", rest: "list[Run]") -> list[str]:
    """What the table's marks mean, what is wrong with broken runs, and what is not shown."""
    marks = "".join(_mark(run, runs[0]) for run in runs)
    notes = [f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in marks]
    if any(run.confirmed for run in runs):
        notes.append("again: the checkpoint's return on fresh episodes, the same for all; these decide the order")
    if len({run.environment for run in runs if run.score}) > 1:
        notes.append("returns of different environments may not compare: --environment chooses one")
    notes += [f"{run.name}: {run.problem}" for run in runs if run.problem]
    notes += [f"{run.name}: {_standing(run.study)}" for run in runs if run.study]
    if rest:
        broken = sum(run.problem is not None for run in rest)
        notes.append(f"{len(rest)} more{f', {broken} of them broken' if broken else ''}: --limit shows them")
    return notes


def _standing(study: "Study") -> str:
    text = f"best of {study.num_seeds} seeds"
    if study.mean_return is not None:
        low, high = study.mean_return.ci95
        text += f"; final return, IQM {_number(study.mean_return.iqm)} ({_number(low)} to {_number(high)})"
    if study.num_solved is not None:
        text += f"; {study.num_solved} solved"
    return f"{text}; all: cartpole best {study.directory.path}"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 1e7 else f"{value:.3g}"


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d}"
