"""How far scoring is, on stderr: a bar on a terminal, a line every two seconds elsewhere."""

import sys
import time
from collections.abc import Callable
from types import TracebackType

from cartpole_cli.errors import printable

SECONDS_BETWEEN_LINES = 2.0


class ScoringProgress:
    """A context manager: the bars are taken down on exit.

    Args:
        unit: of what is counted, as lines call it.
    """

    def __init__(self, unit: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        console = Console(stderr=True, highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
        )
        self._encoding = console.encoding
        self._lines = not console.is_terminal
        self._progress = Progress(*columns, console=console, transient=True)
        self._unit = unit

    def __enter__(self) -> "ScoringProgress":
        if not self._lines:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._lines:
            self._progress.stop()

    def follow(self, name: str) -> Callable[[int, int], None]:
        """What is to be told (done, of how many) about something new."""
        name = printable(name, self._encoding)
        task = self._progress.add_task(name, total=None)
        self._last_line = time.perf_counter()

        def show(done: int, total: int) -> None:
            now = time.perf_counter()
            if not self._lines:
                self._progress.update(task, completed=done, total=total)
            elif now - self._last_line >= SECONDS_BETWEEN_LINES:
                self._last_line = now
                print(f"{name}: {done} of {total} {self._unit}", file=sys.stderr, flush=True)

        return show
