"""A stranger's ONNX file, loaded and run by a process that may crash, use up its memory or never return.

What a file does may depend on what it is given: a loop as long as an observation is large ends for the first and not
for the next, and so does a tensor of such a size. That is why every call is made over there, and not a trial only; to
refuse loops would leave the tensors.

`python -m cartpole_cli.deploy.sandbox SECONDS` is that process. Each request on stdin has an answer on stdout.
"""

import faulthandler
import json
import os
import signal
import struct
import subprocess
import sys
import weakref
from contextlib import suppress
from typing import IO

import numpy as np

from cartpole_cli.deploy.onnx_session import FloatArray, OnnxSession
from cartpole_cli.errors import CartpoleError

if sys.platform != "win32":
    import resource

COMMAND = (sys.executable, "-P", "-m", "cartpole_cli.deploy.sandbox")
SECONDS = 30
"""For loading, and for each batch of rows."""
BYTES = 4 << 30
"""Of addresses: what the process may ask for, where the system has such limits."""
ROWS = 4096
"""Of a batch."""
LOAD, RUN, RUN_EACH = range(3)
REQUEST = struct.Struct("<BIQQ")
"""What to do, with which of the sessions, with how many rows (0: one observation, of shape [4]), and the bytes."""
ANSWER = struct.Struct("<?Q")
"""Whether it was done, and how many bytes say what came of it."""


class Sandbox:
    """The process, from here to the end of the last of its sessions.

    Raises:
        CartpoleError: it cannot be started.
    """

    def __init__(self) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        words = [*COMMAND, str(SECONDS)]
        try:
            self._process = subprocess.Popen(
                words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise CartpoleError(f"cannot be run in a process of its own ({error.strerror})") from error
        self._num_sessions = 0
        weakref.finalize(self, _end, self._process)

    def open(self, model: bytes) -> "SandboxedSession":
        """Load a model.

        Raises:
            CartpoleError: onnxruntime does not load it, or comes to harm.
        """
        metadata = json.loads(self.ask(LOAD, 0, 0, model))
        self._num_sessions += 1
        return SandboxedSession(self, self._num_sessions - 1, metadata)

    def ask(self, task: int, session: int, num_rows: int, content: bytes) -> bytes:
        """What came of a request.

        Raises:
            CartpoleError: what was wrong with it, or became of the process.
        """
        given, answers = self._process.stdin, self._process.stdout
        assert given is not None
        assert answers is not None
        try:
            given.write(REQUEST.pack(task, session, num_rows, len(content)) + content)
            given.flush()
            done, length = ANSWER.unpack(answers.read(ANSWER.size))
            answer = answers.read(length)
        except (OSError, struct.error):
            raise CartpoleError(_what_became_of(self._process)) from None
        if not done:
            raise CartpoleError(answer.decode())
        return answer


class SandboxedSession:
    """A model that is loaded there; as `OnnxSession`, but that outputs are flat."""

    def __init__(self, sandbox: Sandbox, place: int, metadata: dict[str, str]) -> None:
        self.metadata = metadata
        self._sandbox, self._place = sandbox, place

    def run(self, observation: FloatArray) -> FloatArray:
        if observation.ndim == 1:
            return self._ask(RUN, 0, observation)
        return np.concatenate([self._ask(RUN, len(rows), rows) for rows in _batches(observation)])

    def run_each(self, observation: FloatArray) -> FloatArray:
        values = [self._ask(RUN_EACH, len(rows), rows).reshape(len(rows), -1) for rows in _batches(observation)]
        return np.concatenate(values)

    def _ask(self, task: int, num_rows: int, observation: FloatArray) -> FloatArray:
        answer = self._sandbox.ask(task, self._place, num_rows, observation.tobytes())
        return np.frombuffer(bytearray(answer), dtype=np.float32)


def _batches(observation: FloatArray) -> list[FloatArray]:
    return [observation[first : first + ROWS] for first in range(0, len(observation), ROWS)]


def _what_became_of(process: "subprocess.Popen[bytes]") -> str:
    code = process.wait()
    if sys.platform != "win32" and code == -signal.SIGALRM:
        return f"does not end within {SECONDS} s"
    return f"crashes onnxruntime (exit code {code}); export it again"


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()


def _serve(requests: IO[bytes], answers: IO[bytes], seconds: float) -> None:
    sessions: list[OnnxSession] = []
    while header := requests.read(REQUEST.size):
        task, place, num_rows, length = REQUEST.unpack(header)
        content = requests.read(length)
        _end_in(seconds)
        try:
            done, answer = True, _answer(sessions, task, place, num_rows, content)
        except CartpoleError as error:
            done, answer = False, str(error).encode()
        _end_in(0)
        answers.write(ANSWER.pack(done, len(answer)) + answer)
        answers.flush()


def _answer(sessions: list[OnnxSession], task: int, place: int, num_rows: int, content: bytes) -> bytes:
    if task == LOAD:
        sessions.append(OnnxSession(content))
        return json.dumps(sessions[-1].metadata).encode()
    rows = np.frombuffer(content, dtype=np.float32).reshape((num_rows, 4) if num_rows else 4)
    session = sessions[place]
    return (session.run_each(rows) if task == RUN_EACH else session.run(rows)).tobytes()


def _end_in(seconds: float) -> None:
    """Let the system end this process then, whatever it is at; 0: never."""
    if sys.platform != "win32":
        signal.setitimer(signal.ITIMER_REAL, seconds)
    elif seconds:
        faulthandler.dump_traceback_later(seconds, exit=True)
    else:
        faulthandler.cancel_dump_traceback_later()


def _limit_memory() -> None:
    if sys.platform != "win32":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        with suppress(ValueError, OSError):  # macOS sets none
            soft = BYTES if hard == resource.RLIM_INFINITY else min(BYTES, hard)
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _main() -> None:
    _limit_memory()
    if sys.platform != "win32":
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what a library prints is no answer
    _serve(sys.stdin.buffer, answers, float(sys.argv[1]))


if __name__ == "__main__":
    _main()
