"""What the trainer tells after each iteration: plain records, for files, screens and trackers."""

from dataclasses import dataclass

from cartpole_cli.training.evaluation import Evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class SeedReport:
    """What one iteration did to one seed."""

    member: int
    """Its place among those that the trainer began with; of two members the seed may be the same."""
    seed: int
    env_steps: int
    episodes: int
    episode_return: float | None
    diagnostics: dict[str, float]
    hint: str | None
    evaluation: Evaluation | None
    confirmation: Evaluation | None
    improved: bool
    solved: bool
    failure: str | None
    """What was not finite, and when; a seed that has failed learns no more."""
    finished: bool


@dataclass(frozen=True, slots=True)
class Report:
    """One iteration of the seeds that took part in it."""

    iteration: int
    seeds: tuple[SeedReport, ...]
