"""The driver's side of a private Ray cluster."""

import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from cartpole_cli.errors import CartpoleError
from cartpole_cli.workers.local import cores

LOOPBACK = "127.0.0.1"
SECONDS_TO_START = 120.0
SECONDS_TO_LEAVE = 5.0


@contextmanager
def private_cluster() -> Iterator[str]:
    """A cluster of this machine alone, with a token of its own in its environment, while the context lasts.

    Raises:
        CartpoleError: Ray does not start.
    """
    os.environ.pop("RAY_ADDRESS", None)
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = free.getsockname()[1]
    head = subprocess.Popen(
        [sys.executable, "-m", "cartpole_cli.workers.head", str(port), str(cores())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert head.stdin is not None
    assert head.stdout is not None
    try:
        if not _listens(port, head):
            head.stdin.close()
            said = head.stdout.read().decode(errors="replace").strip() or "it took too long"
            raise CartpoleError(f"--workers ray: Ray did not start ({said})")
        yield f"{LOOPBACK}:{port}"
    finally:
        head.stdin.close()
        try:
            head.wait(SECONDS_TO_LEAVE)
        except subprocess.TimeoutExpired:
            head.kill()
        head.stdout.close()


def _listens(port: int, head: "subprocess.Popen[bytes]") -> bool:
    """Wait until it does; False if it ends before, or takes too long."""
    limit = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < limit and head.poll() is None:
        try:
            socket.create_connection((LOOPBACK, port), 1.0).close()
        except OSError:
            time.sleep(0.1)
        else:
            return True
    return False
