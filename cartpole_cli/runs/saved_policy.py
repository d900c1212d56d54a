"""A policy as a run saves it: with the recipe it was trained by, and what was known when it was written."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.recipe.files import recipe_from_text
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.checkpoint import build_saved_policy, load_checkpoint


@dataclass(frozen=True, slots=True)
class SavedPolicy:
    """A checkpoint's policy (S = 1), the recipe it was trained by, and what was known when it was written."""

    path: Path
    policy: PolicyNetwork
    recipe: Recipe | str
    """If it is not understood, a line that says so."""
    metadata: dict[str, Any]


def load_saved_policy(path: Path, device: torch.device) -> SavedPolicy:
    """Read a checkpoint of a policy.

    Raises:
        CartpoleError: it is none, or damaged.
    """
    content = load_checkpoint(path, "policy")
    policy = build_saved_policy(content, path, device)
    recipe, metadata = content.get("recipe"), content.get("metadata")
    if not isinstance(recipe, str):
        raise CartpoleError(f"{path}: no recipe inside")
    if not isinstance(metadata, dict):
        raise CartpoleError(f"{path}: no metadata inside")
    return SavedPolicy(path, policy, recipe_inside(recipe, path), metadata)


def recipe_inside(text: object, path: Path) -> Recipe | str:
    """The recipe inside a file, which users cannot edit; if it cannot be read, a line that says so."""
    try:
        return recipe_from_text(text, source="recipe")
    except CartpoleError as error:
        first, *others = (problem.removeprefix("recipe: ") for problem in error.problems)
        more = f", and {len(others)} more" if others else ""
        return f"{path}: its recipe is not understood ({first}{more})"
