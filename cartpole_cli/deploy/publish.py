"""A checkpoint leaves the house: the ONNX file, what is known about it inside, and pairs to test it with beside it."""

import json
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from cartpole_cli.actions import MAX_FORCE, Discrete
from cartpole_cli.deploy.verify import NUM_EPISODES, NUM_STATES, export_policy
from cartpole_cli.environments.build import range_of
from cartpole_cli.environments.randomization import Range
from cartpole_cli.errors import CartpoleError, reading
from cartpole_cli.files import folders_for, read_bytes, write_file
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.saved_policy import SavedPolicy, load_saved_policy
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of

MAX_NAME = 60
PACKAGES = ("cartpole-cli", "torch", "onnx", "onnxruntime")


def publish(source: Path, output: Path, opset: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Export the policy in the checkpoint `source`; what was written, as plain data.

    Args:
        source: a run's best.pth, or a snapshot.
        output: the file to write.
        opset: ONNX operator set.
        tell: receives a note if the recipe inside is not understood.

    Raises:
        CartpoleError: no checkpoint of a cart-pole's policy, a file that fails its verification, or an output that is
            no .onnx file's name or cannot be written; nothing is left behind then.
    """
    if output.suffix != ".onnx" or output == source:
        raise CartpoleError(f"{output}: not a name to export to; expected another one that ends in .onnx")
    torch.set_num_threads(1)
    saved = load_saved_policy(source, torch.device("cpu"))
    try:
        if not isinstance(saved.recipe, str) and not saved.recipe.environment.is_cart_pole:
            raise CartpoleError(f"trained on {saved.recipe.environment.id}: only cart-pole policies can be exported")
        exported = export_policy(saved.policy, opset=opset, metadata=_metadata(saved))
    except CartpoleError as error:
        raise CartpoleError(*(f"{source}: {problem}" for problem in error.problems)) from error
    if isinstance(saved.recipe, str):
        tell(f"note: {saved.recipe}: exported without what it says")
    golden = output.with_name(f"{output.name}.json")
    _write_both(output, exported.model, golden, json.dumps(exported.golden).encode())
    return {
        "output": str(output),
        "bytes": len(exported.model),
        "opset": opset,
        "output_name": next(name for name in exported.golden if name != "observation"),
        "states": NUM_STATES,
        "episodes": NUM_EPISODES,
        "golden": str(golden),
        "pairs": len(exported.golden["observation"]),
    }


def _write_both(output: Path, model: bytes, golden: Path, pairs: bytes) -> None:
    """If the model cannot be written, the pairs beside it are as they were."""
    with reading(golden):
        before = read_bytes(golden) if golden.is_file() else None
    with folders_for(output):
        write_file(golden, pairs)
        try:
            write_file(output, model)
        except CartpoleError:
            golden.unlink() if before is None else write_file(golden, before)
            raise


def _metadata(saved: SavedPolicy) -> dict[str, str]:
    """What the file says about itself, every value a text."""
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
