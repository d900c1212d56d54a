"""The table of `cartpole best`."""

from typing import TYPE_CHECKING

from cartpole_cli.cli.tables import Column, print_left_out, print_lines, print_table
from cartpole_cli.cli.words import count

if TYPE_CHECKING:
    from cartpole_cli.runs.fields import Score
    from cartpole_cli.runs.reading import Run, Study

OVERLAPS, SELECTION = "~", "*"
LEGEND = {
    OVERLAPS: "not distinguishable from the best run: their 95 % intervals overlap",
    SELECTION: "not scored on the final set yet: the return on the episodes its checkpoint was chosen on",
}
MOST_NAMES = 5
DISPENSABLE = ("recipe", "environment", "time", "algorithm", "env steps", "worst", "status", "95 % interval", "")


def print_runs(runs: "list[Run]", leader: "Run", rest: "list[Run]") -> None:
    """Print the runs, the leader in bold, the meaning of the marks, and how many runs are not shown."""
    from rich.console import Console

    console = Console(highlight=False)
    missing = print_table(console, _columns(runs, leader), DISPENSABLE, bold=runs.index(leader))
    print_lines(console, *_notes(runs, leader, rest))
    print_left_out(console, missing)


def _columns(runs: "list[Run]", leader: "Run") -> list[Column]:
    again = any(run.confirmed for run in runs)
    return [
        Column("run", False, [run.name for run in runs]),
        Column("recipe", False, [run.recipe or "-" for run in runs]),
        Column("algorithm", False, [run.algorithm or "-" for run in runs]),
        Column("environment", False, [run.environment or "-" for run in runs]),
        *_score_columns("return", [run.score for run in runs]),
        *(_score_columns("again", [run.confirmed for run in runs]) if again else ()),
        Column("", False, [_mark(run, leader) for run in runs]),
        Column("env steps", True, ["-" if run.env_steps is None else f"{run.env_steps:,}" for run in runs]),
        Column("time", True, [_duration(run.seconds) for run in runs]),
        Column("status", False, [run.status for run in runs]),
    ]


def _score_columns(heading: str, scores: "list[Score | None]") -> list[Column]:
    figures = [_figures(score) for score in scores]
    headings = (heading, "95 % interval", "worst")
    return [Column(heading, True, [row[place] for row in figures]) for place, heading in enumerate(headings)]


def _figures(score: "Score | None") -> tuple[str, str, str]:
    if score is None:
        return "-", "-", "-"
    low, high = score.mean_return.interval
    return _number(score.mean_return.value), f"{_number(low)} to {_number(high)}", _number(score.min_return)


def _mark(run: "Run", best: "Run") -> str:
    from cartpole_cli.runs.ranking import distinguishable

    selection = run.score is not None and run.score.set_name == "selection"
    return (OVERLAPS if distinguishable(run, best) is False else "") + (SELECTION if selection else "")


def _notes(runs: "list[Run]", leader: "Run", rest: "list[Run]") -> list[str]:
    """What the table's marks mean, what is wrong with broken runs, what is not shown, and what is under way."""
    from cartpole_cli.runs.reading import RUNNING

    marks = "".join(_mark(run, leader) for run in runs)
    notes = [f"{mark} {meaning}" for mark, meaning in LEGEND.items() if mark in marks]
    if any(run.confirmed for run in runs):
        notes.append("again: the checkpoint's return on fresh episodes, the same for all; these decide the order")
    if len({run.environment for run in runs if run.score and run.environment}) > 1:
        notes.append("returns of different environments may not compare: --environment chooses one")
    notes += [f"{run.name}: {run.problem}" for run in runs if run.problem]
    notes += [f"{run.name}: {_standing(run.study)}" for run in runs if run.study]
    if rest:
        broken = sum(run.problem is not None for run in rest)
        notes.append(f"{len(rest)} more{f', {broken} of them broken' if broken else ''}: --limit shows them")
    running = [f"{run.name} ({_so_far(run)})" for run in [*runs, *rest] if run.status == RUNNING]
    if running:
        more = f" and {len(running) - MOST_NAMES} more (--status running)" if len(running) > MOST_NAMES else ""
        notes.append(f"running: {', '.join(running[:MOST_NAMES])}{more}")
    return notes


def _so_far(run: "Run") -> str:
    return "no iteration yet" if run.env_steps is None else f"{count(run.env_steps, 'step')} so far"


def _standing(study: "Study") -> str:
    text = f"best of {count(study.num_seeds, 'seed')}"
    if study.mean_return is not None:
        low, high = study.mean_return.interval
        text += f"; final return, IQM {_number(study.mean_return.value)} ({_number(low)} to {_number(high)})"
    if study.num_solved is not None:
        text += f"; {study.num_solved} solved"
    if study.num_interrupted:
        text += f", {study.num_interrupted} cut short"
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
