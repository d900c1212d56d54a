"""Which run is best, and which cannot be told apart from it. No torch, as in `reading.py`."""

from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

from cartpole_cli.runs.fields import Score
from cartpole_cli.runs.reading import BROKEN, Run


def ranked(runs: Iterable[Run]) -> list[Run]:
    """Best first, by what was tested again, then what the run itself measured; broken ones last."""
    return sorted(runs, key=_key)


def shortest(runs: Iterable[Run], field: str) -> list[Run]:
    """By `seconds` or `env_steps`, the least first; runs where it is not known, and broken ones, last.

    Among equals the order is as it was.
    """

    def key(run: Run) -> tuple[bool, float]:
        value = getattr(run, field)
        return (run.status == BROKEN, inf if value is None else value)

    return sorted(runs, key=key)


def distinguishable(run: Run, best: Run) -> bool | None:
    """False if the intervals of the two overlap; None for the best run itself and where there is nothing to compare."""
    mine, other = (run.confirmed, best.confirmed) if best.confirmed else (run.score, best.score)
    if run is best or mine is None or other is None:
        return None
    (low, high), (other_low, other_high) = mine.mean_return.interval, other.mean_return.interval
    return high < other_low or other_high < low


def best_of_studies(runs: Iterable[Run]) -> list[Run]:
    """Of ranked runs those of no study, and each study's first."""
    seen: set[Path] = set()
    chosen = []
    for run in runs:
        if run.study is None or run.study.directory.path not in seen:
            chosen.append(run)
        if run.study is not None:
            seen.add(run.study.directory.path)
    return chosen


def winner(runs: Iterable[Run]) -> Run | None:
    """The first of ranked runs that has both a checkpoint and a score."""
    return next((run for run in runs if run.has_checkpoint and run.score and not run.problem), None)


def _key(run: Run) -> tuple[int | float | str, ...]:
    if run.status == BROKEN:
        return True, run.name
    horizon = -inf if run.longer_horizon_return is None else run.longer_horizon_return
    steps = inf if run.env_steps is None else run.env_steps
    return (False, *_order(run.confirmed), *_order(run.score), -horizon, steps, run.name)


def _order(score: Score | None) -> tuple[float, float]:
    return (-score.mean_return.value, -score.min_return) if score else (inf, inf)


def as_plain_data(run: Run, best: Run) -> dict[str, Any]:
    """The row of a run in `cartpole best --json`, which documents the keys."""
    unscored = {"set": None, "episodes": None, "mean_return": None, "min_return": None, "ci95": None}
    return {
        "run": run.name,
        "run_dir": str(run.directory.path),
        "study": run.study and run.study.as_plain_data(),
        "best_checkpoint": str(run.directory.best) if run.has_checkpoint else None,
        "recipe": run.recipe,
        "algorithm": run.algorithm,
        "environment": run.environment,
        **(run.score.as_plain_data() if run.score else unscored),
        "longer_horizon_return": run.longer_horizon_return,
        "confirmed": run.confirmed and run.confirmed.as_plain_data(),
        "distinguishable": distinguishable(run, best),
        "env_steps": run.env_steps,
        "seconds": run.seconds,
        "status": run.status,
        "problem": run.problem,
    }
