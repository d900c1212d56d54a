"""What each seed of a finished study scored."""

import json
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.folders import seed_folders
from cartpole_cli.sweep.score import Curve

PERFECT, SOLVED = 500.0, 475.0


@dataclass(frozen=True, slots=True)
class Scores:
    """One number per seed, by seed; None where the seed never got there.

    `mean_held_out` is the area under the curve of held-out returns over the budget, divided by it, the value before the
    first evaluation counting 0: what sample efficiency and stability are together. `last` is the held-out return of
    the last evaluation, `final` best.pth's on the final set. `steps_to` and `seconds_to` are those at the first
    held-out evaluation that reached the return; seconds are the study's, of all seeds together. `kept` is the share of
    evaluations from the first that reached 475 on that did so too: what is not forgotten.
    """

    mean_held_out: list[float]
    last: list[float]
    final: list[float]
    kept: list[float]
    steps_to: dict[float, list[float | None]]
    seconds_to: dict[float, list[float | None]]
    diagnostics: dict[str, float]
    seconds: float
    evaluation_seconds: float
    budget: int
    commit: str | None


def read_scores(study: Path, targets: Sequence[float] = (SOLVED, PERFECT)) -> Scores:
    """All seeds of a study that has finished; one that failed has the scores it had until then."""
    summary = json.loads(RunDirectory(study).study.read_text())
    metrics = [_metrics(RunDirectory(folder)) for folder in seed_folders(study)]
    evaluated = [[record for record in records if "selection_return" in record] for records in metrics]
    budget = _budget(study)
    return Scores(
        mean_held_out=[_curve(records).mean_held_out(budget) for records in evaluated],
        last=[records[-1]["selection_return"] if records else 0.0 for records in evaluated],
        final=[seed["mean_return"] or 0.0 for seed in summary["seeds"]],
        kept=[_kept(records) for records in evaluated],
        steps_to={target: _first(evaluated, target, "env_steps") for target in targets},
        seconds_to={target: _first(evaluated, target, "seconds") for target in targets},
        diagnostics=_last_diagnostics(metrics),
        seconds=summary["seconds"],
        evaluation_seconds=summary["evaluation_seconds"],
        budget=budget,
        commit=_commit(study),
    )


def _metrics(directory: RunDirectory) -> list[dict[str, Any]]:
    return [json.loads(line) for line in directory.metrics.read_text().splitlines()]


def _budget(study: Path) -> int:
    return int(tomllib.loads(RunDirectory(study).recipe.read_text())["trainer"]["num_steps"])


def _commit(study: Path) -> str | None:
    state = json.loads(RunDirectory(study).manifest.read_text())["git"]
    return state and state["commit"] + ("-dirty" if state["dirty"] else "")


def _curve(records: list[dict[str, Any]]) -> Curve:
    return Curve([record["env_steps"] for record in records], [record["selection_return"] for record in records])


def _kept(records: list[dict[str, Any]]) -> float:
    solved = [record["selection_return"] >= SOLVED for record in records]
    later = solved[solved.index(True) :] if True in solved else [False]
    return sum(later) / len(later)


def _first(seeds: list[list[dict[str, Any]]], target: float, key: str) -> list[float | None]:
    return [next((each[key] for each in records if each["selection_return"] >= target), None) for records in seeds]


def _last_diagnostics(seeds: list[list[dict[str, Any]]]) -> dict[str, float]:
    """Medians over seeds of the last iteration's diagnostics."""
    last = [records[-1] for records in seeds]
    skip = {"iteration", "env_steps", "seconds", "episodes", "selection_return"}
    keys = [key for key in last[0] if key not in skip]
    found = {key: [record[key] for record in last if isinstance(record.get(key), int | float)] for key in keys}
    return {key: round(float(np.median(values)), 5) for key, values in found.items() if values}
