"""What a person sees while training: a live panel on a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from cartpole_cli.cli.views import RunView, Standing, StudyView, View
from cartpole_cli.training.reports import Report

SECONDS_BETWEEN_LINES = 2.0
MIN_WIDTH = 40


class TrainingDisplay:
    """Follows the reports of a run or a study. A context manager: the live panel is taken down on exit.

    Args:
        console: where to write; a terminal wide and able enough gets the panel, anything else lines.
        num_steps: the budget of a seed, for progress and time left.
        num_seeds: of the study, or 1.
        steps_before: those of a run that goes on, which cost no time now.
        left: seeds of a study that goes on that have finished before.
    """

    def __init__(
        self,
        console: Console,
        *,
        num_steps: int,
        num_seeds: int = 1,
        steps_before: int = 0,
        left: Sequence[Standing] = (),
    ) -> None:
        self._console, self._steps_before = console, steps_before
        self._started = self._last_line = time.perf_counter()
        self._view: View = RunView(num_steps) if num_seeds == 1 else StudyView(num_steps, num_seeds, left)
        self._hints: set[str] = set()
        self._progress = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=num_steps * num_seeds, completed=steps_before, speed="")
        able = console.is_terminal and not console.is_dumb_terminal and "utf" in console.encoding.lower()
        self._panel = able and console.width >= MIN_WIDTH
        self._live = Live(self._progress, console=console, transient=True, refresh_per_second=8)

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
            self._live.update(Group(self._progress, view.table()))
            return
        for hint in sorted({seed.hint for seed in report.seeds if seed.hint is not None} - self._hints):
            self._hints.add(hint)
            self._print(f"hint: {hint}")
        if view.evaluated or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._print(view.line(speed))

    def say(self, text: str) -> None:
        """Show on the panel what goes on after the last iteration."""
        if self._panel:
            self._live.update(Group(self._live.renderable, Text(text, style="dim")))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)


def _count(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
