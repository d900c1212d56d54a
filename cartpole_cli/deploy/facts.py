"""What is known about a policy, to be said in the files made of it."""

import json
import platform
from importlib.metadata import version
from typing import Any

from cartpole_cli.actions import MAX_FORCE, Discrete
from cartpole_cli.environments.build import range_of
from cartpole_cli.environments.randomization import Range
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.saved_policy import SavedPolicy
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of
from cartpole_cli.tasks import STANDARD

MAX_NAME = 60
PACKAGES = ("cartpole-cli", "torch", "onnx", "onnxruntime")


def metadata_of(saved: SavedPolicy) -> dict[str, str]:
    """What an ONNX file says about itself, every value a text."""
    discrete = isinstance(saved.policy.actions, Discrete)
    score = _held_out(saved)
    return _training(saved) | {
        "action": "discrete" if discrete else "continuous",
        "action_units": f"logits of -{MAX_FORCE:g} N and +{MAX_FORCE:g} N" if discrete else "N",
        "observation": "x, x_dot, theta, theta_dot",
        "observation_units": "m, m/s, rad, rad/s",
        "held_out_set": str(score.get("set", "")),
        "held_out_return": str(score.get("mean_return", "")),
        "held_out_ci95": json.dumps(score.get("ci95")),
        "env_steps": str(saved.metadata.get("env_steps", "")),
        "versions": json.dumps({"python": platform.python_version()} | {name: version(name) for name in PACKAGES}),
    }


def info_of(saved: SavedPolicy) -> dict[str, Any]:
    """What code says about itself: plain data, None where it is not known."""
    reader, recipe, score = Reader(), saved.recipe, _held_out(saved)
    name = reader.text(reader.fields(RunDirectory(saved.path.parent).manifest).get("recipe"), "recipe")
    return {
        "recipe_name": None if name is None else name[:MAX_NAME],
        "algorithm": None if isinstance(recipe, str) else recipe.algorithm.name,
        "environment": None if isinstance(recipe, str) else recipe.environment.id,
        "env_steps": reader.count(saved.metadata.get("env_steps"), "env_steps"),
        "held_out": {key: score[key] for key in ("set", "episodes", "mean_return", "ci95")} if score else None,
        "checkpoint_sha256": digest_of(saved.path),
        "control_hz": control_hz(saved),
        "recipe": None if isinstance(recipe, str) else recipe.to_toml(),
        "versions": {name: version(name) for name in PACKAGES[:2]},
    }


def control_hz(saved: SavedPolicy) -> float:
    """How often the policy decided while it was trained, 1/s: on average, where that differed between episodes."""
    if isinstance(saved.recipe, str):
        return 1 / (STANDARD["time_step"] * STANDARD["hold"])
    ranges = [range_of(saved.recipe.environment, name) for name in ("time_step", "hold")]
    step, hold = ((each.low + each.high) / 2 for each in ranges)
    return 1 / (step * hold)


def _training(saved: SavedPolicy) -> dict[str, str]:
    """What the recipe says; nothing, if it is not understood."""
    if isinstance(saved.recipe, str):
        return {}
    environment = saved.recipe.environment
    return {
        "algorithm": saved.recipe.algorithm.name,
        "environment": environment.id,
        "force_magnitude": _text(range_of(environment, "force_magnitude")),
        "time_step": _text(range_of(environment, "time_step")),
        "recipe": saved.recipe.to_toml(),
    }


def _text(given: Range) -> str:
    return str(given.low) if given.low == given.high else f"{given.low} to {given.high}"


def _held_out(saved: SavedPolicy) -> dict[str, Any]:
    """The final score of a run's best checkpoint; of other checkpoints what they were chosen by."""
    reader = Reader()
    evaluation: Any = reader.fields(RunDirectory(saved.path.parent).evaluation)
    if not evaluation or evaluation.get(CHECKPOINT) != digest_of(saved.path):
        evaluation = saved.metadata.get("evaluation")
    score = reader.score(evaluation, "evaluation", "")
    return score.as_plain_data() | {"set": str(evaluation.get("set", ""))[:MAX_NAME]} if score else {}
