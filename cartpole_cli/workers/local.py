"""Processes of this machine, each started anew (never forked: torch's threads do not survive that)."""

import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import TracebackType

from cartpole_cli.workers.frames import JOB, Frame, read, write
from cartpole_cli.workers.interface import Said
from cartpole_cli.workers.ledger import Ledger, fate

SECONDS_TO_LEAVE, SECONDS_BETWEEN_LOOKS = 2.0, 0.5
"""Of checks whether the asking process wants to stop."""


def cores() -> int:
    """Those of this machine that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class LocalWorkers:
    """`count` processes. A job whose process is lost is done again by another, `MAX_TRIES` times in all.

    Args:
        count: how many.
        tell: is told, in a line, of each process that is lost.
    """

    seconds_to_begin = 0

    def __init__(self, count: int, tell: Callable[[str], None]) -> None:
        self.count, self._tell = count, tell
        self._processes: list[subprocess.Popen[bytes]] = []
        self._heard: queue.SimpleQueue[tuple[subprocess.Popen[bytes], Frame | None]] = queue.SimpleQueue()

    def __str__(self) -> str:
        return f"{self.count} processes"

    def __enter__(self) -> "LocalWorkers":
        self._scratch = tempfile.mkdtemp(prefix="cartpole-")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End them all, whatever they are at."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):  # a slow disk holds it
                process.wait(SECONDS_TO_LEAVE)
        self._processes = []
        shutil.rmtree(self._scratch, ignore_errors=True)

    def run(self, function: str, jobs: Sequence[bytes]) -> Iterator[tuple[int, Said]]:
        """As `Workers.run`. If it is left before its end, the processes have to be ended, too."""
        ledger, idle = Ledger(len(jobs)), list(self._processes)
        under_way: dict[subprocess.Popen[bytes], int] = {}

        def hand_out() -> None:
            for gone in [process for process in idle if process.poll() is not None]:
                idle.remove(gone)
                self._forget(gone)
            while ledger.waiting and len(under_way) < self.count:
                process = idle.pop() if idle else self._start()
                under_way[process] = place = ledger.take()
                self._give(process, place, function.encode() + b"\n" + jobs[place])

        while ledger.left:
            hand_out()
            try:
                process, frame = self._heard.get(timeout=SECONDS_BETWEEN_LOOKS)
            except queue.Empty:
                place = next(iter(under_way.values()))
                yield place, ledger.share(place)
                continue
            if process not in under_way:
                continue  # it was lost while it had nothing to do
            place = under_way[process]
            if frame is None:
                del under_way[process]
                lost = ledger.lost(place)
                self._lose(process, fate(lost))
                if lost is not None:
                    yield place, lost
                continue
            said = ledger.heard(frame)
            if isinstance(said, bytes):
                del under_way[process]
                idle.append(process)
                hand_out()  # before the result is looked at, so that nobody waits
            yield place, said

    def _start(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "cartpole_cli.workers.process", self._scratch]
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

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        self._processes.remove(process)

    def _lose(self, process: subprocess.Popen[bytes], its_fate: str) -> None:
        """A process that has gone, or has written what is no message."""
        self._forget(process)
        self._tell(f"note: a worker was lost (exit code {process.returncode}); its work is {its_fate}")
