"""A disk that is full from the n-th operation on."""

import errno
import io
import os
from pathlib import Path
from typing import Any

import pytest


class FullDisk:
    """Counts what is asked of the disk: folders, files, writes and renames; from number `full_from` on it has no room.

    A write that finds no room writes half, as real ones do. Reading and removing go on.
    """

    def __init__(self, patch: pytest.MonkeyPatch, full_from: int | None) -> None:
        self.full_from, self.operations = full_from, 0
        made, renamed, opened = Path.mkdir, Path.replace, Path.open

        def mkdir(path: Path, *args: Any, **kwargs: Any) -> None:
            if not path.exists():
                self.ask(path)
            made(path, *args, **kwargs)

        def replace(path: Path, target: Path) -> Path:
            self.ask(target)
            return renamed(path, target)

        def open_(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            if mode.startswith("r"):
                return opened(path, mode, *args, **kwargs)
            self.ask(path)
            buffered = io.BufferedWriter(_File(self, path, mode.replace("b", "")))
            return buffered if "b" in mode else io.TextIOWrapper(buffered, encoding="utf-8")

        patch.setattr(Path, "mkdir", mkdir)
        patch.setattr(Path, "replace", replace)
        patch.setattr(Path, "open", open_)

    @property
    def is_full(self) -> bool:
        return self.full_from is not None and self.operations >= self.full_from

    def ask(self, path: Path) -> None:
        self.operations += 1
        if self.is_full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


class _File(io.FileIO):
    def __init__(self, disk: FullDisk, path: Path, mode: str) -> None:
        super().__init__(path, mode)
        self._disk = disk

    def write(self, data: Any) -> int:
        try:
            self._disk.ask(Path(str(self.name)))
        except OSError:
            super().write(bytes(data)[: len(data) // 2])
            raise
        return super().write(data)
