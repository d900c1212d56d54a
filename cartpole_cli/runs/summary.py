"""How a run ended."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How a run ended. Returns are of best.pth on the final set; None if the run was cut short.

    `seconds` are those of the training loop, of which `evaluation_seconds` went into held-out episodes.
    `solved`: `trainer.stop_at_return` was reached and confirmed. `failure`: what was not finite, and when.
    """

    run_dir: str
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
