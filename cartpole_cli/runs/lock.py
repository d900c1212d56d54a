"""One process at a time writes to a run's folder."""

import io
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from cartpole_cli.errors import CartpoleError, writing

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
"""Of a FIFO of that name nothing is waited for."""
MOMENTS, MOMENT = 5, 0.01
"""Tries, and seconds between them."""


class FolderLock:
    """A lock on a folder, held from here to `release`, or until the system ends the process, however hard.

    It is on an empty file in the folder, which goes with the lock; one that a killed process left stands in nobody's
    way. A file system without locks gives everybody one.

    Raises:
        CartpoleError: another process holds it, or the file cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ".lock"
        with writing(self._path):
            self._file = os.fdopen(os.open(self._path, FLAGS, 0o666), "ab")
        if not (self._lock_soon() and self._is_in_place()):
            self._file.close()
            raise CartpoleError(f"{folder}: another process is training this run; wait until it ends, or stop it")

    def release(self) -> None:
        """Let the next one in."""
        if self._is_in_place():
            with suppress(OSError):  # Windows removes no open file
                self._path.unlink()
        self._file.close()
        if sys.platform == "win32":
            with suppress(OSError):
                self._path.unlink()

    def _lock_soon(self) -> bool:
        """`is_held` holds it for a moment."""
        for _ in range(MOMENTS):
            if _lock(self._file):
                return True
            time.sleep(MOMENT)
        return False

    def _is_in_place(self) -> bool:
        """Whether the file is the one of that name: its last owner may have removed it after we opened it."""
        try:
            return os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
        except OSError:
            return False


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock on a folder (a killed one holds none), or there is no telling."""
    try:
        with os.fdopen(os.open(folder / ".lock", os.O_RDWR | getattr(os, "O_NONBLOCK", 0)), "rb+", buffering=0) as file:
            return not _lock(file, if_unknown=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _lock(file: BinaryIO | io.RawIOBase, *, if_unknown: bool = True) -> bool:
    """Lock a file without waiting; False if another has, `if_unknown` where the file system has no locks."""
    try:
        if sys.platform == "win32":
            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return if_unknown
    return True
