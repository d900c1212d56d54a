"""How a run or a study ended."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.training.aggregates import Aggregate, interquartile_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended. Returns are of best.pth on the final set; None if the run was cut short.

    `best_return` is best.pth's mean held-out return when it was chosen; None if there is none. `seconds` are those of
    the training loop, of which `evaluation_seconds` went into held-out episodes; of a study's a seed has its share,
    each iteration's time divided by the seeds in it. `solved`: `trainer.stop_at_return` was reached and confirmed.
    `failure`: what was not finite, and when.
    """

    run_dir: str
    seed: int
    best_checkpoint: str | None
    mean_return: float | None
    min_return: float | None
    ci95: tuple[float, float] | None
    episodes: int
    best_return: float | None
    env_steps: int
    seconds: float
    evaluation_seconds: float
    solved: bool
    failure: str | None
    status: str

    def as_plain_data(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """How a study ended: interquartile means over its seeds, with 95 % intervals, and every seed's own summary.

    `mean_return` is over all seeds: each with its final score, or with its `best_return` where it was cut short
    (`num_interrupted`); `num_unscored` have neither, and are not in it. `env_steps` is over all seeds; one that is not
    solved counts with the steps it took, so where more than a quarter are not it is a lower bound of the steps to
    solve.
    """

    run_dir: str
    mean_return: Aggregate | None
    env_steps: Aggregate
    num_solved: int
    num_interrupted: int
    num_unscored: int
    worst_seed: int | None
    seconds: float
    evaluation_seconds: float
    status: str
    seeds: tuple[Summary, ...]

    def as_plain_data(self) -> dict[str, Any]:
        return asdict(self)


def score_of(seed: Summary) -> float | None:
    """What a seed counts with: its final score, or its best so far."""
    return seed.best_return if seed.mean_return is None else seed.mean_return


def summarize_study(
    directory: RunDirectory, seeds: Sequence[Summary], *, seconds: float, evaluation_seconds: float
) -> StudySummary:
    """What its seeds' summaries say about a study that took so long."""
    returns = {seed.seed: score for seed in seeds if (score := score_of(seed)) is not None}
    statuses = [seed.status for seed in seeds]
    return StudySummary(
        run_dir=str(directory.path),
        mean_return=interquartile_mean(list(returns.values())) if returns else None,
        env_steps=interquartile_mean([float(seed.env_steps) for seed in seeds]),
        num_solved=sum(seed.solved for seed in seeds),
        num_interrupted=statuses.count("interrupted"),
        num_unscored=len(seeds) - len(returns),
        worst_seed=min(returns, key=lambda seed: returns[seed]) if returns else None,
        seconds=round(seconds, 3),
        evaluation_seconds=round(evaluation_seconds, 3),
        status=next(status for status in ("interrupted", "finished", "failed") if status in statuses),
        seeds=tuple(seeds),
    )
