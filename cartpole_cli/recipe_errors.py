"""What is wrong with a recipe, in lines for the user: the file, the field, what was given and what would be right."""

import re
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from cartpole_cli.errors import did_you_mean
from cartpole_cli.recipe import Recipe

COMMAND_LINE = "command line"


def _variants(section: str) -> tuple[str, dict[str, type[BaseModel]]]:
    """A section that is a union: the field that tells its members apart, and the members by its values."""
    field = Recipe.model_fields[section]
    tag = str(field.discriminator)
    return tag, {get_args(member.model_fields[tag].annotation)[0]: member for member in get_args(field.annotation)}


VARIANTS = {section: _variants(section) for section in ("algorithm", "environment")}
SECTIONS: dict[str, type[BaseModel]] = {
    section: type(field.default) for section, field in Recipe.model_fields.items() if section not in VARIANTS
}


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
        for key, given, reason in details["ctx"]["problems"] if across else [_problem(details)]:
            prefixes = {".".join(key.split(".")[:parts]) for parts in (2, 3)}
            where = COMMAND_LINE if prefixes & overridden else source
            shown = "" if given is None else f" = {_short(given)}"
            lines.append(f"{where}: {key}{shown}: {reason}")
    return lines


def _problem(details: ErrorDetails) -> tuple[str, Any, str]:
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
    return key or "recipe", given, f"allowed: {allowed}"


def _model_of(model: type[BaseModel], names: list[str]) -> type[BaseModel]:
    """The section within a section, within ..., of those names."""
    for name in names:
        model = next(kind for kind in get_args(model.model_fields[name].annotation) if issubclass(kind, BaseModel))
    return model


def _listed(names: "dict[str, type[BaseModel]]") -> str:
    return ", ".join(repr(name) for name in names)


def _short(value: Any, limit: int = 60) -> str:
    try:
        text = repr(value)
    except ValueError:
        return "a number with thousands of digits"
    return text if len(text) <= limit else text[: limit - 3] + "..."
