"""A search space: a recipe, and the values that some of its fields may take."""

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import resolve_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.sweep.dimensions import Dimension, as_toml, dimension_of

MAX_CORNERS = 4_096
EXAMPLE = "'trainer.learning_rate=log(1e-4,1e-1)'"


@dataclass(frozen=True, slots=True)
class Space:
    """Dimensions in the order they were given; `written` is each as it was written, by key."""

    recipe: Recipe
    dimensions: tuple[Dimension, ...]
    written: dict[str, Any]

    def recipe_of(self, setting: Mapping[str, Any]) -> Recipe:
        """The recipe with these values.

        Raises:
            CartpoleError: it forbids them.
        """
        overrides = [f"{key}={as_toml(value)}" for key, value in setting.items()]
        return resolve_recipe(tomllib.loads(self.recipe.to_toml()), overrides, source="recipe")

    def corners(self) -> Iterator[dict[str, Any]]:
        """Every combination of the dimensions' ends."""
        for values in itertools.product(*(dimension.ends for dimension in self.dimensions)):
            yield dict(zip((dimension.key for dimension in self.dimensions), values, strict=True))

    def __post_init__(self) -> None:
        corners = math.prod(len(dimension.ends) for dimension in self.dimensions)
        if corners > MAX_CORNERS:
            raise CartpoleError(f"the space has {corners:,} corners to be checked; allowed: at most {MAX_CORNERS:,}")


def space_of(recipe: Recipe, written: Mapping[str, Any], source: str) -> Space:
    """The space that these texts (or lists, from a file) describe for a recipe.

    Raises:
        CartpoleError: a line for each thing wrong with it, values at the ends that the recipe forbids among them.
    """
    problems, dimensions = [], []
    for key, text in written.items():
        try:
            dimensions.append(dimension_of(recipe, key, text))
        except ValueError as error:
            problems.append(f"{source}: {key} = {text!r}: {error}")
    if not problems and not dimensions:
        problems.append(f"{source}: nothing to search over; expected SECTION.FIELD=VALUES, as in {EXAMPLE}")
    if problems:
        raise CartpoleError(*problems)
    space = Space(recipe, tuple(dimensions), dict(written))
    forbidden: dict[tuple[str, str], str] = {}
    for corner in space.corners():
        try:
            space.recipe_of(corner)
        except CartpoleError as error:
            for line in error.problems:
                problem = line.partition(": ")[2]
                key, _, given = problem.partition(" = ")
                forbidden.setdefault((key, given.partition(": ")[2]), problem)  # the first of alike values is enough
    if forbidden:
        raise CartpoleError(*(f"{source}: {problem}" for problem in forbidden.values()))
    return space
