"""Learning curves of runs and studies, from their metrics. No torch, no matplotlib."""

import json
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cartpole_cli.errors import CartpoleError, reading
from cartpole_cli.files import MAX_METRICS, read_bytes
from cartpole_cli.intervals import interquartile_means
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.find import find_run
from cartpole_cli.runs.folders import seed_folders

GRID_POINTS = 200
LARGEST = sys.float_info.max
X_KEYS = {"steps": "env_steps", "seconds": "seconds"}
Y_KEYS = {"held-out": "selection_return", "return": "episode_return"}
X_LABELS = {"steps": "env steps per seed", "seconds": "seconds (of all seeds of a study)"}
Y_LABELS = {"held-out": "held-out return", "return": "training return"}
Points = Float[np.ndarray, "P"]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a picture; a study's is the interquartile mean over its seeds, with its 95 % interval."""

    name: str
    x: Points
    y: Points
    low: Points | None = None
    high: Points | None = None
    num_seeds: int = 1
    num_left_out: int = 0
    """Seeds without a single value."""

    @property
    def label(self) -> str:
        if self.low is None:
            return self.name
        left_out = f" of {self.num_seeds + self.num_left_out}" if self.num_left_out else ""
        return f"{self.name} (IQM, {self.num_seeds}{left_out} seeds)"


@dataclass(frozen=True, slots=True)
class SeedCurve:
    """What one seed measured. `holds`: it was solved or has failed, and would not have gone on."""

    x: Points
    y: Points
    holds: bool


def read_curve(name: str, runs_dir: Path, *, x: str, y: str) -> Curve:
    """The curve of a run or a study: a folder, or a name in the runs folder.

    Args:
        x: a key of X_KEYS.
        y: a key of Y_KEYS.

    Raises:
        CartpoleError: there is none of that name, or nothing was measured in it.
    """
    folder = find_run(name, runs_dir).path
    seeds = seed_folders(folder)
    found = [read_seed(RunDirectory(path), x=x, y=y) for path in seeds or [folder]]
    measured = [seed for seed in found if len(seed.x)]
    if not measured:
        other = next(key for key in Y_KEYS if key != y)
        raise CartpoleError(f"{folder}: no {Y_LABELS[y]} in its metrics; another may be: --y {other}")
    if not seeds:
        return Curve(name, measured[0].x, measured[0].y)
    return over_seeds(name, measured, num_left_out=len(found) - len(measured))


def read_seed(directory: RunDirectory, *, x: str, y: str) -> SeedCurve:
    """The points of one run, lines that say nothing or are half-written passed over.

    Raises:
        CartpoleError: the metrics cannot be read.
    """
    points, last = [], {}
    with reading(directory.metrics):
        lines = read_bytes(directory.metrics, MAX_METRICS).splitlines() if directory.metrics.exists() else []
    for line in lines:
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict):
                last, point = record, (record.get(X_KEYS[x]), record.get(Y_KEYS[y]))
                if all(map(_is_number, point)):
                    points.append(point)
    has_failed = Reader().fields(directory.manifest).get("status") == "failed"
    columns = np.array(sorted(points), dtype=np.float64).reshape(-1, 2).T
    return SeedCurve(columns[0], columns[1], "confirmation_return" in last or has_failed)


def over_seeds(name: str, seeds: Sequence[SeedCurve], *, num_left_out: int = 0) -> Curve:
    """Interquartile means of linearly interpolated values, where all seeds have one.

    A seed that was solved, or has failed, holds its last value until the last of the others ends.
    """
    going_on = [seed.x[-1] for seed in seeds if not seed.holds]
    start = max(seed.x[0] for seed in seeds)
    end = max(start, min(going_on) if going_on else max(seed.x[-1] for seed in seeds))
    grid = np.linspace(start, end, GRID_POINTS if end > start else 1)
    values = np.stack([np.interp(grid, seed.x, seed.y) for seed in seeds])
    iqm, low, high = interquartile_means(values)
    return Curve(name, grid, iqm, low, high, len(seeds), num_left_out)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
