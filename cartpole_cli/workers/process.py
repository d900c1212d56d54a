"""A worker process: reads jobs from its standard input until that ends, and writes what comes of them.

    python -m cartpole_cli.workers.process FOLDER

Its temporary files are in that folder, which is the driver's to remove. It ignores Ctrl-C, which is for the driver to
answer, too; when the driver is gone, it leaves at once, in the middle of a job, and the folder goes.
"""

import os
import queue
import shutil
import signal
import sys
import tempfile
import threading

from cartpole_cli.workers.frames import Frame, read, write
from cartpole_cli.workers.task import answers


def main() -> None:
    """Work until the driver lets go of the pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    tempfile.tempdir = sys.argv[1]
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no message
    jobs: queue.SimpleQueue[Frame] = queue.SimpleQueue()

    def listen() -> None:
        try:
            while (frame := read(incoming)) is not None:
                jobs.put(frame)
        finally:
            shutil.rmtree(sys.argv[1], ignore_errors=True)
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        frame = jobs.get()
        function, _, content = frame.content.partition(b"\n")
        try:
            for answer in answers(function.decode(), frame.place, content):
                write(outgoing, answer)
        except OSError:  # the driver is gone
            return


if __name__ == "__main__":
    main()
