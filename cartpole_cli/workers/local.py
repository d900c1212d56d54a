"""Processes of this machine, each started anew (never forked: torch's threads do not survive that)."""

import os
import queue
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType

from cartpole_cli.errors import CartpoleError
from cartpole_cli.workers.frames import ERROR, JOB, RESULT, Frame, read, write
from cartpole_cli.workers.interface import MAX_TRIES, Lost, Said

SECONDS_TO_LEAVE, SECONDS_BETWEEN_LOOKS = 2.0, 0.5
"""Of looks at whoever asks, who may want to stop."""


def cores() -> int:
    """Those of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalWorkers:
    """`count` processes. A job whose process is lost is done again by another, `MAX_TRIES` times in all.

    Args:
        count: how many.
        tell: is told, in a line, of each process that is lost.
    """

    def __init__(self, count: int, tell: Callable[[str], None]) -> None:
        self.count, self._tell = count, tell
        self._processes: list[subprocess.Popen[bytes]] = []
        self._heard: queue.SimpleQueue[tuple[subprocess.Popen[bytes], Frame | None]] = queue.SimpleQueue()

    def __str__(self) -> str:
        return f"{self.count} processes"

    def __enter__(self) -> "LocalWorkers":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them all, whatever they are at."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait(SECONDS_TO_LEAVE)
        self._processes = []

    def run(self, function: str, jobs: Sequence[bytes]) -> Iterator[tuple[int, Said]]:
        """As `Workers.run`. If it is left before its end, the processes have to be ended, too."""
        waiting, tries = deque(range(len(jobs))), [0] * len(jobs)
        under_way: dict[subprocess.Popen[bytes], int] = {}
        idle, left, shares = list(self._processes), len(jobs), [0.0] * len(jobs)

        def hand_out() -> None:
            while waiting and len(under_way) < self.count:
                process = idle.pop() if idle else self._start()
                under_way[process] = place = waiting.popleft()
                tries[place] += 1
                self._give(process, place, function.encode() + b"\n" + jobs[place])

        while left:
            hand_out()
            try:
                process, frame = self._heard.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                place = next(iter(under_way.values()))
                yield place, shares[place]
                continue
            if process not in under_way:
                continue  # it was lost while it had nothing to do
            place = under_way[process]
            if frame is None:
                del under_way[process]
                self._lose(process, is_last_try=tries[place] == MAX_TRIES)
                if tries[place] < MAX_TRIES:
                    waiting.appendleft(place)
                else:
                    left -= 1
                    yield place, Lost(MAX_TRIES)
            elif frame.kind == ERROR:
                raise CartpoleError(*frame.content.decode().splitlines())
            elif frame.kind == RESULT:
                del under_way[process]
                idle.append(process)
                left -= 1
                hand_out()  # before the result is looked at, so that nobody waits
                yield place, frame.content
            else:
                shares[place] = float(frame.content)
                yield place, shares[place]

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cartpole_cli.workers.process"]
        # A process group of its own, so that a terminal's Ctrl-C is not for it.
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._processes.append(process)
        threading.Thread(target=self._listen, args=(process,), daemon=True).start()
        return process

    def _listen(self, process: subprocess.Popen[bytes]) -> None:
        """Pass on what the process says, and that it is gone."""
        assert process.stdout is not None
        with suppress(ValueError, OSError):
            while (frame := read(process.stdout)) is not None:
                self._heard.put((process, frame))
        self._heard.put((process, None))

    @staticmethod
    def _give(process: subprocess.Popen[bytes], place: int, job: bytes) -> None:
        assert process.stdin is not None
        with suppress(OSError):  # that it is gone, its listener tells
            write(process.stdin, Frame(JOB, place, job))

    def _lose(self, process: subprocess.Popen[bytes], *, is_last_try: bool) -> None:
        """A process that has gone, or has written what is no message."""
        process.kill()
        process.wait()
        self._processes.remove(process)
        what = "is given up" if is_last_try else "is done again"
        self._tell(f"note: a worker was lost (exit code {process.returncode}); its work {what}")
