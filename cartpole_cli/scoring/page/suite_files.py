"""Suite files: find them, read them, and say plainly what is wrong with them."""

import re
import tomllib
from contextlib import suppress
from importlib.resources import files
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cartpole_cli.errors import CartpoleError, did_you_mean, reading
from cartpole_cli.files import MAX_TOML, read_text
from cartpole_cli.scoring.page.suite import Condition, Pushing, Suite

PARTS: dict[str, type[BaseModel]] = {"condition": Condition, "pushes": Pushing}


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
        raise CartpoleError(*_explain(error, str(path))) from error


def _find(name: str) -> Path:
    shipped = shipped_suites()
    with suppress(OSError, ValueError):  # a name that no file can have
        if Path(name).exists() and not Path(name).is_dir():
            return Path(name)
    if name in shipped:
        return shipped[name]
    hint = did_you_mean(name.removesuffix(".toml"), list(shipped))
    raise CartpoleError(f"suite {name!r}: no such file, and no shipped suite{hint}; shipped: {', '.join(shipped)}")


def _explain(error: ValidationError, source: str) -> list[str]:
    errors = error.errors(include_url=False)
    inner = {details["loc"][:end] for details in errors for end in range(len(details["loc"]))}
    return [f"{source}: {_problem(details)}" for details in errors if not details["loc"] or details["loc"] not in inner]


def _problem(details: ErrorDetails) -> str:
    """The field, what was given, and what is allowed, of one of pydantic's errors."""
    path, kind, context = details["loc"], details["type"], details.get("ctx", {})
    names = [part for part in path if isinstance(part, str)]
    key = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
    given = f"{key} = {_short(details['input'])}"
    if kind == "missing":
        return f"{key}: missing"
    if kind == "across_fields":
        return str(context["problem"])
    if kind == "extra_forbidden":
        fields = next((PARTS[name] for name in reversed(names[:-1]) if name in PARTS), Suite).model_fields
        return f"{given}: unknown field{did_you_mean(names[-1], list(fields)) or '; allowed: ' + ', '.join(fields)}"
    if kind == "literal_error":
        hint = did_you_mean(str(details["input"]), context["expected"].split("'")[1::2])
        return f"{given}: allowed: {context['expected']}{hint}"
    table = "tables, each [[condition]]" if names == ["condition"] else f"a table, [{'.'.join(names)}]"
    plain = {
        "model_type": table,
        "tuple_type": table if key == "condition" else "a number, or a list of numbers",
        "too_short": f"at least {context.get('min_length')}",
        "too_long": f"at most {context.get('max_length')}",
    }
    return f"{given}: allowed: {plain.get(kind) or re.sub(r'^[A-Za-z]+ should (be )?', '', details['msg'])}"


def _short(value: object, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 3] + "..."
