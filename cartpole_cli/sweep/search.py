"""A search as a file describes it: a recipe, [space] and [search]; the command line gives the same, or changes it."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import Field, ValidationError

from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.recipe.errors import COMMAND_LINE, explain
from cartpole_cli.recipe.files import find_recipe, load_recipe, read_recipe, resolve_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.recipe.sections import Section
from cartpole_cli.sweep.dimensions import Choice, is_dimension
from cartpole_cli.sweep.space import Space, space_of

DEFAULT_TRIALS = 64
MAX_TRIALS = 100_000


class SearchSection(Section):
    """How to search."""

    sampler: Literal["grid", "random", "tpe"] = "random"
    """Where settings come from: all combinations (grid), independent draws (random), or Optuna's tree-structured
    Parzen estimator, which learns from earlier trials (tpe; needs the [sweep] extra)."""
    trials: Annotated[int, Field(ge=1, le=MAX_TRIALS)] | None = None
    """Number of settings; unset: 64, or the whole grid."""
    seeds: Annotated[int, Field(ge=1, le=1_024)] = 4
    """Seeds that each setting is trained with, from the recipe's `trainer.seed` on."""
    metric: Literal["mean_held_out", "final"] = "mean_held_out"
    """Score of a seed: its held-out return averaged over the budget, or the last one."""
    finalists: Annotated[int, Field(ge=0, le=64)] = 5
    """Best settings that are trained again, on new seeds, beside the recipe as it was; 0: none."""
    confirm_seeds: Annotated[int, Field(ge=2, le=1_024)] = 32
    """Seeds that each finalist is trained with; the best one and the recipe then get as many more."""
    sampler_seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed that draws the settings; the trainings' seeds are counted from the recipe's `trainer.seed`."""


class SearchFile(Section):
    """A search: what to start from, what to change, and how."""

    recipe: str | Recipe
    """A recipe's name or path, or a whole recipe."""
    space: Annotated[dict[str, Any], Field(default_factory=dict)]
    """Fields and the values they may take: a list, or text as the command line takes it."""
    search: SearchSection = SearchSection()


@dataclass(frozen=True, slots=True)
class Search:
    """A search that is ready to run; `recipe_name` is its recipe's name."""

    recipe_name: str
    space: Space
    settings: SearchSection

    @property
    def recipe(self) -> Recipe:
        """What each trial changes."""
        return self.space.recipe

    @property
    def num_trials(self) -> int:
        if self.settings.sampler == "grid":
            return self.grid_size
        return self.settings.trials or DEFAULT_TRIALS

    @property
    def grid_size(self) -> int:
        size = 1
        for dimension in self.space.dimensions:
            size *= len(dimension.values) if isinstance(dimension, Choice) else 0
        return size

    def seeds(self, stage: int) -> range:
        """Of the trials (0), of the finalists (1) and of the last comparison (2): no seed is in two of them."""
        counts = (self.settings.seeds, self.settings.confirm_seeds, self.settings.confirm_seeds)
        first = self.recipe.trainer.seed + sum(counts[:stage])
        return range(first, first + counts[stage])

    def to_toml(self) -> str:
        """A file that describes this search, every field with its value."""
        recipe = tomllib.loads(self.recipe.to_toml())
        settings = self.settings.model_dump(mode="json") | {"trials": self.num_trials}
        return tomli_w.dumps({"recipe": recipe, "space": self.space.written, "search": settings})


def make_search(
    path: Path | None,
    recipe_name: str | None,
    words: Sequence[str],
    options: Mapping[str, Any],
) -> Search:
    """The search that a file and a command line describe together.

    Args:
        path: a search file, if there is one.
        recipe_name: the recipe to start from, in place of the file's.
        words: KEY=VALUES of the space, and KEY=VALUE for what is to be another in all trials.
        options: fields of [search] that the command line gives.

    Raises:
        CartpoleError: a line per problem.
    """
    content = _read(path) if path else SearchFile(recipe=recipe_name or "reinforce", space={})
    given = [word.partition("=") for word in words if "=" in word]
    spaces = {key.strip(): text for key, _, text in given if is_dimension(text)}
    fixed = [word for word in words if word.partition("=")[0].strip() not in spaces]
    recipe, name = _recipe(content.recipe, path, recipe_name, fixed)
    settings = _validated(content.search, options)
    source = COMMAND_LINE if spaces or path is None else f"{path}: [space]"
    space = space_of(recipe, content.space | spaces, source)
    search = Search(name, space, settings)
    problems = list(_problems(search))
    if problems:
        raise CartpoleError(*problems)
    return search


def read_search(path: Path, recipe_name: str) -> Search:
    """A search as `Search.to_toml` wrote it.

    Raises:
        CartpoleError: a line per problem.
    """
    content = _read(path)
    recipe, _ = _recipe(content.recipe, path, None, ())
    return Search(recipe_name, space_of(recipe, content.space, f"{path}: [space]"), content.search)


def _read(path: Path) -> SearchFile:
    try:
        data = tomllib.loads(read_recipe(path))
        data["space"] = _flat(data["space"]) if isinstance(data.get("space"), dict) else data.get("space", {})
    except (ValueError, RecursionError) as error:
        raise CartpoleError(f"{path}: not valid TOML: {one_line(error)}") from error
    recipe = data.get("recipe")
    if isinstance(recipe, dict):
        data["recipe"] = resolve_recipe(recipe, (), source=f"{path}: [recipe]")
    try:
        return SearchFile.model_validate(data)
    except ValidationError as error:
        raise CartpoleError(*explain(error, SearchFile, str(path), a_list="a list, as in [64, 128]")) from error


def _flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Tables within tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _recipe(
    given: str | Recipe, path: Path | None, recipe_name: str | None, overrides: Sequence[str]
) -> tuple[Recipe, str]:
    """The recipe and its name."""
    if isinstance(given, Recipe) and recipe_name is None:
        recipe = resolve_recipe(tomllib.loads(given.to_toml()), overrides, source=str(path))
        return recipe, path.stem if path else ""
    found = find_recipe(recipe_name or str(given))
    return load_recipe(found, overrides), found.stem


def _validated(settings: SearchSection, options: Mapping[str, Any]) -> SearchSection:
    try:
        return SearchSection.model_validate(settings.model_dump() | dict(options))
    except ValidationError as error:
        lines = explain(error, SearchSection, COMMAND_LINE, a_list="a list")
        raise CartpoleError(*map(_as_option, lines)) from error


def _as_option(line: str) -> str:
    """A line about a field of [search], as the command line has it."""
    key, space, rest = line.removeprefix(f"{COMMAND_LINE}: ").partition(" ")
    return f"--{key.replace('_', '-')}{space}{rest}"


def _problems(search: Search) -> list[str]:
    """What does not fit together."""
    settings, recipe, problems = search.settings, search.recipe, []
    if settings.sampler == "grid":
        size = search.grid_size
        between = [dimension.key for dimension in search.space.dimensions if not isinstance(dimension, Choice)]
        if between:
            reason = "a grid needs values to choose from; expected a,b,c, or another sampler"
            problems.append(f"{between[0]} = {search.space.written[between[0]]!r}: {reason}")
        elif settings.trials not in {None, size}:
            problems.append(f"trials = {settings.trials}: the grid has {size:,} settings; allowed: {size}, or unset")
        elif size > MAX_TRIALS:
            problems.append(f"the grid has {size:,} settings; allowed: at most {MAX_TRIALS:,}")
    if recipe.trainer.num_seeds > 1:
        problems.append(f"trainer.num_seeds = {recipe.trainer.num_seeds}: a search has --seeds and --confirm-seeds")
    if search.seeds(2)[-1] >= 2**63:
        problems.append(f"trainer.seed = {recipe.trainer.seed}: too large for the seeds of a search")
    if not problems:
        try:
            resolve_recipe(tomllib.loads(recipe.to_toml()), ["trainer.num_seeds=2"], source="recipe")
        except CartpoleError as error:
            problems += error.problems
    return problems
