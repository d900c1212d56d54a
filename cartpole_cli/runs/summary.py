"""How a run or a study ended."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cartpole_cli.estimate import Estimate
from cartpole_cli.intervals import interquartile_mean
from cartpole_cli.runs.directory import RunDirectory


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
    mean_return: Estimate | None
    min_return: float | None
    episodes: int
    best_return: float | None
    env_steps: int
    seconds: float
    evaluation_seconds: float
    solved: bool
    failure: str | None
    status: str

    def as_plain_data(self) -> dict[str, Any]:
        unscored = {"mean_return": None, "ci95": None}
        return asdict(self) | (self.mean_return.as_plain_data("mean_return") if self.mean_return else unscored)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySummary:
    """How a study ended: interquartile means over its seeds, with 95 % intervals, and every seed's own summary.

    `mean_return` is over all seeds: each with its final score, or with its `best_return` where it was cut short
    (`num_interrupted`); `num_unscored` have neither, and are not in it. `env_steps` is over all seeds; one that is not
    solved counts with the steps it took, so where more than a quarter are not it is a lower bound of the steps to
    solve.
    """

    run_dir: str
    mean_return: Estimate | None
    env_steps: Estimate
    num_solved: int
    num_interrupted: int
    num_unscored: int
    worst_seed: int | None
    seconds: float
    evaluation_seconds: float
    status: str
    seeds: tuple[Summary, ...]

    def as_plain_data(self) -> dict[str, Any]:
        return asdict(self) | {
            "mean_return": self.mean_return and self.mean_return.as_plain_data("iqm"),
            "env_steps": self.env_steps.as_plain_data("iqm"),
            "seeds": [seed.as_plain_data() for seed in self.seeds],
        }


def score_of(seed: Summary) -> float | None:
    """What a seed counts with: its final score, or its best so far."""
    return seed.mean_return.value if seed.mean_return else seed.best_return


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
