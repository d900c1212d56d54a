"""A sweep's folder: what was asked for, a line per trial that has ended, finalists' studies, and what came out."""

import hashlib
import json
import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError, reading, writing
from cartpole_cli.files import MAX_METRICS, read_bytes, write_file
from cartpole_cli.runs.directory import RunDirectory, write_json
from cartpole_cli.runs.folders import SWEEP, manifest_of
from cartpole_cli.sweep.score import mean_score
from cartpole_cli.sweep.search import Search
from cartpole_cli.sweep.trials import Trial


class SweepFolder:
    """Names and paths of a sweep's files, and how they are written and read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.search, self.trials = path / "sweep.toml", path / "trials.jsonl"
        self.report, self.best, self.picture = path / "report.json", path / "best.toml", path / "slices.svg"
        self.manifest = RunDirectory(path).manifest

    def study(self, name: str) -> RunDirectory:
        """The folder of a finalist's study."""
        return RunDirectory(self.path / name)

    def digest(self) -> str:
        """Of the search as it was written."""
        with reading(self.search):
            return hashlib.sha256(read_bytes(self.search)).hexdigest()

    def write_search(self, search: Search) -> None:
        write_file(self.search, search.to_toml().encode())

    def read_manifest(self) -> dict[str, Any]:
        """What run.json says.

        Raises:
            CartpoleError: it is no sweep's, or the search was edited since.
        """
        manifest = manifest_of(self.path)
        if manifest.get("kind") != SWEEP:
            raise CartpoleError(f"{self.path}: not a sweep; expected a folder that `cartpole sweep` made")
        if manifest.get("search_sha256") != self.digest():
            reason = "was edited after its trials ran; its results would mix two searches"
            raise CartpoleError(f"{self.search}: {reason}; to search anew: cartpole sweep {self.search}")
        return manifest

    def write_manifest(self, content: dict[str, Any]) -> None:
        write_json(self.manifest, content)

    def record(self, trials: Sequence[Trial]) -> None:
        """Add what some trials have come to."""
        with writing(self.trials), self.trials.open("a", encoding="utf-8") as file:
            file.write(_lines(trials))

    def put_in_order(self, trials: Sequence[Trial]) -> None:
        """Write all trials by their numbers, whichever ended first."""
        write_file(self.trials, _lines(trials).encode())

    def read_trials(self, search: Search) -> dict[int, Trial]:
        """The trials that have ended, by number; the file is cut where a line is torn or of another search."""
        with reading(self.trials):
            content = read_bytes(self.trials, MAX_METRICS) if self.trials.exists() else b""
        trials: dict[int, Trial] = {}
        whole = 0
        for line in content.splitlines(keepends=True):
            trial = _trial(line, search) if line.endswith(b"\n") else None
            if trial is None or trial.number in trials:
                break
            trials[trial.number] = trial
            whole += len(line)
        if whole < len(content):
            write_file(self.trials, content[:whole])
        return trials


def _lines(trials: Sequence[Trial]) -> str:
    return "".join(json.dumps(trial.as_plain_data()) + "\n" for trial in trials)


def _trial(line: bytes, search: Search) -> Trial | None:
    """The trial that a line is of; None if it is of none of this search."""
    keys = {dimension.key for dimension in search.space.dimensions}
    with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
        data = json.loads(line)
        number, setting, score, seeds = (data[key] for key in ("trial", "setting", "score", "seeds"))
        of_seeds = [seed["seed"] for seed in seeds] == list(search.seeds(0)) and all(
            isinstance(seed["env_steps"], int) for seed in seeds
        )
        is_score = score is None or (isinstance(score, float) and math.isfinite(score))
        is_score = is_score and score == mean_score([seed["score"] for seed in seeds])
        if of_seeds and is_score and setting.keys() == keys and number in range(search.num_trials):
            return Trial(number, setting, score, tuple(seeds))
    return None
