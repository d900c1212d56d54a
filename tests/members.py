"""Algorithms of members that are all the same, and numbers as their functions take them: one per member."""

from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from cartpole_cli.algorithms.interface import Algorithm
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.recipe.sections import Section
from cartpole_cli.training.build import build_trainer
from cartpole_cli.training.trainer import Trainer

AlgorithmT = TypeVar("AlgorithmT", bound=Algorithm[Any, Any])


def of_members(
    kind: type[AlgorithmT], section: Section, num_seeds: int, dtype: torch.dtype = torch.float32
) -> AlgorithmT:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return kind([section] * num_seeds, torch.device("cpu"))
    finally:
        torch.set_default_dtype(before)


def trainer_of(recipe: Recipe, seeds: Iterable[int], device: str = "cpu") -> Trainer:
    return build_trainer([recipe.for_seed(seed) for seed in seeds], torch.device(device))


def per_seed(number: float, like: Tensor) -> Tensor:
    """[S], of a tensor [S, ...] and in its precision."""
    return torch.full(like.shape[:1], number, dtype=like.dtype)


def flat(epochs: Iterable[Iterable[Iterable[Any]]]) -> list[list[Any]]:
    """All that each epoch's steps are made of, in one list."""
    return [[part for step in epoch for part in step] for epoch in epochs]
