"""How a run or a study ended."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.training.aggregates import Aggregate, interquartile_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended. Returns are of best.pth on the final set; None if the run was cut short.

    `seconds` are those of the training loop, of which `evaluation_seconds` went into held-out episodes; a study's
    seeds share both. `solved`: `trainer.stop_at_return` was reached and confirmed. `failure`: what was not finite, and
    when.
    """

    run_dir: str
    seed: int
    best_checkpoint: str | None
    mean_return: float | None
    min_return: float | None
    ci95: tuple[float, float] | None
    episodes: int
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

    `mean_return` is over the seeds that have a final score. `env_steps` is over all seeds; one that is not solved
    counts with the steps it took, so where more than a quarter are not it is a lower bound of the steps to solve.
    """

    run_dir: str
    mean_return: Aggregate | None
    env_steps: Aggregate
    num_solved: int
    worst_seed: int | None
    seconds: float
    evaluation_seconds: float
    status: str
    seeds: tuple[Summary, ...]

    def as_plain_data(self) -> dict[str, Any]:
        return asdict(self)


def summarize_study(directory: RunDirectory, seeds: Sequence[Summary]) -> StudySummary:
    """What its seeds' summaries say about a study."""
    returns = {seed.seed: seed.mean_return for seed in seeds if seed.mean_return is not None}
    statuses = {seed.status for seed in seeds}
    return StudySummary(
        run_dir=str(directory.path),
        mean_return=interquartile_mean(list(returns.values())) if returns else None,
        env_steps=interquartile_mean([float(seed.env_steps) for seed in seeds]),
        num_solved=sum(seed.solved for seed in seeds),
        worst_seed=min(returns, key=lambda seed: returns[seed]) if returns else None,
        seconds=seeds[0].seconds,
        evaluation_seconds=seeds[0].evaluation_seconds,
        status=next(status for status in ("interrupted", "finished", "failed") if status in statuses),
        seeds=tuple(seeds),
    )
