"""How many computations a search makes, and how long they will take, measured on one iteration of the first."""

import time
from dataclasses import dataclass

import torch

from cartpole_cli.sweep.sampler import generations, settings_of
from cartpole_cli.sweep.search import Search
from cartpole_cli.sweep.trials import Computation, Planned, grouped
from cartpole_cli.training.trainer import Trainer


@dataclass(frozen=True, slots=True)
class Plan:
    """`seconds`: of all trials and finalists with their whole budgets, evaluations left out."""

    num_computations: int
    seconds: float


def plan(search: Search, device: torch.device) -> Plan:
    """Of a search that asks for settings generation by generation, the first stands for all.

    Raises:
        CartpoleError: the environment cannot be made, or is too large for the memory.
    """
    parts, seeds = generations(search), search.seeds(0)
    first = settings_of(search, parts[0], ())
    planned = [Planned(number, setting, search.space.recipe_of(setting)) for number, setting in enumerate(first)]
    groups = grouped(planned, len(seeds))
    computation = Computation(groups[0], seeds, device)
    seconds = seconds_per_step(computation.trainer)
    members = search.num_trials * len(seeds)
    if search.settings.finalists:
        members += (search.settings.finalists + 1 + 2) * search.settings.confirm_seeds
    return Plan(len(groups) * len(parts), seconds * members * search.recipe.trainer.num_steps)


def seconds_per_step(trainer: Trainer) -> float:
    """Of training, per env step of one member, evaluations left out; the trainer is of no use afterwards."""
    iterations = trainer.iterations()
    next(iterations)  # the first one warms up
    steps_before, started = trainer.env_steps.sum().item(), time.perf_counter()
    evaluating = trainer.evaluator.seconds
    next(iterations, None)
    spent = time.perf_counter() - started - (trainer.evaluator.seconds - evaluating)
    trainer.environment.close()
    return spent / max(trainer.env_steps.sum().item() - steps_before, 1)
