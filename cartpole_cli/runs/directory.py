"""Names and paths of a run's files."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError
from cartpole_cli.files import write_file

FORBIDDEN = re.compile(
    r"""[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff] | [ .]\Z |
    \A (con|prn|aux|nul|(com|lpt)[0-9¹²³]|con(in|out)\$) ([ .]|\Z)""",
    re.IGNORECASE | re.VERBOSE,
)
"""What some system calls no folder: Windows drops a last dot, and keeps devices' names to itself."""


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The folder of one run, or of a study, which has a folder of this kind for each of its seeds."""

    path: Path

    @classmethod
    def create(cls, runs_dir: Path, *, recipe_name: str, suffix: str, name: str | None) -> "RunDirectory":
        """Make the folder: `name`, or one of time, recipe and suffix (s<seed>, x<seeds>) that no other run has.

        Raises:
            CartpoleError: the name is taken or cannot be a folder's, or the folder cannot be made.
        """
        if name is not None and (not name or FORBIDDEN.search(name)):
            allowed = 'no separators, none of <>:"|?*, no dot or space at its end, and no device of Windows'
            raise CartpoleError(f"--name {name!r}: not a valid folder name on every system; allowed: {allowed}")
        stem = name or f"{datetime.now():%Y%m%d-%H%M%S}-{recipe_name}-{suffix}"
        path, attempt = runs_dir / stem, 1
        try:
            runs_dir.mkdir(parents=True, exist_ok=True)
            while path.exists() or not _made(path):
                if name is not None:
                    raise CartpoleError(f"{path}: exists already; give another --name")
                attempt += 1
                path = runs_dir / f"{stem}-{attempt}"
        except OSError as error:
            raise CartpoleError(
                f"{error.filename or runs_dir}: cannot make the run's folder ({error.strerror})"
            ) from error
        return cls(path)

    @contextmanager
    def gone_on_failure(self) -> Iterator[None]:
        """Remove the new folder if the block fails, so that its name is free again."""
        try:
            yield
        except CartpoleError:
            shutil.rmtree(self.path, ignore_errors=True)
            raise

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def manifest(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        return self.path / "best.pth"

    @property
    def best_metadata(self) -> Path:
        return self.path / "best.json"

    @property
    def last(self) -> Path:
        return self.path / "last.pth"

    @property
    def history(self) -> Path:
        return self.path / "history.pth"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def study(self) -> Path:
        return self.path / "study.json"

    def of_seed(self, seed: int) -> "RunDirectory":
        """A study's folder of one seed."""
        return RunDirectory(self.path / f"s{seed}")

    def snapshot(self, env_steps: int) -> Path:
        return self.path / "checkpoints" / f"step_{env_steps:09d}.pth"

    def video(self, env_steps: int) -> Path:
        return self.path / "videos" / f"step_{env_steps:09d}.mp4"


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file: it is whole, or as it was.

    Raises:
        CartpoleError: it cannot be written.
    """
    write_file(path, (json.dumps(content, indent=2) + "\n").encode())


def _made(path: Path) -> bool:
    """Make a folder; False if somebody else was faster."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True
