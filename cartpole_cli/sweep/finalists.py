"""The best settings and the recipe as it was, trained again on seeds that none of them was chosen by."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError
from cartpole_cli.estimate import Estimate
from cartpole_cli.intervals import interquartile_difference, interquartile_mean
from cartpole_cli.plots.curves import read_seed
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.resume import Resumable, load_resumable
from cartpole_cli.runs.summary import StudySummary, score_of
from cartpole_cli.sweep.score import Curve
from cartpole_cli.sweep.search import Search
from cartpole_cli.sweep.trials import Trial

UNCHANGED = "recipe"
"""The name of the study of the recipe as it was."""


@dataclass(frozen=True, slots=True)
class Finalist:
    """A study to be trained: of a trial's setting, or of the recipe as it was (`trial` is None)."""

    name: str
    trial: Trial | None
    recipe: Recipe

    def again(self) -> "Finalist":
        """The same for the last comparison."""
        return Finalist(f"{self.name}-confirmed", self.trial, self.recipe)

    @property
    def setting(self) -> dict[str, Any]:
        return self.trial.setting if self.trial else {}


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of a finalist's study: a number per seed, ordered by seed."""

    finalist: Finalist
    scores: tuple[float, ...]
    final_returns: tuple[float, ...]
    num_solved: int

    @property
    def estimate(self) -> Estimate:
        return interquartile_mean(self.scores)

    def change(self, other: "Outcome") -> Estimate:
        """How much higher the interquartile mean is than the other's, seed by seed."""
        return interquartile_difference(self.scores, other.scores)

    def is_distinguishable(self, other: "Outcome") -> bool:
        """Whether the interval of the change holds no 0."""
        low, high = self.change(other).interval
        return low > 0 or high < 0

    def as_plain_data(self) -> dict[str, Any]:
        return {
            "study": self.finalist.name,
            "trial": self.finalist.trial.number if self.finalist.trial else None,
            "setting": self.finalist.setting,
            "score": self.estimate.as_plain_data("iqm"),
            "final_return": interquartile_mean(self.final_returns).as_plain_data("iqm"),
            "num_solved": self.num_solved,
            "seeds": len(self.scores),
        }


def ranked(trials: Iterable[Trial]) -> list[Trial]:
    """Best first; of equals the earlier one, and those without a score last."""
    return sorted(trials, key=lambda trial: (-math.inf if trial.score is None else trial.score, -trial.number))[::-1]


def finalists_of(search: Search, trials: Sequence[Trial], stage: int) -> list[Finalist]:
    """The recipe as it was, and the best trials that have a score, each setting once; with the seeds of that stage."""
    seeds = search.seeds(stage)

    def on_new_seeds(recipe: Recipe) -> Recipe:
        trainer = recipe.trainer.model_copy(update={"seed": seeds[0], "num_seeds": len(seeds)})
        return recipe.model_copy(update={"trainer": trainer})

    chosen = [Finalist(UNCHANGED, None, on_new_seeds(search.recipe))]
    for trial in ranked(trials):
        if trial.score is None or len(chosen) > search.settings.finalists:
            break
        recipe = on_new_seeds(search.space.recipe_of(trial.setting))
        if all(recipe != finalist.recipe for finalist in chosen):
            chosen.append(Finalist(f"trial-{trial.number}", trial, recipe))
    return chosen


def load_study(finalist: Finalist, folder: Path) -> Resumable:
    """The finalist's study, as far as it is.

    Raises:
        CartpoleError: it cannot be read, or is of another setting.
    """
    path = folder / finalist.name
    run = load_resumable(str(path), folder, ())
    if run.recipe != finalist.recipe:
        raise CartpoleError(f"{path}: does not have the setting of {finalist.name}; remove it to train that again")
    return run


def read_outcome(finalist: Finalist, folder: Path, metric: str) -> Outcome:
    """The results of a finalist's study, which has ended.

    Raises:
        CartpoleError: its files are damaged.
    """
    directory = RunDirectory(folder / finalist.name)
    summary = load_study(finalist, folder).summary()
    assert isinstance(summary, StudySummary)
    settings = finalist.recipe.trainer
    scores = []
    for seed in summary.seeds:
        points = read_seed(directory.of_seed(seed.seed), x="steps", y="held-out")
        after = settings.stop_at_return if seed.solved else None
        score = Curve([int(step) for step in points.x], points.y.tolist(), after).score(metric, settings.num_steps)
        if None in {score, score_of(seed)} and seed.failure is None:
            raise CartpoleError(f"{seed.run_dir}: its results are gone; remove {directory.path} to train it again")
        scores.append(score or 0.0)  # a failed seed's, if it has none
    final = tuple(score_of(seed) or 0.0 for seed in summary.seeds)
    return Outcome(finalist, tuple(scores), final, summary.num_solved)
