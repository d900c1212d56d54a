"""What run folders say, read by one who trusts none of it. No torch, no numpy: 1,000 runs are listed in a second."""

import json
import os
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError
from cartpole_cli.estimate import Estimate
from cartpole_cli.files import MAX_METRICS, MAX_TOML, open_regular, read_text
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader, Score
from cartpole_cli.runs.folders import SWEEP, finalist_folders, manifest_of, seed_folders, seeds_of
from cartpole_cli.runs.lock import is_held
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of

BROKEN, RUNNING = "broken", "running"
RUN_FILES = ("run.json", "recipe.toml", "best.pth", "last.pth")
METRICS_TAIL = 16_384


@dataclass(frozen=True, slots=True)
class Study:
    """A study that runs belong to, and what it wrote when it ended: interquartile means over its seeds.

    `num_interrupted` seeds were cut short, and are in the means with their best held-out return so far. `sweep` names
    the one whose finalist it is.
    """

    directory: RunDirectory
    num_seeds: int
    num_solved: int | None
    num_interrupted: int | None
    mean_return: Estimate | None
    env_steps: Estimate | None
    sweep: str | None = None

    @property
    def name(self) -> str:
        folder = self.directory.path.name
        return folder if self.sweep is None else f"{self.sweep}/{folder}"

    def as_plain_data(self) -> dict[str, Any]:
        """The study of a run in `cartpole best --json`."""
        means = {"mean_return": self.mean_return, "env_steps": self.env_steps}
        return {
            "name": self.name,
            "num_seeds": self.num_seeds,
            "num_solved": self.num_solved,
            "num_interrupted": self.num_interrupted,
            **{key: value and value.as_plain_data("iqm") for key, value in means.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run folder says; None where it does not say.

    `status` is run.json's, but "interrupted" of a run whose process was killed, or "broken"; then there is no score.
    `problem` says what is broken. `env_steps` and `seconds` of a run that is not said to have ended are those of its
    newest metrics. `longer_horizon_return` is the mean return that confirmed a solved run. `confirmed` is filled by
    whoever tests the run again.
    """

    directory: RunDirectory
    study: Study | None
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
        folder = self.directory.path.name
        return folder if self.study is None else f"{self.study.name}/{folder}"


def read_runs(runs_dir: Path) -> list[Run]:
    """Every run in the folder, broken ones too, those of studies and of sweeps' finalists; the rest is passed over.

    Raises:
        CartpoleError: the folder is missing, is no folder, or cannot be read.
    """
    try:
        paths = list(runs_dir.iterdir())
    except OSError as error:
        raise CartpoleError(f"{runs_dir}: not a folder of runs ({error.strerror})") from error
    return [run for path in paths for run in _runs_in(path)]


def _runs_in(path: Path) -> Iterator[Run]:
    """The run in a folder, or the runs of the study in it, or of the finalists of the sweep in it."""
    manifest = manifest_of(path)
    if manifest.get("kind") == SWEEP:
        for finalist in finalist_folders(path):
            yield from _runs_of(finalist, seed_folders(finalist), path.name)
    else:
        yield from _runs_of(path, seeds_of(path, manifest))


def _runs_of(path: Path, seeds: list[Path], sweep: str | None = None) -> Iterator[Run]:
    study = _read_study(RunDirectory(path), len(seeds), sweep) if seeds else None
    for folder in seeds or [path]:
        run = _read_run(RunDirectory(folder), study)
        if run is not None:
            yield run


def _read_study(directory: RunDirectory, num_seeds: int, sweep: str | None) -> Study:
    """What study.json says, which a study writes when it ends."""
    reader = Reader()
    content = reader.fields(directory.study)
    solved, interrupted = (reader.count(content.get(key), key) for key in ("num_solved", "num_interrupted"))
    mean_return, env_steps = (reader.estimate(content.get(key), key, "iqm") for key in ("mean_return", "env_steps"))
    return Study(directory, num_seeds, solved, interrupted, mean_return, env_steps, sweep)


def _read_run(directory: RunDirectory, study: Study | None) -> Run | None:
    """A run; None for a file, or a folder without any of a run's files."""
    reader = Reader()
    try:
        files = {path.name for path in directory.path.iterdir()}
        if files.isdisjoint(RUN_FILES):
            return None
    except (NotADirectoryError, FileNotFoundError):
        return None
    except OSError as error:
        files = set()
        reader.problems.append(f"cannot be read ({error.strerror})")
    manifest = reader.fields(directory.manifest)
    status = reader.text(manifest.get("status"), "run.json: status")
    steps, seconds = _effort(reader, directory, manifest, running=status == RUNNING)
    if status == RUNNING and not is_held((study.directory if study else directory).path):
        status = "interrupted"
    if directory.recipe.name not in files:
        reader.problems.append(f"{directory.recipe.name}: missing")
    if "algorithm" not in manifest:
        manifest |= _said_by_recipe(directory)
    recipe, algorithm, environment = (
        reader.text(manifest[key], f"run.json: {key}") if manifest.get(key) is not None else None
        for key in ("recipe", "algorithm", "environment")
    )
    score, horizon = _scores(reader, directory, files)
    problem = reader.problems[0] if reader.problems else None
    return Run(
        directory=directory,
        study=study,
        status=BROKEN if problem or status is None else status,
        problem=problem,
        recipe=recipe,
        algorithm=algorithm,
        environment=environment,
        score=None if problem else score,
        longer_horizon_return=None if problem else horizon,
        env_steps=steps,
        seconds=seconds,
        has_checkpoint=directory.best.name in files,
    )


def _said_by_recipe(directory: RunDirectory) -> dict[str, Any]:
    """Algorithm and environment of a run that was made before run.json said them."""
    with suppress(OSError, ValueError, RecursionError, KeyError, TypeError):
        recipe = tomllib.loads(read_text(directory.recipe, MAX_TOML))
        return {"algorithm": recipe["algorithm"]["name"], "environment": recipe["environment"]["id"]}
    return {}


def _scores(reader: Reader, directory: RunDirectory, files: set[str]) -> tuple[Score | None, float | None]:
    """The run's score, and the one that lasts longer: of best.pth as it is, or none."""
    score: Score | None = None
    horizon: float | None = None
    digest = digest_of(directory.best)
    if digest is None and directory.best.name in files:
        reader.problems.append(f"{directory.best.name}: not a cartpole checkpoint, or cut short")
    metadata, evaluation = (
        reader.fields(path) if path.name in files else {} for path in (directory.best_metadata, directory.evaluation)
    )
    if metadata and digest == metadata.get(CHECKPOINT):
        score = reader.score(metadata.get("evaluation"), "best.json: evaluation", "selection")
        if metadata.get("confirmation") is not None:
            confirmation = reader.score(metadata["confirmation"], "best.json: confirmation", "confirmation")
            horizon = confirmation.mean_return.value if confirmation else None
    if evaluation and digest == evaluation.get(CHECKPOINT):
        score = reader.score(evaluation, "evaluation.json", "final")
    return score, horizon


def _effort(
    reader: Reader, directory: RunDirectory, manifest: dict[str, Any], *, running: bool
) -> tuple[int | None, float | None]:
    """Steps and seconds; run.json has those of an ended run, metrics.jsonl those of one under way."""
    steps = reader.number(manifest.get("env_steps"), "run.json: env_steps", 0.0)
    seconds = reader.number(manifest.get("seconds"), "run.json: seconds", 0.0)
    if running:
        newest, forgiving = _newest_metrics(directory.metrics), Reader()
        steps = forgiving.number(newest.get("env_steps"), "env_steps", 0.0)
        seconds = forgiving.number(newest.get("seconds"), "seconds", 0.0)
    return None if steps is None else int(steps), seconds


def _newest_metrics(path: Path) -> dict[str, Any]:
    """The last whole line; its successor may be half-written."""
    with suppress(OSError), open_regular(path, MAX_METRICS) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - METRICS_TAIL))
        for line in reversed(file.read().splitlines()):
            with suppress(ValueError, RecursionError):
                record = json.loads(line)
                if isinstance(record, dict):
                    return record
    return {}
