"""What a user asks about: the policy of a checkpoint, a run, or an ONNX file, and the task it is for."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from cartpole_cli.actions import PUSHES, drives_cart_pole
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.deploy.sandbox import Sandbox
from cartpole_cli.environments.registered import check_registered, import_module_of
from cartpole_cli.errors import CartpoleError, reading
from cartpole_cli.files import read_bytes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.recipe.environment import GymnasiumEnvironment, NativeEnvironment
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.find import find_checkpoint
from cartpole_cli.runs.saved_policy import load_saved_policy, recipe_inside
from cartpole_cli.tasks import TASKS

MAX_ONNX = 256 << 20
"""Bytes: 10,000 times what is exported."""
EnvironmentRecipe = NativeEnvironment | GymnasiumEnvironment


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that can be scored."""

    name: str
    policy: PolicyNetwork | OnnxPolicy
    recipe: Recipe | str | None
    """What it was trained by; if it is not understood, a line that says so."""
    device: torch.device
    study: str | None = None
    """The study that the user named, if this is one of its runs."""

    @property
    def drives_cart_pole(self) -> bool:
        """Whether it takes a cart-pole's observations, and gives a push or a force."""
        return drives_cart_pole(self.policy.observation_size, self.policy.actions)

    @property
    def cart_pole(self) -> str:
        """Gymnasium's cart-pole, or its continuous form: whichever its actions are for."""
        return "CartPole-v1" if self.policy.actions == PUSHES else "ContinuousCartPole-v1"

    def task(self, tell: Callable[[str], None]) -> EnvironmentRecipe:
        """What it was trained on, if that is registered; if the recipe does not say, the cart-pole that it drives.

        Args:
            tell: receives a note if there is a recipe that is not understood.

        Raises:
            CartpoleError: its environment is not registered, or nothing is known and it drives no cart-pole.
        """
        match self.recipe:
            case Recipe(environment=environment):
                check_registered(environment.id, self.name)
                return environment
            case str(problem) if self.drives_cart_pole:
                tell(f"note: {problem}: scored on {self.cart_pole}")
            case str(problem):
                raise CartpoleError(problem)
        return task_named(self.cart_pole)


def load_candidate(name: str, runs_dir: Path, device: torch.device, study: str | None = None) -> Candidate:
    """A policy to score; an ONNX file may be anybody's.

    Raises:
        CartpoleError: nothing there that can be scored.
    """
    path = find_checkpoint(name, runs_dir)
    if path.suffix.lower() != ".onnx":
        saved = load_saved_policy(path, device)
        return Candidate(name, saved.policy, saved.recipe, device, study)
    with reading(path):
        model = read_bytes(path, MAX_ONNX)
    policy = OnnxPolicy(model, str(path), Sandbox().open)
    text = policy.metadata.get("recipe")
    recipe = None if text is None else recipe_inside(text, path)
    return Candidate(name, policy, recipe, device, study)


def task_named(environment_id: str) -> EnvironmentRecipe:
    """The environment of an id that the user gave: ours, or Gymnasium's, whose module is imported.

    Raises:
        CartpoleError: it is empty, or the module cannot be imported.
    """
    import_module_of(environment_id)
    match environment_id:
        case "":
            raise CartpoleError("--environment '': allowed: an id, as in CartPole-v1")
        case _ if (name := environment_id.removeprefix("cartpole_cli/")) in TASKS:
            return NativeEnvironment.model_validate({"id": name})
        case _:
            return GymnasiumEnvironment(backend="gymnasium", id=environment_id)
