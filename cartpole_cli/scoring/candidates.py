"""What a user asks about: the policy of a checkpoint, a run, or an ONNX file, and the task it is for."""

from dataclasses import dataclass
from pathlib import Path

import torch

from cartpole_cli.actions import PUSHES
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.deploy.sandbox import Sandbox
from cartpole_cli.environments.registered import import_module_of
from cartpole_cli.errors import CartpoleError, reading
from cartpole_cli.files import read_bytes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.recipe.environment import TASKS, GymnasiumEnvironment, NativeEnvironment
from cartpole_cli.recipe.files import recipe_from_text
from cartpole_cli.runs.checkpoint import load_saved_policy
from cartpole_cli.runs.find import find_checkpoint

MAX_ONNX = 256 << 20
"""Bytes: 10,000 times what is exported."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy that can be scored, and the task it is for."""

    name: str
    policy: PolicyNetwork | OnnxPolicy
    environment: NativeEnvironment | GymnasiumEnvironment


def load_candidate(name: str, runs_dir: Path, device: torch.device) -> Candidate:
    """A policy to score; an ONNX file may be anybody's.

    Raises:
        CartpoleError: nothing there that can be scored.
    """
    path = find_checkpoint(name, runs_dir)
    if path.suffix.lower() != ".onnx":
        saved = load_saved_policy(path, device)
        return Candidate(name, saved.policy, saved.recipe.environment)
    with reading(path):
        model = read_bytes(path, MAX_ONNX)
    policy = OnnxPolicy(model, str(path), Sandbox().open)
    if "recipe" in policy.metadata:
        recipe = recipe_from_text(policy.metadata["recipe"], source=str(path))
        return Candidate(name, policy, recipe.environment)
    return Candidate(name, policy, task_named("CartPole-v1" if policy.actions == PUSHES else "ContinuousCartPole-v1"))


def task_named(environment_id: str) -> NativeEnvironment | GymnasiumEnvironment:
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
