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
    recipe: Recipe
    metadata: dict[str, Any]


def load_saved_policy(path: Path, device: torch.device) -> SavedPolicy:
    """Read a checkpoint of a policy.

    Raises:
        CartpoleError: it is none, or damaged.
    """
    content = load_checkpoint(path, "policy")
    policy = build_saved_policy(content, path, device)
    recipe, metadata = recipe_from_text(content.get("recipe"), source=str(path)), content.get("metadata")
    if not isinstance(metadata, dict):
        raise CartpoleError(f"{path}: no metadata inside")
    return SavedPolicy(path, policy, recipe, metadata)
