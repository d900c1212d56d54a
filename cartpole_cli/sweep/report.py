"""What a search has found: which setting is best, how sure that is, and a recipe of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cartpole_cli.estimate import Estimate
from cartpole_cli.plots.slices import Slice, slices_of
from cartpole_cli.plots.slices import Trial as Point
from cartpole_cli.sweep.finalists import UNCHANGED, Finalist, Outcome, ranked
from cartpole_cli.sweep.search import Search
from cartpole_cli.sweep.trials import Trial


@dataclass(frozen=True, slots=True)
class SweepReport:
    """How a search has ended.

    `outcomes` are the finalists', best first, the recipe as it was among them; `confirmed` those of the best one and of
    the recipe on yet other seeds, where the best one is not the recipe itself.
    """

    search: Search
    trials: tuple[Trial, ...]
    outcomes: tuple[Outcome, ...]
    confirmed: tuple[Outcome, Outcome] | None

    @property
    def best(self) -> Trial | None:
        """The best finalist's trial, or without finalists the best trial; None: the recipe as it was.

        The last comparison decides between a finalist and the recipe.
        """
        if self.improvement is not None and self.improvement.value <= 0:
            return None
        if self.outcomes:
            return self.outcomes[0].finalist.trial
        first = next(iter(ranked(self.trials)), None)
        return first if first and first.score is not None else None

    @property
    def improvement(self) -> Estimate | None:
        """Of the best one over the recipe as it was, on seeds that it was not chosen by."""
        return self.confirmed[0].change(self.confirmed[1]) if self.confirmed else None

    @property
    def slices(self) -> list[Slice]:
        """How the score depends on each number, the most important first; none where no trial has a score."""
        return slices_of([Point(trial.number, trial.setting, trial.score) for trial in self.trials])

    @property
    def importances(self) -> dict[str, float | None]:
        """How much of the scores' variance each number explains, the most important first; see plots/slices.py."""
        return {each.key: each.importance for each in self.slices}

    def as_plain_data(self) -> dict[str, Any]:
        """The content of report.json."""
        best, improvement = self.best, self.improvement
        before = next((outcome for outcome in self.outcomes if outcome.finalist.trial is None), None)
        return {
            "recipe": self.search.recipe_name,
            "metric": self.search.settings.metric,
            "trials": len(self.trials),
            "without_score": sum(trial.score is None for trial in self.trials),
            "best": {
                "trial": best.number if best else None,
                "study": (f"trial-{best.number}" if best else UNCHANGED) if self.outcomes else None,
                "setting": best.setting if best else {},
                "score": best.score if best else None,
            },
            "improvement": improvement and improvement.as_plain_data("iqm"),
            "importance": self.importances,
            "finalists": [
                outcome.as_plain_data()
                | {
                    "change": outcome.change(before).as_plain_data("iqm") if before else None,
                    "distinguishable": outcome.is_distinguishable(self.outcomes[0]) if place else None,
                }
                for place, outcome in enumerate(self.outcomes)
            ],
            "confirmed": [outcome.as_plain_data() for outcome in self.confirmed or ()],
        }

    def best_recipe(self) -> str:
        """The best setting as a recipe, with a comment that says where it comes from."""
        search, best = self.search, self.best
        recipe = search.space.recipe_of(best.setting) if best else search.recipe
        keys = ", ".join(dimension.key for dimension in search.space.dimensions)
        lines = [f"Found by cartpole sweep: {len(self.trials)} trials of recipe {search.recipe_name!r}, over {keys}."]
        lines.append(f"It is trial {best.number}." if best else "No trial was better than the recipe as it was.")
        if best and self.improvement is not None:
            number = len(search.seeds(2))
            low, high = self.improvement.interval
            lines.append(
                f"Change of {WORDS[search.settings.metric]} against the recipe, on {number} seeds that it was not "
                f"chosen by: {self.improvement.value:+.1f} (95 % interval {low:+.1f} to {high:+.1f})."
            )
        elif best:
            lines.append("It was not compared with the recipe on seeds that it was not chosen by.")
        return "".join(f"# {line}\n" for line in lines) + recipe.to_toml()


WORDS = {"mean_held_out": "mean held-out return", "final": "last held-out return"}


def best_first(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """By interquartile mean; of equals the recipe as it was, then the earlier trial."""
    return sorted(outcomes, key=lambda outcome: (-outcome.estimate.value, outcome.finalist.name != UNCHANGED))


def to_confirm(outcomes: Sequence[Outcome]) -> list[Finalist]:
    """The best finalist and the recipe as it was; none where these are the same."""
    best = outcomes[0].finalist
    before = next(outcome.finalist for outcome in outcomes if outcome.finalist.trial is None)
    return [] if best.trial is None else [best, before]
