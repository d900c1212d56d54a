"""run.json: what a folder is, and how it was made and resumed."""

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import torch

from cartpole_cli.recipe.recipe import Recipe

PACKAGES = ("cartpole-cli", "torch", "numpy", "gymnasium")


def new_manifest(recipe: Recipe, recipe_name: str | None, device: torch.device) -> dict[str, Any]:
    """What is known when a run or a study starts: plain data."""
    kind = {"kind": "run"} if recipe.trainer.num_seeds == 1 else {"kind": "study", "seeds": list(recipe.seeds)}
    return {**kind, "recipe": recipe_name, **_task(recipe), **_circumstances(device), "resumed": []}


def resumed_manifest(before: dict[str, Any], recipe: Recipe, device: torch.device) -> dict[str, Any]:
    """The manifest of a resumed run: as it started, with one more resume; a new one if the old is damaged."""
    new, resumed = new_manifest(recipe, None, device), before.get("resumed")
    if before.get("kind") != new["kind"] or not isinstance(resumed, list):
        return new
    return new | before | _task(recipe) | {"resumed": [*resumed, _circumstances(device)]}


def of_seed(manifest: dict[str, Any], seed: int, study: str | None) -> dict[str, Any]:
    """The manifest of a run, or of one seed's run in the study of that name."""
    kept = {key: value for key, value in manifest.items() if key not in {"kind", "seeds"}}
    return {"kind": "run", **({} if study is None else {"study": study}), **kept, "seed": seed}


def _task(recipe: Recipe) -> dict[str, Any]:
    return {"algorithm": recipe.algorithm.name, "environment": recipe.environment.id}


def _circumstances(device: torch.device) -> dict[str, Any]:
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "device": str(device),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "processor": processor(),
        "platform": platform.platform(),
        "git": _git_state(),
    }


def versions() -> dict[str, str]:
    """Of Python and of the packages that the numbers depend on."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def processor() -> str:
    """Its kind, and the instructions that torch uses: others round otherwise."""
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _git_state() -> dict[str, Any] | None:
    """Commit of the current folder's repository and whether it has uncommitted changes; None outside one."""
    commit = _git("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
