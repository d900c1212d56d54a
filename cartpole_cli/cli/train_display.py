"""What a person sees while training: a live panel on a terminal, plain lines elsewhere."""

import os
import time
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cartpole_cli.cli.train_views import Goal, RunView, Standing, StudyView, View
from cartpole_cli.training.reports import Report

SECONDS_BETWEEN_LINES = 2.0
MIN_WIDTH = 40
STDERR = 2


class PipeConsole(Console):
    """A console whose reader may leave: its user hears of it by BrokenPipeError."""

    def on_broken_pipe(self) -> NoReturn:
        """Called by `print`; without a number, as Typer has an exit code of its own for the system's error."""
        raise BrokenPipeError


class TrainingDisplay:
    """Follows the reports of a run or a study. A context manager: the live panel is taken down on exit.

    Args:
        console: where to write; a terminal wide and able enough gets the panel, anything else lines.
        goal: what is trained for, for progress and time left.
        num_seeds: of the study, or 1.
        steps_before: those of a run that goes on, which cost no time now.
        left: seeds of a study that goes on that have finished before.
        best: the best held-out return of a run that goes on.
    """

    def __init__(
        self,
        console: Console,
        goal: Goal,
        *,
        num_seeds: int = 1,
        steps_before: int = 0,
        left: Sequence[Standing] = (),
        best: float | None = None,
    ) -> None:
        self._console, self._steps_before = console, steps_before
        self._started = self._last_line = time.perf_counter()
        self._view: View = RunView(goal, best) if num_seeds == 1 else StudyView(goal, num_seeds, left)
        self._hints: set[str] = set()
        self._progress = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TextColumn("left:" if goal.stop_at_return is None else "left, at most:"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=goal.num_steps * num_seeds, completed=steps_before, speed="")
        able = console.is_terminal and not console.is_dumb_terminal and "utf" in console.encoding.lower()
        self._panel = able and console.width >= MIN_WIDTH
        self._table: Table | None = None
        self._notice = ""
        self._live = Live(get_renderable=self._shown, console=console, transient=True, refresh_per_second=8)

    def __enter__(self) -> "TrainingDisplay":
        if self._panel:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._panel:
            self._live.stop()

    def update(self, report: Report) -> None:
        """Show one more iteration."""
        view, now = self._view, time.perf_counter()
        view.see(report)
        per_second = (view.env_steps - self._steps_before) / max(now - self._started, 1e-9)
        speed = f"{_count(per_second)} steps/s"
        if self._panel:
            self._progress.update(self._task, completed=view.budget_used, speed=speed)
            self._table = view.table()
            return
        for hint in sorted({seed.hint for seed in report.seeds if seed.hint is not None} - self._hints):
            self._hints.add(hint)
            self._print(f"hint: {hint}")
        if view.evaluated or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._print(view.line(speed))

    def say(self, text: str) -> None:
        """Show on the panel what happens after the last iteration."""
        self._notice = text

    def acknowledge(self, text: str) -> None:
        """Show at once that a signal was heard, from its handler: which may interrupt anything, printing too."""
        self._notice = text
        if not self._panel and not self._console.quiet:
            os.write(STDERR, f"{text}\n".encode())

    def _shown(self) -> Group:
        parts = [self._progress, self._table, Text(self._notice, style="dim") if self._notice else None]
        return Group(*(part for part in parts if part is not None))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)


def _count(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
