"""What a shell may complete: recipes, their fields, runs, devices, formats. Nothing heavy is imported or fails."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import typer

DEVICES = ("auto", "cpu", "cuda", "mps")
FORMATS = ("onnx", "js", "c")
RUN_MARKS = ("run.json", "recipe.toml")


def complete_recipe(incomplete: str) -> list[str]:
    """Shipped recipes, and those in ./recipes and here."""
    from cartpole_cli.recipe.files import shipped_recipes

    own = [*_names(Path(), "*.toml"), *(name.removesuffix(".toml") for name in _names(Path("recipes"), "*.toml"))]
    return _starting(incomplete, [*shipped_recipes(), *own])


def complete_field(incomplete: str) -> list[str]:
    """Sections, algorithms and the dotted keys of fields."""
    from cartpole_cli.recipe.fields import SECTIONS, VARIANTS, entries

    variants = [name for _, members in VARIANTS.values() for name in members]
    keys = [entry.key for entry in entries()] if "." in incomplete else []
    return _starting(incomplete, [*VARIANTS, *SECTIONS, *variants, *keys])


def complete_override(incomplete: str) -> list[str]:
    """SECTION.FIELD= and ~SECTION.FIELD."""
    from cartpole_cli.recipe.fields import entries

    keys = [entry.key for entry in entries()]
    return _starting(incomplete, [f"~{key}" for key in keys] if incomplete[:1] == "~" else [f"{key}=" for key in keys])


def complete_device(incomplete: str) -> list[str]:
    """Devices that torch knows, here or not: to ask it takes a second."""
    return _starting(incomplete, DEVICES)


def complete_format(incomplete: str) -> list[str]:
    """What a policy can be exported as."""
    return _starting(incomplete, FORMATS)


def complete_run(context: typer.Context, incomplete: str) -> list[str]:
    """Runs and studies in the runs folder, a study's seeds behind its name and a slash."""
    runs_dir = Path(context.params.get("runs_dir") or "runs")
    within, _, _ = incomplete.rpartition("/")
    prefix = f"{within}/" if within else ""
    found = [path for path in _entries(runs_dir / within) if any((path / mark).exists() for mark in RUN_MARKS)]
    return _starting(incomplete, [prefix + path.name for path in found])


def _entries(folder: Path) -> list[Path]:
    with suppress(OSError):
        return sorted(folder.iterdir())
    return []


def _names(folder: Path, pattern: str) -> list[str]:
    return [path.name for path in _entries(folder) if path.match(pattern)]


def _starting(incomplete: str, words: Iterable[str]) -> list[str]:
    """Those that begin so, once each; names that a terminal cannot print are typed by hand."""
    return [word for word in dict.fromkeys(words) if word.startswith(incomplete) and word.isprintable()]
