"""A worker process: reads jobs from its standard input until that ends, and writes what comes of them.

    python -m cartpole_cli.workers.process

It ignores Ctrl-C, which is for the driver to answer, and leaves at once when the driver is gone, in the middle of a
job, too.
"""

import os
import queue
import signal
import sys
import threading
import time

from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.workers.frames import ERROR, RESULT, SHARE, Frame, read, write
from cartpole_cli.workers.interface import job_named

SECONDS_BETWEEN_SHARES = 0.2


def main() -> None:
    """Work until the driver lets go of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    jobs: queue.SimpleQueue[Frame] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while (frame := read(incoming)) is not None:
                jobs.put(frame)
        finally:
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        frame, last = jobs.get(), 0.0
        try:
            function, _, content = frame.content.partition(b"\n")
            for said in job_named(function.decode())(content):
                if isinstance(said, bytes):
                    write(outgoing, Frame(RESULT, frame.place, said))
                elif time.monotonic() - last >= SECONDS_BETWEEN_SHARES:
                    last = time.monotonic()
                    write(outgoing, Frame(SHARE, frame.place, repr(said).encode()))
        except CartpoleError as error:
            write(outgoing, Frame(ERROR, frame.place, str(error).encode()))
        except Exception as error:  # whatever it is, the driver is who tells it
            write(outgoing, Frame(ERROR, frame.place, f"{type(error).__name__}: {one_line(error)}".encode()))


if __name__ == "__main__":
    main()
