"""How a run or a study ended, in words."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from cartpole_cli.errors import printable

if TYPE_CHECKING:
    from rich.table import Table

    from cartpole_cli.estimate import Estimate
    from cartpole_cli.runs.summary import StudySummary, Summary


@runtime_checkable
class Task(Protocol):
    """What was trained on."""

    @property
    def id(self) -> str: ...
    @property
    def is_cart_pole(self) -> bool: ...


def as_argument(path: str | Path) -> str:
    """A path as a shell takes it."""
    return printable(shlex.quote(str(path)))


def describe_run(summary: "Summary", task: Task) -> str:
    """The result in a few lines, and what to do with it."""
    effort = f"{summary.env_steps} steps, {summary.seconds:.1f} s"
    if summary.status == "interrupted":
        return _interrupted(summary, effort)
    if summary.status == "failed":
        return describe_failure(summary)
    if summary.mean_return is None:
        return f"finished after {effort}, without a best.pth to score"
    worst, episodes = f"worst {summary.min_return:.1f}", f"{summary.episodes} episodes"
    return (
        f"{'solved' if summary.solved else 'finished'} after {effort}\n"
        f"held-out return {_interval(summary.mean_return, '{:.1f}', worst, episodes)}\n"
        f"best checkpoint: {printable(str(summary.best_checkpoint))}\n"
        f"{_next_steps(summary, task)}"
    )


def describe_failure(summary: "Summary | StudySummary") -> str:
    """Why a run has no result, and what it has."""
    failures = [seed for seed in _seeds(summary) if seed.failure]
    if len(failures) > 1:
        return f"{printable(summary.run_dir)}: all {len(failures)} seeds failed; try a lower trainer.learning_rate"
    (failed,) = failures
    return (
        f"failed after {failed.env_steps} steps, {failed.seconds:.1f} s: not finite: {failed.failure}; "
        f"try a lower trainer.learning_rate\n"
        f"last good checkpoint: {printable(failed.best_checkpoint or 'none yet')}"
    )


def describe_rest(summary: "Summary | StudySummary", num_steps: int, changed: Sequence[str]) -> str:
    """Why a resume has nothing to do, which changes were not applied, and what to ask for instead."""
    seeds = _seeds(summary)
    if all(seed.solved for seed in seeds):
        state, more = "solved", "trainer.stop_at_return=null"
    elif all(seed.failure for seed in seeds):
        state, more = "failed", None
    else:
        state, more = f"spent its budget of {num_steps} steps", f"trainer.num_steps={2 * num_steps}"
    left = f" ({', '.join(changed)}: not applied)" if changed else ""
    go_on = f"; to go on: cartpole train --resume {as_argument(summary.run_dir)} {more}" if more else ""
    return f"nothing to do{left}: it has {'been ' if state == 'solved' else ''}{state}{go_on}"


def _seeds(summary: "Summary | StudySummary") -> "tuple[Summary, ...]":
    from cartpole_cli.runs.summary import Summary

    return (summary,) if isinstance(summary, Summary) else summary.seeds


def _interrupted(summary: "Summary | StudySummary", effort: str) -> str:
    return f"interrupted after {effort}; to go on: cartpole train --resume {as_argument(summary.run_dir)}"


def _next_steps(summary: "Summary | StudySummary", task: Task) -> str:
    """What can be done with the result: only a cart-pole's policy can be exported."""
    run = as_argument(summary.run_dir)
    module = f" --environment {as_argument(task.id)}" if ":" in task.id else ""
    export = f"\n      cartpole export {run}" if task.is_cart_pole else ""
    return f"next: cartpole eval {run}{module}{export}"


def study_table(summary: "StudySummary") -> "Table":
    """Interquartile means over the seeds, with 95 % bootstrap intervals, and the seeds that stand out."""
    from rich.table import Table
    from rich.text import Text

    from cartpole_cli.runs.summary import score_of

    table = Table.grid(padding=(0, 2))
    count = len(summary.seeds)
    if summary.mean_return is not None:
        table.add_row("final return, IQM", Text(_interval(summary.mean_return, "{:.1f}")))
    table.add_row("env steps, IQM", Text(_interval(summary.env_steps, "{:,.0f}")))
    table.add_row("solved", Text(f"{summary.num_solved} of {count} ({summary.num_solved / count:.0%})"))
    for seed in summary.seeds:
        if seed.seed == summary.worst_seed:
            table.add_row("worst seed", Text(f"s{seed.seed}: {score_of(seed):.1f} after {seed.env_steps:,} steps"))
    if summary.num_interrupted:
        counted = f"{summary.num_interrupted} of {count}, each counted with its best held-out return so far"
        table.add_row("cut short", Text(counted))
    if summary.num_unscored:
        table.add_row("not counted", Text(f"{summary.num_unscored} of {count}, which have no held-out return"))
    for seed in summary.seeds:
        if seed.failure is not None:
            table.add_row("failed", Text(f"s{seed.seed}: not finite: {seed.failure}"))
    return table


def describe_study(summary: "StudySummary", task: Task) -> str:
    """What to do next, after the table."""
    effort = f"{sum(seed.env_steps for seed in summary.seeds):,} steps, {summary.seconds:.1f} s"
    if summary.status == "interrupted":
        return _interrupted(summary, effort)
    after = f"{summary.status} after {effort}\nstudy: {printable(summary.run_dir)}"
    return after if summary.mean_return is None else f"{after}\n{_next_steps(summary, task)}"


def _interval(estimate: "Estimate", form: str, *more: str) -> str:
    value, low, high = (form.format(number) for number in (estimate.value, *estimate.interval))
    return f"{value} ({', '.join((f'95 % interval {low} to {high}', *more))})"
