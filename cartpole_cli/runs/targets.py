"""What a user names to be scored or exported: a checkpoint, a run, or an ONNX file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from cartpole_cli.environment_recipes import TASKS, GymnasiumEnvironment, NativeEnvironment
from cartpole_cli.environments.registered import import_module_of
from cartpole_cli.errors import CartpoleError, did_you_mean, reading
from cartpole_cli.files import read_bytes
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.policy.onnx_policy import OnnxPolicy
from cartpole_cli.policy.onnx_sandbox import Sandbox
from cartpole_cli.recipe import Recipe
from cartpole_cli.recipe_files import recipe_from_text
from cartpole_cli.runs.checkpoint import build_saved_policy, load_checkpoint
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.ranking import ranked, winner
from cartpole_cli.runs.reading import read_runs, seed_folders

MAX_ONNX = 256 << 20
"""Bytes: 10,000 times what is exported."""


@dataclass(frozen=True, slots=True)
class SavedPolicy:
    """A checkpoint's policy (S = 1), the recipe it was trained by, and what was known when it was written."""

    path: Path
    policy: PolicyNetwork
    recipe: Recipe
    metadata: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """A policy that can be scored, and the task it is for."""

    name: str
    policy: PolicyNetwork | OnnxPolicy
    environment: NativeEnvironment | GymnasiumEnvironment


def find_checkpoint(target: str, runs_dir: Path) -> Path:
    """The file a user means: a file, a run's folder, or a run's name in the runs folder; a study's best seed.

    Raises:
        CartpoleError: there is none.
    """
    path = Path(target)
    try:
        for folder in (path, runs_dir / target):
            if folder.is_dir():
                of_study = winner(ranked(read_runs(folder))) if seed_folders(folder) else None
                best = (of_study.directory if of_study else RunDirectory(folder)).best
                if best.exists() and not best.is_dir():
                    return best
                raise CartpoleError(f"{folder}: has no best.pth; expected a run that has been evaluated")
            if folder.exists():
                return folder
        names = [entry.name for entry in runs_dir.iterdir()] if runs_dir.is_dir() else []
    except OSError as error:
        raise CartpoleError(f"{target}: cannot be read ({error.strerror})") from error
    raise CartpoleError(f"{target}: no such file, and no run in {runs_dir}{did_you_mean(target, names)}")


def runs_of(target: str, runs_dir: Path) -> list[str]:
    """The target itself, or a study's runs that have a best.pth."""
    for folder in (Path(target), runs_dir / target):
        found = [run.name for run in seed_folders(folder) if RunDirectory(run).best.is_file()]
        if found:
            return [f"{target}/{name}" for name in found]
    return [target]


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


def load_target(target: str, runs_dir: Path, device: torch.device) -> Target:
    """A policy to score; an ONNX file may be anybody's.

    Raises:
        CartpoleError: nothing there that can be scored.
    """
    path = find_checkpoint(target, runs_dir)
    if path.suffix.lower() != ".onnx":
        saved = load_saved_policy(path, device)
        return Target(target, saved.policy, saved.recipe.environment)
    with reading(path):
        model = read_bytes(path, MAX_ONNX)
    policy = OnnxPolicy(model, str(path), Sandbox().open)
    if "recipe" in policy.metadata:
        recipe = recipe_from_text(policy.metadata["recipe"], source=str(path))
        return Target(target, policy, recipe.environment)
    return Target(target, policy, task_named("CartPole-v1" if policy.num_values == 2 else "ContinuousCartPole-v1"))


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
