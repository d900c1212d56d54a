"""What run folders say, read by one who trusts none of it. No torch, no numpy: 1,000 runs are listed in a second."""

import json
import os
import re
import tomllib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError
from cartpole_cli.runs.directory import RunDirectory

BROKEN = "broken"
RUN_FILES = {"run.json", "recipe.toml", "best.pth"}
LARGEST = 1e300
METRICS_TAIL = 16_384
TABLE_START = re.compile(r"^(?=\[)", re.MULTILINE)
FOLDER_OF_RECIPE = re.compile(r"\d{8}-\d{6}-(.+)-s\d+(-\d+)?")
RECIPE_OPTION = re.compile(r"\0--recipe[\0=]([^\0]+)")


@dataclass(frozen=True, slots=True)
class Score:
    """Returns on one set of episodes: "final", "selection" (on which the checkpoint was chosen) or "confirm"."""

    set_name: str
    episodes: int
    mean_return: float
    min_return: float
    ci95: tuple[float, float]

    def as_plain_data(self) -> dict[str, Any]:
        return {
            "set": self.set_name,
            "episodes": self.episodes,
            "mean_return": self.mean_return,
            "min_return": self.min_return,
            "ci95": list(self.ci95),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run folder says; None where it does not say.

    `status` is run.json's, or "broken"; then there is no score. `problem` says what is broken. `env_steps` and
    `seconds` of a run under way are those of its newest metrics. `longer_horizon_return` is the mean return that
    confirmed a reached target. `confirmed` is filled by whoever tests the run again.
    """

    directory: RunDirectory
    status: str
    problem: str | None
    recipe: str | None
    algorithm: str | None
    environment: str | None
    score: Score | None
    longer_horizon_return: float | None
    env_steps: int | None
    seconds: float | None
    has_checkpoint: bool
    confirmed: Score | None = None

    @property
    def name(self) -> str:
        return self.directory.path.name


def read_runs(runs_dir: Path) -> list[Run]:
    """Every run in the folder, broken ones too; what is no run at all is passed over.

    Raises:
        CartpoleError: the folder is missing, is no folder, or cannot be read.
    """
    try:
        paths = list(runs_dir.iterdir())
    except OSError as error:
        raise CartpoleError(f"{runs_dir}: not a folder of runs ({error.strerror})") from error
    runs = (_read_run(RunDirectory(path)) for path in paths)
    return [run for run in runs if run is not None]


class _Reader:
    """Reads fields that anybody may have damaged: what is wrong is noted, and read as None."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def fields(self, path: Path, parse: Callable[[str], Any]) -> dict[str, Any]:
        try:
            content = parse(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self.problems.append(f"{path.name}: missing")
        except OSError as error:
            self.problems.append(f"{path.name}: cannot be read ({error.strerror})")
        except (ValueError, RecursionError):  # also text that is not UTF-8
            self.problems.append(f"{path.name}: not valid {path.suffix[1:].upper()}")
        else:
            if isinstance(content, dict):
                return content
            self.problems.append(f"{path.name}: no fields in it")
        return {}

    def text(self, value: Any, name: str) -> str | None:
        if isinstance(value, str):
            return value
        self._note(value, name, "text")
        return None

    def number(self, value: Any, name: str, least: float = -LARGEST) -> float | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= LARGEST:
            return float(value)
        self._note(value, name, "a number" if least < 0 else "a number from 0")
        return None

    def score(self, value: Any, name: str, set_name: str) -> Score | None:
        if not isinstance(value, dict):
            self._note(value, name, "fields")
            return None
        episodes = self.number(value.get("episodes"), f"{name}: episodes", 0.0)
        mean = self.number(value.get("mean_return"), f"{name}: mean_return")
        worst = self.number(value.get("min_return"), f"{name}: min_return")
        interval = value.get("ci95")
        if not isinstance(interval, list) or len(interval) != 2:
            self._note(interval, f"{name}: ci95", "two numbers")
            return None
        low, high = (self.number(end, f"{name}: ci95") for end in interval)
        if episodes is None or mean is None or worst is None or low is None or high is None:
            return None
        return Score(set_name, int(episodes), mean, worst, (low, high))

    def _note(self, value: Any, name: str, right: str) -> None:
        self.problems.append(f"{name}: missing" if value is None else f"{name}: not {right}")


def _read_run(directory: RunDirectory) -> Run | None:
    """A run; None for a file, or a folder without any of a run's files."""
    reader = _Reader()
    try:
        files = {path.name for path in directory.path.iterdir()}
        if not files & RUN_FILES:
            return None
    except (NotADirectoryError, FileNotFoundError):
        return None
    except OSError as error:
        files = set()
        reader.problems.append(f"cannot be read ({error.strerror})")
    manifest = reader.fields(directory.manifest, json.loads)
    status = reader.text(manifest.get("status"), "run.json: status")
    steps, seconds = _effort(reader, directory, manifest, running=status == "running")
    algorithm, environment = _task(reader, directory)
    score, horizon = _scores(reader, directory, files)
    problem = reader.problems[0] if reader.problems else None
    return Run(
        directory=directory,
        status=BROKEN if problem or status is None else status,
        problem=problem,
        recipe=_recipe_name(directory.path.name, manifest.get("command")),
        algorithm=algorithm,
        environment=environment,
        score=None if problem else score,
        longer_horizon_return=None if problem else horizon,
        env_steps=steps,
        seconds=seconds,
        has_checkpoint=directory.best.name in files,
    )


def _task(reader: _Reader, directory: RunDirectory) -> tuple[str | None, str | None]:
    recipe = reader.fields(directory.recipe, _parse_recipe)
    names = []
    for section, key in (("algorithm", "name"), ("environment", "id")):
        table = recipe.get(section)
        value = table.get(key) if isinstance(table, dict) else None
        names.append(reader.text(value, f"recipe.toml: {section}.{key}"))
    return names[0], names[1]


def _scores(reader: _Reader, directory: RunDirectory, files: set[str]) -> tuple[Score | None, float | None]:
    """The run's score, and the one that lasts longer."""
    score: Score | None = None
    horizon: float | None = None
    if directory.best_metadata.name in files:
        metadata = reader.fields(directory.best_metadata, json.loads)
        score = reader.score(metadata.get("evaluation"), "best.json: evaluation", "selection")
        if metadata.get("confirmation") is not None:
            confirmation = reader.score(metadata["confirmation"], "best.json: confirmation", "confirmation")
            horizon = confirmation.mean_return if confirmation else None
    if directory.evaluation.name in files:
        evaluation = reader.fields(directory.evaluation, json.loads)
        score = reader.score(evaluation, "evaluation.json", "final")
    return score, horizon


def _effort(
    reader: _Reader, directory: RunDirectory, manifest: dict[str, Any], *, running: bool
) -> tuple[int | None, float | None]:
    """Steps and seconds; run.json has those of an ended run, metrics.jsonl those of one under way."""
    steps = reader.number(manifest.get("env_steps"), "run.json: env_steps", 0.0)
    seconds = reader.number(manifest.get("seconds"), "run.json: seconds", 0.0)
    if running:
        newest, forgiving = _newest_metrics(directory.metrics), _Reader()
        steps = forgiving.number(newest.get("env_steps"), "env_steps", 0.0)
        seconds = forgiving.number(newest.get("seconds"), "seconds", 0.0)
    return None if steps is None else int(steps), seconds


def _newest_metrics(path: Path) -> dict[str, Any]:
    """The last whole line; its successor may be half-written."""
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - METRICS_TAIL))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    return record
    return {}


def _recipe_name(folder: str, command: Any) -> str | None:
    """A recipe's name from the folder's, or for a run that was given a name from the command line that made it."""
    match = FOLDER_OF_RECIPE.fullmatch(folder)
    if match:
        return match[1]
    option = RECIPE_OPTION.search("\0".join(map(str, command))) if isinstance(command, list) else None
    return Path(option[1]).stem if option else None


def _parse_recipe(text: str) -> dict[str, Any]:
    """TOML's tables one by one: runs have most of them in common, and parsing takes ten times as long as reading."""
    try:
        tables = [_parse_table(table) for table in TABLE_START.split(text)]
    except ValueError:  # broken, or a value has lines that look like a table's first
        return tomllib.loads(text)
    merged = {key: value for table in tables for key, value in table.items()}
    return merged if len(merged) == sum(map(len, tables)) else tomllib.loads(text)


@cache
def _parse_table(text: str) -> dict[str, Any]:
    return tomllib.loads(text)
