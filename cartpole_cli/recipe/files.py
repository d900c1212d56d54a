"""Recipe files: find, read and copy them; `overrides.py` changes fields, `errors.py` tells mistakes."""

import json
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cartpole_cli.errors import CartpoleError, did_you_mean, one_line, reading, writing
from cartpole_cli.files import MAX_TOML, read_bytes, read_text, write_file
from cartpole_cli.recipe.errors import COMMAND_LINE, explain
from cartpole_cli.recipe.overrides import OVERRIDE, RIGHT_OVERRIDE, apply, new_tables, parse
from cartpole_cli.recipe.recipe import Recipe

SCHEMA = "recipe.schema.json"
SCHEMA_LINE = f"#:schema ./{SCHEMA}\n".encode()


def shipped_folder() -> Path:
    """The recipes inside the wheel, or in the checkout of an editable install."""
    package = Path(str(files("cartpole_cli")))
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parent / "recipes"


def shipped_recipes() -> dict[str, Path]:
    """Name to file, sorted by name."""
    folder = shipped_folder()
    found = sorted(folder.rglob("*.toml"))
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def describe(path: Path) -> str:
    """A recipe's first line, which is a comment that says what it is for."""
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ").strip()


def find_recipe(name: str) -> Path:
    """The file a user means: a path, then a name in ./recipes, then a shipped recipe.

    Raises:
        CartpoleError: there is none; the message lists what there is.
    """
    file_name = name if name.endswith(".toml") else f"{name}.toml"
    for path in (Path(name), Path(file_name), Path("recipes") / file_name, shipped_folder() / file_name):
        with suppress(OSError):  # a name that no file can have
            if path.exists() and not path.is_dir():
                return path
    names = list(shipped_recipes())
    raise CartpoleError(
        f"recipe {name!r} not found as a path, in ./recipes or among the shipped recipes"
        f"{did_you_mean(name.removesuffix('.toml'), names)}; shipped: {', '.join(names)}"
    )


def read_recipe(path: Path) -> str:
    """A recipe's text.

    Raises:
        CartpoleError: the file cannot be read, or is no text.
    """
    try:
        with reading(path):
            return read_text(path, MAX_TOML)
    except UnicodeDecodeError as error:
        raise CartpoleError(f"{path}: not valid TOML: {error}") from error


def copy_recipe(name: str, destination: Path) -> Path:
    """Copy a recipe to a file or into a folder, for editing.

    The copy's first line names the schema beside it, by which editors (Taplo, Tombi) complete and check it.

    Raises:
        CartpoleError: there is no such recipe, the destination exists or cannot be written.
    """
    source = find_recipe(name)
    with writing(destination):
        copy = destination / source.name if destination.is_dir() else destination
        if copy.exists():
            raise CartpoleError(f"{copy} exists already: give another path")
    with reading(source):
        content = read_bytes(source, MAX_TOML)
    schema = copy.with_name(SCHEMA)
    if not schema.exists():
        write_file(schema, f"{json.dumps(Recipe.model_json_schema(), indent=2)}\n".encode())
    named = b"" if content.startswith(SCHEMA_LINE) else SCHEMA_LINE
    write_file(copy, named + content)
    return copy


def load_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and validate a recipe.

    Args:
        path: a TOML file.
        overrides: KEY=VALUE, the key dotted, the value TOML, a bare word, or null to unset an optional field;
            ~KEY for the field's default.

    Raises:
        CartpoleError: one line per problem, all problems at once.
    """
    return recipe_from_text(read_recipe(path), overrides, source=str(path))


def recipe_from_text(text: object, overrides: Sequence[str] = (), *, source: str) -> Recipe:
    """The same of a recipe's text, wherever it is from: a checkpoint and an ONNX file hold one.

    Raises:
        CartpoleError: one line per problem, all problems at once.
    """
    if not isinstance(text, str):
        raise CartpoleError(f"{source}: no recipe inside")
    if len(text) > MAX_TOML:
        raise CartpoleError(f"{source}: its recipe has more than {MAX_TOML >> 10} KiB")
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of too many digits
        raise CartpoleError(f"{source}: not valid TOML: {one_line(error)}") from error
    if not data:
        raise CartpoleError(f"{source}: an empty recipe; expected a section, as in [trainer]")
    return resolve_recipe(data, overrides, source=source)


def resolve_recipe(data: dict[str, Any], overrides: Sequence[str], *, source: str) -> Recipe:
    """Validate recipe data with overrides on top; `source` names the data in messages."""
    malformed = [override for override in overrides if not OVERRIDE.match(override)]
    changes = [parse(override) for override in overrides if override not in malformed]
    overridden = {name for change in changes for name in (change.dotted, *new_tables(data, change.key))}
    environment = data.setdefault("environment", {})
    if isinstance(environment, dict):
        environment.setdefault("backend", "native")
    apply(data, changes)
    problems = [f"{COMMAND_LINE}: {override!r}: {RIGHT_OVERRIDE}{_recipe_hint(override)}" for override in malformed]
    try:
        recipe = Recipe.model_validate(data)
    except ValidationError as error:
        lines = explain(error, Recipe, source, overridden, a_list="a list, as in [64, 64]")
        raise CartpoleError(*problems, *lines) from error
    if problems:
        raise CartpoleError(*problems)
    return recipe


def _recipe_hint(word: str) -> str:
    name = word.removesuffix(".toml")
    return f"; did you mean --recipe {name}?" if name in shipped_recipes() else ""
