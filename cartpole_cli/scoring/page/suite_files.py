"""Suite files: find them, read them, and say plainly what is wrong with them."""

import tomllib
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from pydantic import ValidationError

from cartpole_cli.errors import CartpoleError, did_you_mean, reading
from cartpole_cli.files import MAX_TOML, read_text
from cartpole_cli.recipe.errors import explain
from cartpole_cli.scoring.page.suite import Suite


def shipped_suites() -> dict[str, Path]:
    """Name to file, sorted by name."""
    folder = Path(str(files("cartpole_cli"))) / "scoring" / "page" / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def load_suite(name: str) -> Suite:
    """Find, read and validate a suite: a path, or a shipped suite's name.

    Raises:
        CartpoleError: there is none, or one line per problem, all problems at once.
    """
    path = _find(name)
    try:
        with reading(path):
            data = tomllib.loads(read_text(path, MAX_TOML))
    except (ValueError, RecursionError) as error:  # ValueError: also what is no text
        raise CartpoleError(f"{path}: not valid TOML: {error}") from error
    try:
        return Suite.model_validate(data)
    except ValidationError as error:
        raise CartpoleError(*explain(error, Suite, str(path), a_list="a number, or a list of numbers")) from error


def _find(name: str) -> Path:
    shipped = shipped_suites()
    with suppress(OSError, ValueError):  # a name that no file can have
        if Path(name).exists() and not Path(name).is_dir():
            return Path(name)
    if name in shipped:
        return shipped[name]
    hint = did_you_mean(name.removesuffix(".toml"), list(shipped))
    raise CartpoleError(f"suite {name!r}: no such file, and no shipped suite{hint}; shipped: {', '.join(shipped)}")
