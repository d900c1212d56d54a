"""Files as this tool reads and writes them: regular ones, up to a size; and whole, or as they were.

What a folder holds may be anybody's: opening a FIFO waits for ever, a device never ends.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from cartpole_cli.errors import doing, writing

MAX_TEXT = 16 << 20
"""Bytes of a manifest or a score: 1,000 times what is written."""
MAX_TOML = 1 << 18
"""Bytes of a recipe or a suite, 100 times what is written: TOML takes a second for each megabyte."""
MAX_METRICS = 1 << 30
"""Bytes of metrics.jsonl: millions of iterations."""


def open_regular(path: Path, most: int) -> BinaryIO:
    """Open a regular file of at most so many bytes, without waiting for anybody.

    Raises:
        OSError: it is missing, no regular file, too large, or not ours to read.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size <= most:
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISREG(status.st_mode):
        raise OSError(errno.EFBIG, f"larger than {most >> 20:,} MiB", str(path))
    raise OSError(errno.EINVAL, "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file", str(path))


def read_bytes(path: Path, most: int = MAX_TEXT) -> bytes:
    """The content of a regular file.

    Raises:
        OSError: as `open_regular`.
    """
    with open_regular(path, most) as file:
        return file.read(most)


def read_text(path: Path, most: int = MAX_TEXT) -> str:
    """The same as text.

    Raises:
        OSError: as `open_regular`.
        UnicodeDecodeError: it is not UTF-8.
    """
    return read_bytes(path, most).decode("utf-8").replace("\r\n", "\n")


@contextmanager
def replacing(path: Path, *, ending: str = "") -> Iterator[Path]:
    """A name beside `path`, with that ending, to write to: what is there in the end takes the place of `path`.

    A killed process leaves it there: so it ends as our files do only where a library asks for that. If anything goes
    wrong, `path` is as it was and the other name is gone. No folder is made: one that was removed stays removed.

    Raises:
        CartpoleError: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.tmp{ending}")
    try:
        with writing(path):
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def write_file(path: Path, content: bytes) -> None:
    """Write a file: it is whole, or as it was.

    Raises:
        CartpoleError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def check_can_write(path: Path) -> None:
    """Before the work whose result goes there: a folder has that name, or the folders that it needs cannot be made.

    Raises:
        CartpoleError: it could not be written.
    """
    with writing(path):
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        nearest = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@contextmanager
def folders_for(path: Path) -> Iterator[None]:
    """Make the folders that a file needs. If anything goes wrong, those made here are gone again.

    Raises:
        CartpoleError: one cannot be made.
    """
    made: list[Path] = []
    try:
        with writing(path):
            made = [folder for folder in path.parents if not folder.exists()]
            path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except BaseException:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise


def aside(path: Path, word: str) -> Path:
    """A name beside `path` that nothing has: `word` stands before its ending, with a number from the second one on."""
    name, attempt = path.with_suffix(f".{word}{path.suffix}"), 1
    while name.exists():
        attempt += 1
        name = path.with_suffix(f".{word}-{attempt}{path.suffix}")
    return name


def move(path: Path, other: Path) -> None:
    """Give a file another name.

    Raises:
        CartpoleError: that cannot be done.
    """
    with doing(path, "renamed"):
        path.replace(other)


def make_folder(path: Path, *, parents: bool = False) -> None:
    """Make a folder where there is none, and those above it only if asked to.

    Raises:
        CartpoleError: it cannot be made.
    """
    with doing(path, "made"):
        path.mkdir(exist_ok=True, parents=parents)
