"""How far something is that workers may do: a bar on a terminal, plain lines elsewhere."""

import os
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 10.0
STDERR = 2


class ShareDisplay:
    """A context manager: the bar is taken down on exit."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._is_panel = console.is_terminal and not console.is_dumb_terminal
        self._last_line, self._last_done = time.perf_counter(), -1
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("left, at most:"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=1.0)
        self._stage, self._notice = "", ""

    def __enter__(self) -> "ShareDisplay":
        if self._is_panel:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._is_panel:
            self._progress.stop()

    def update(self, line: str, share: float, *, done: int, stage: str = "") -> None:
        """Show it: in words, as a share of the stage; a line is printed when more is done, and now and then."""
        now = time.perf_counter()
        if self._is_panel:
            if stage != self._stage:
                self._stage = stage
                self._progress.reset(self._task, total=1.0)
            self._progress.update(self._task, completed=share, description=self._notice or line)
        elif done != self._last_done or now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line, self._last_done = now, done
            self._console.print(line, markup=False, soft_wrap=True)

    def acknowledge(self, text: str) -> None:
        """Show at once that a signal was heard, from its handler: which may interrupt anything, printing too."""
        self._notice = text
        if not self._is_panel and not self._console.quiet:
            os.write(STDERR, f"{text}\n".encode())
