"""Trials as members of one computation: settings that share their shapes, each with all seeds, trained at once."""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from cartpole_cli.environments.registered import import_module_of
from cartpole_cli.recipe.files import recipe_from_text
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.recipe.sections import shape_of
from cartpole_cli.sweep.score import Curve, mean_score
from cartpole_cli.training.build import build_trainer, set_up_torch
from cartpole_cli.training.reports import SeedReport
from cartpole_cli.workers.interface import MEMBERS_AT_ONCE

COMPUTE = "cartpole_cli.sweep.trials:compute"
"""What workers are asked to run."""


@dataclass(frozen=True, slots=True)
class Planned:
    """A trial to come: its number, its setting, and the recipe that has it."""

    number: int
    setting: dict[str, Any]
    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Trial:
    """A trial that has ended; `score` is the mean over its seeds, None if one failed before its first evaluation."""

    number: int
    setting: dict[str, Any]
    score: float | None
    seeds: tuple[dict[str, Any], ...]

    def as_plain_data(self) -> dict[str, Any]:
        return {"trial": self.number, "setting": self.setting, "score": self.score, "seeds": list(self.seeds)}

    @property
    def env_steps(self) -> int:
        return sum(int(seed["env_steps"]) for seed in self.seeds)


def grouped(trials: Sequence[Planned], num_seeds: int, num_workers: int = 1) -> list[list[Planned]]:
    """Trials that can be one computation, in order; as many at once as is fast, and leaves no worker idle."""
    by_shape: dict[str, list[Planned]] = {}
    for trial in trials:
        by_shape.setdefault(_shape(trial.recipe), []).append(trial)
    share = -(-len(trials) // num_workers)
    size = max(1, min(MEMBERS_AT_ONCE // num_seeds, share))
    return [group[first : first + size] for group in by_shape.values() for first in range(0, len(group), size)]


def _shape(recipe: Recipe) -> str:
    sections = (recipe.algorithm, recipe.policy, recipe.trainer)
    return repr([recipe.environment, *map(shape_of, sections)])


def job_of(trials: Sequence[Planned], seeds: Sequence[int], metric: str, device: str) -> bytes:
    """What `compute` is to be given."""
    recipes = [_on(trial.recipe, device).to_toml() for trial in trials]
    plain = [{"trial": trial.number, "setting": trial.setting} for trial in trials]
    return json.dumps({"trials": plain, "recipes": recipes, "seeds": list(seeds), "metric": metric}).encode()


def trials_of(result: bytes) -> list[Trial]:
    """The results of `compute`."""
    return [
        Trial(trial["trial"], trial["setting"], trial["score"], tuple(trial["seeds"])) for trial in json.loads(result)
    ]


def lost(trials: Sequence[Planned], seeds: Sequence[int]) -> list[Trial]:
    """Trials without results: no worker survived them."""
    nothing: dict[str, Any] = {"score": None, "last": None, "env_steps": 0, "status": "lost"}
    of_seeds = tuple({"seed": seed} | nothing for seed in seeds)
    return [Trial(trial.number, trial.setting, None, of_seeds) for trial in trials]


def compute(job: bytes) -> Iterator[float | bytes]:
    """Run some trials of one shape: shares of the budgets that are done, then the trials.

    Raises:
        CartpoleError: the environment cannot be made, or is too large for the memory.
    """
    asked = json.loads(job)
    planned = [
        Planned(trial["trial"], trial["setting"], recipe_from_text(recipe, source="recipe"))
        for trial, recipe in zip(asked["trials"], asked["recipes"], strict=True)
    ]
    recipe = planned[0].recipe
    import_module_of(recipe.environment.id)
    computation = Computation(planned, asked["seeds"], set_up_torch(recipe.trainer))
    yield from computation.iterations()
    yield json.dumps([trial.as_plain_data() for trial in computation.results(asked["metric"])]).encode()


def _on(recipe: Recipe, device: str) -> Recipe:
    return recipe.model_copy(update={"trainer": recipe.trainer.model_copy(update={"device": device})})


class Computation:
    """Trains some trials of one shape with all their seeds.

    Raises:
        CartpoleError: the environment cannot be made, or is too large for the memory.
    """

    def __init__(self, trials: Sequence[Planned], seeds: Sequence[int], device: torch.device) -> None:
        self._trials, self._seeds = trials, seeds
        members = [trial.recipe.for_seed(seed) for trial in trials for seed in seeds]
        self.trainer = build_trainer(members, device)
        self._curves = [Curve([], []) for _ in members]
        self._newest: list[SeedReport | None] = [None] * len(members)

    def iterations(self) -> Iterator[float]:
        """Train; after each iteration the share of the budgets that is done."""
        budget = self.trainer.settings.num_steps
        for report in self.trainer.iterations():
            for seed in report.seeds:
                self._newest[seed.member] = seed
                if seed.evaluation is not None and math.isfinite(seed.evaluation.mean):
                    self._curves[seed.member].steps.append(seed.env_steps)
                    self._curves[seed.member].returns.append(seed.evaluation.mean)
                if seed.solved:
                    self._curves[seed.member].after = self.trainer.settings.stop_at_return
            done = [budget if seed.finished else min(seed.env_steps, budget) for seed in self._newest if seed]
            yield sum(done) / (budget * len(self._newest))
        self.trainer.environment.close()

    def results(self, metric: str) -> list[Trial]:
        """The trials, when all iterations are done."""
        budget, results = self.trainer.settings.num_steps, []
        for place, trial in enumerate(self._trials):
            members = range(place * len(self._seeds), (place + 1) * len(self._seeds))
            scores = [self._curves[member].score(metric, budget) for member in members]
            seeds = [
                {
                    "seed": seed,
                    "score": score,
                    "last": self._curves[member].returns[-1] if self._curves[member].returns else None,
                    "env_steps": report.env_steps,
                    "status": "failed" if report.failure else "solved" if report.solved else "finished",
                }
                for seed, score, member in zip(self._seeds, scores, members, strict=True)
                if (report := self._newest[member]) is not None
            ]
            results.append(Trial(trial.number, trial.setting, mean_score(scores), tuple(seeds)))
        return results
