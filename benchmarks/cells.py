"""Studies that a benchmark compares: what a cell is, how it is trained, and who made its figures."""

import json
import shlex
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli_w
from timing import CARTPOLE, circumstances, run

from cartpole_cli.recipe.files import find_recipe


@dataclass(frozen=True, slots=True)
class Cell:
    """A study: a shipped recipe with changes, in a group of cells that are drawn together.

    A group is "family" or "family, panel"; cells of one family are compared with each other.
    """

    group: str
    recipe: str
    changes: dict[str, Any] = field(default_factory=dict)


def made_by() -> dict[str, str]:
    """Command, commit, machine and versions."""
    root = Path(__file__).parent.parent
    commit = run(["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]).output.strip()
    words = [f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]]
    return {"command": shlex.join(["python", *words]), "commit": commit, "circumstances": circumstances()}


def recipe_text(name: str, changes: dict[str, Any]) -> str:
    """The shipped recipe with these changes, None removing a field, and without its early stop."""
    recipe = tomllib.loads(find_recipe(name).read_text())
    for key, value in {"trainer.stop_at_return": None, **changes}.items():
        *sections, entry = key.split(".")
        section = recipe
        for each in sections:
            section = section.setdefault(each, {})
        if value is None:
            section.pop(entry, None)
        else:
            section[entry] = value
    return tomli_w.dumps(recipe)


def train(study: Path, text: str, *options: str) -> None:
    """Train a study of that recipe, or go on with it, unless it has finished; `cost_of` tells what that took.

    Raises:
        SystemExit: what is there was made by another recipe.
    """
    path = study.with_name(f"{study.name}.toml")
    if study.exists() and path.read_text() != text:
        raise SystemExit(f"{study}: was made by another recipe; remove it, or give another --work")
    if is_finished(study):
        return
    study.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    start = ("--resume", str(study)) if study.exists() else ("--recipe", str(path), "--name", study.name)
    cost = cost_of(study) if study.exists() else 0.0
    done = run([*CARTPOLE, "train", *start, "--runs-dir", str(study.parent), "--device", "cpu", "--quiet", *options])
    _cost_file(study).write_text(json.dumps({"cpu_seconds": round(cost + done.cpu_seconds, 1)}) + "\n")
    print(f"{study.name}: {done.seconds:.0f} s", flush=True)


def cost_of(study: Path) -> float:
    """CPU seconds of the commands that trained it; those of a command that was killed are not known."""
    path = _cost_file(study)
    return float(json.loads(path.read_text())["cpu_seconds"]) if path.exists() else 0.0


def is_finished(study: Path) -> bool:
    summary = study / "study.json"
    return summary.exists() and json.loads(summary.read_text())["status"] == "finished"


def _cost_file(study: Path) -> Path:
    return study.with_name(f"{study.name}.json")
