"""What is wrong with a recipe, in lines for the user: the file, the field, what was given and what would be right."""

import re
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cartpole_cli.errors import did_you_mean
from cartpole_cli.recipe.environment import PhysicsRecipe
from cartpole_cli.recipe.fields import SECTIONS, VARIANTS, section_within
from cartpole_cli.recipe.recipe import Recipe

COMMAND_LINE = "command line"
NULLS = {"", "none", "nil", "unset", "undefined"}
"""What people write for null, in any case of letters."""


def explain(error: ValidationError, source: str, overridden: set[str]) -> list[str]:
    """A line per problem.

    Args:
        error: what pydantic found.
        source: where the data are from.
        overridden: dotted keys, and sections, that are from the command line instead.
    """
    lines = []
    errors = error.errors(include_url=False)
    inner = {details["loc"][:end] for details in errors for end in range(len(details["loc"]))}
    for details in errors:
        if details["loc"] and details["loc"] in inner:
            continue  # a list that is wrong because its items are
        across = details["type"] == "across_fields"
        for key, given, reason in details["ctx"]["problems"] if across else [_problem(details, overridden)]:
            where = COMMAND_LINE if _prefixes(key) & overridden else source
            shown = "" if given is None else f" = {_short(given)}"
            lines.append(f"{where}: {key}{shown}: {reason}")
    return lines


def _prefixes(key: str) -> set[str]:
    """The keys of a field and of the section within a section that it stands in."""
    return {".".join(key.split(".")[:parts]) for parts in (2, 3)}


def _problem(details: ErrorDetails, overridden: set[str]) -> tuple[str, Any, str]:
    """(dotted key, given or None, reason) of one of pydantic's errors."""
    path = [str(part) for part in details["loc"]]
    section, given, context = path[0] if path else "", details["input"], details.get("ctx", {})
    tag, members = VARIANTS.get(section, ("", {}))
    if details["type"] == "union_tag_not_found":
        return f"{section}.{tag}", None, f"missing; allowed: {_listed(members)}"
    if details["type"] == "union_tag_invalid":
        chosen = str(context.get("tag"))
        return f"{section}.{tag}", chosen, f"allowed: {_listed(members)}{did_you_mean(chosen, list(members))}"
    model = members[path.pop(1)] if members and len(path) > 1 else SECTIONS.get(section, Recipe)
    key = ".".join(path)
    if key == "environment.randomize":
        return key, None, _now_physics(given)
    if details["type"] == "extra_forbidden":
        names = list(Recipe.model_fields if len(path) == 1 else _model_of(model, path[1:-1]).model_fields)
        guess = did_you_mean(path[-1], names) or f"; allowed: {', '.join(names)}"
        return key, given, f"unknown {'section' if len(path) == 1 else 'field'}{guess}"
    if details["type"] == "literal_error":
        guess = did_you_mean(given, context["expected"].split("'")[1::2]) if isinstance(given, str) else ""
        return key, given, f"allowed: {context['expected']}{guess}"
    table = f"a table, [{key}]"
    plain = {"tuple_type": "a list, as in [64, 64]", "model_type": table, "model_attributes_type": table}
    allowed = plain.get(details["type"]) or re.sub(r"^\w+ should (be )?", "", details["msg"])
    hint = _null_hint(key, given, _field_of(model, path[1:])) if _prefixes(key) & overridden else ""
    return key or "recipe", given, f"allowed: {allowed}{hint}"


def _now_physics(ranges: Any) -> str:
    """What to write in place of [environment.randomize]."""
    fields = ranges if isinstance(ranges, dict) else {}
    given = [f"{name} = {_short(fields[name])}" for name in PhysicsRecipe.model_fields if name in fields]
    return f"is now part of environment.physics: write [environment.physics] {', '.join(given)}".rstrip()


def _null_hint(key: str, given: Any, field: FieldInfo | None) -> str:
    """How the command line unsets a field, where somebody tried to."""
    if field is None:
        return ""
    if given is None:
        return f"; ~{key} gives its default"
    unsets = isinstance(given, str) and given.lower() in NULLS and field.default is None
    return "; did you mean null?" if unsets else ""


def _field_of(model: type[BaseModel], names: list[str]) -> FieldInfo | None:
    return _model_of(model, names[:-1]).model_fields.get(names[-1]) if names else None


def _model_of(model: type[BaseModel], names: list[str]) -> type[BaseModel]:
    """The section within a section, within ..., of those names."""
    for name in names:
        model = section_within(model, name) or model
    return model


def _listed(names: "dict[str, type[BaseModel]]") -> str:
    return ", ".join(repr(name) for name in names)


def _short(value: Any, limit: int = 60) -> str:
    try:
        text = repr(value)
    except ValueError:
        return "a number with thousands of digits"
    return text if len(text) <= limit else text[: limit - 3] + "..."
