"""Recipe -> algorithm."""

from collections.abc import Sequence
from typing import Any, TypeVar, assert_never

import torch

from cartpole_cli.algorithms.dpo import DPO
from cartpole_cli.algorithms.grpo import GRPO
from cartpole_cli.algorithms.interface import Algorithm
from cartpole_cli.algorithms.ppo import PPO
from cartpole_cli.algorithms.reinforce import Reinforce
from cartpole_cli.recipe.algorithm import AlgorithmRecipe, DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.sections import Section

Kind = TypeVar("Kind", bound=Section)


def build_algorithm(sections: Sequence[AlgorithmRecipe], device: torch.device) -> Algorithm[Any, Any]:
    """The algorithm that the recipes of all members name, with the numbers of each."""
    match sections[0]:
        case ReinforceRecipe():
            return Reinforce(_all(sections, ReinforceRecipe), device)
        case PPORecipe():
            return PPO(_all(sections, PPORecipe), device)
        case GRPORecipe():
            return GRPO(_all(sections, GRPORecipe), device)
        case DPORecipe():
            return DPO(_all(sections, DPORecipe), device)
        case _:
            assert_never(sections[0])


def _all(sections: Sequence[Section], kind: type[Kind]) -> list[Kind]:
    of_kind = [section for section in sections if isinstance(section, kind)]
    assert len(of_kind) == len(sections)
    return of_kind
