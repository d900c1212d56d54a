"""A stranger's ONNX file, first loaded by a process that may crash, use up its memory or never return.

`python -m cartpole_cli.policy.onnx_trial` is that process: the model on stdin, what is wrong with it on stdout.
"""

import os
import subprocess
import sys
from contextlib import suppress

from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.onnx_session import PROBE, OnnxSession

if sys.platform != "win32":
    import resource

COMMAND = (sys.executable, "-P", "-m", "cartpole_cli.policy.onnx_trial")
SECONDS = 30
BYTES = 4 << 30
"""Of addresses: what the process may ask for, where the system has such limits."""


def survive_trial(model: bytes, name: str) -> None:
    """Load the model and run it once, in another process.

    Args:
        model: a file's content.
        name: what to call it in messages.

    Raises:
        CartpoleError: it cannot be loaded or run, or that process came to harm.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": "utf-8"}
    try:
        done = subprocess.run(COMMAND, input=model, capture_output=True, env=environment, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise CartpoleError(f"{name}: loaded and run once, it does not end within {SECONDS} s") from error
    except OSError as error:
        raise CartpoleError(f"{name}: cannot be tried in a process of its own ({error.strerror})") from error
    if done.returncode:
        raise CartpoleError(f"{name}: crashes onnxruntime (exit code {done.returncode}); export it again")
    if done.stdout:
        raise CartpoleError(f"{name}: {done.stdout.decode()}")


def _limit_memory() -> None:
    if sys.platform != "win32":
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        with suppress(ValueError, OSError):  # macOS sets none
            soft = BYTES if hard == resource.RLIM_INFINITY else min(BYTES, hard)
            resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _problem(model: bytes) -> str:
    try:
        OnnxSession(model).run(PROBE[0])
    except CartpoleError as error:
        return str(error)
    return ""


if __name__ == "__main__":
    _limit_memory()
    sys.stdout.write(_problem(sys.stdin.buffer.read()))
