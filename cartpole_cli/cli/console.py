"""What a person sees: a live panel on a terminal, plain lines elsewhere."""

import math
import time
from collections import deque
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from cartpole_cli.training.trainer import Report, SeedReport

SECONDS_BETWEEN_LINES = 2.0
SPARKLINE_WIDTH = 24
BLOCKS = "▁▂▃▄▅▆▇█"
MIN_WIDTH = 40


class TrainingDisplay:
    """Follows the reports of one run. A context manager: the live panel is taken down on exit.

    Args:
        console: where to write; a terminal wide and able enough gets the panel, anything else lines.
        num_steps: the budget, for progress and time left.
        steps_before: those of a run that goes on, which cost no time now.
    """

    def __init__(self, console: Console, *, num_steps: int, steps_before: int = 0) -> None:
        self._console, self._steps_before = console, steps_before
        self._started = self._last_line = time.perf_counter()
        self._returns: deque[float] = deque(maxlen=SPARKLINE_WIDTH)
        self._best: float | None = None
        self._hints: set[str] = set()
        self._progress = Progress(
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("", total=num_steps, completed=steps_before, speed="")
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
        seed, now = report.seeds[0], time.perf_counter()
        speed = (seed.env_steps - self._steps_before) / max(now - self._started, 1e-9)
        if seed.episode_return is not None and math.isfinite(seed.episode_return):
            self._returns.append(seed.episode_return)
        evaluation = seed.evaluation
        if evaluation is not None and seed.improved:
            self._best = evaluation.mean
        if seed.hint is not None and seed.hint not in self._hints and not self._panel:
            self._hints.add(seed.hint)
            self._print(f"hint: {seed.hint}")
        if self._panel:
            self._progress.update(self._task, completed=seed.env_steps, speed=f"{_count(speed)} steps/s")
            self._live.update(Group(self._progress, self._table(seed)))
        elif evaluation is not None or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            self._print(self._line(report.iteration, seed, speed))

    def say(self, text: str) -> None:
        """Show on the panel what goes on after the last iteration."""
        if self._panel:
            self._live.update(Group(self._live.renderable, Text(text, style="dim")))

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True, markup=False)

    def _table(self, seed: SeedReport) -> Table:
        table = Table.grid(padding=(0, 1))
        table.add_column(justify="right", style="dim", no_wrap=True)
        table.add_column(overflow="fold")
        trend = sparkline(list(self._returns))
        table.add_row("return", Text(f"{_number(self._returns[-1])}  {trend}" if self._returns else "no episode yet"))
        table.add_row("held out, best", Text("not evaluated yet" if self._best is None else _number(self._best)))
        for name, value in seed.diagnostics.items():
            table.add_row(name.replace("_", " "), Text(_number(value)))
        if seed.hint is not None:
            table.add_row("hint", Text(seed.hint, style="dim"))
        return table

    def _line(self, iteration: int, seed: SeedReport, speed: float) -> str:
        parts = [f"iteration {iteration}", f"steps {seed.env_steps}", f"{_count(speed)} steps/s"]
        if seed.episode_return is not None:
            parts.append(f"return {_number(seed.episode_return)}")
        if seed.evaluation is not None:
            parts.append(f"held out {_number(seed.evaluation.mean)}")
        if seed.confirmation is not None:
            parts.append(f"confirmation {_number(seed.confirmation.mean)}")
        if self._best is not None:
            parts.append(f"best {_number(self._best)}")
        parts += [f"{name} {_number(value)}" for name, value in seed.diagnostics.items()]
        return "  ".join(parts)


def sparkline(values: list[float]) -> str:
    """One character per value, from the lowest to the highest block."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * scale)] for value in values)


def _number(value: float) -> str:
    if math.isnan(value):
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _count(value: float) -> str:
    return f"{value / 1000:.1f}k" if value >= 1000 else f"{value:.0f}"
