"""Explains what is wrong with a recipe or a suite, in lines for the user: file, field, given and allowed value."""

import re
from collections.abc import Collection
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from cartpole_cli.errors import did_you_mean
from cartpole_cli.recipe.environment import PhysicsRecipe
from cartpole_cli.recipe.fields import models_in

COMMAND_LINE = "command line"
NULLS = {"", "none", "nil", "unset", "undefined"}
"""What people write for null, in any case of letters."""
QUOTE = "'"


def explain(
    error: ValidationError, root: type[BaseModel], source: str, overridden: Collection[str] = (), *, a_list: str
) -> list[str]:
    """A line per problem.

    Args:
        error: what pydantic found.
        root: the class that the file describes.
        source: where the data are from.
        overridden: dotted keys, and sections, that are from the command line instead.
        a_list: what to write where a list is wanted.
    """
    lines = []
    errors = error.errors(include_url=False)
    inner = {details["loc"][:end] for details in errors for end in range(len(details["loc"]))}
    for details in errors:
        if details["loc"] and details["loc"] in inner:
            continue  # a list that is wrong because its items are
        across = details["type"] == "across_fields"
        for key, given, reason in details["ctx"]["problems"] if across else [_problem(details, root, a_list)]:
            is_overridden = not _prefixes(key).isdisjoint(overridden)
            shown = "" if given is None else f" = {_short(given)}"
            hint = _null_hint(key, details["input"], _place(root, details["loc"])[2]) if is_overridden else ""
            lines.append(f"{COMMAND_LINE if is_overridden else source}: {key}{shown}: {reason}{hint}")
    return lines


def _prefixes(key: str) -> set[str]:
    """The keys of a field and of the section within a section that it stands in."""
    return {".".join(re.split(r"[.[]", key)[:parts]) for parts in (2, 3)}


def _place(root: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[str, type[BaseModel], FieldInfo | None]:
    """The key that pydantic means, as a file writes it, the class of the table that it is in, and its field there."""
    key, table, field, within = "", root, None, [root]
    for part in loc:
        if isinstance(part, int):
            key += f"[{part + 1}]"
        elif len(within) > 1:  # pydantic names the variant, too
            within = [model for model in within if part in _variants([model], field)]
        else:
            key, table = f"{key}.{part}", within[0]
            field = table.model_fields.get(part)
            within = models_in(field.annotation) if field else []
    return key.removeprefix("."), table, field


def _variants(models: list[type[BaseModel]], field: FieldInfo | None) -> list[str]:
    """The names of the variants that a field takes."""
    tag = str(field.discriminator) if field else ""
    return [name for model in models for name in get_args(model.model_fields[tag].annotation)]


def _problem(details: ErrorDetails, root: type[BaseModel], a_list: str) -> tuple[str, Any, str]:
    """(key, given or None, reason) of one of pydantic's errors."""
    given, context = details["input"], details.get("ctx", {})
    key, table, field = _place(root, details["loc"])
    if key == "environment.randomize":
        return key, None, _now_physics(given)
    match details["type"]:
        case "missing":
            return key, None, "missing"
        case "union_tag_not_found" | "union_tag_invalid":
            chosen, names = context.get("tag"), _variants(models_in(field.annotation), field) if field else []
            allowed = f"allowed: {', '.join(map(repr, names))}"
            reason = f"missing; {allowed}" if chosen is None else f"{allowed}{did_you_mean(str(chosen), names)}"
            return f"{key}.{context['discriminator'].strip(QUOTE)}", chosen, reason
        case "extra_forbidden":
            return key, given, _unknown(key, table)
        case "literal_error":
            guess = did_you_mean(given, context["expected"].split(QUOTE)[1::2]) if isinstance(given, str) else ""
            return key, given, f"allowed: {context['expected']}{guess}"
    return key, given, f"allowed: {_allowed(details, key, field, a_list)}"


def _allowed(details: ErrorDetails, key: str, field: FieldInfo | None, a_list: str) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in {"model_type", "model_attributes_type", "tuple_type"} and field and models_in(field.annotation):
        heading = re.sub(r"\[\d+\]", "", key)
        return f"tables, each [[{heading}]]" if get_origin(field.annotation) is tuple else f"a table, [{heading}]"
    lengths = {"too_short": f"at least {context.get('min_length')}", "too_long": f"at most {context.get('max_length')}"}
    phrases = {**lengths, "tuple_type": a_list}
    return phrases.get(kind) or re.sub(r"^[A-Za-z]+ should (be |have )?", "", details["msg"])


def _unknown(key: str, table: type[BaseModel]) -> str:
    names = list(table.model_fields)
    what = "section" if all(models_in(field.annotation) for field in table.model_fields.values()) else "field"
    hint = did_you_mean(key.rpartition(".")[2], names) or f"; allowed: {', '.join(names)}"
    return f"unknown {what}{hint}"


def _now_physics(ranges: Any) -> str:
    """What to write in place of [environment.randomize]."""
    fields = ranges if isinstance(ranges, dict) else {}
    given = [f"{name} = {_short(fields[name])}" for name in PhysicsRecipe.model_fields if name in fields]
    return f"is now part of [environment.physics]: {'add there ' + ', '.join(given) if given else 'leave it out'}"


def _null_hint(key: str, given: Any, field: FieldInfo | None) -> str:
    """How the command line unsets a field, where somebody tried to."""
    if field is None:
        return ""
    if given is None:
        return f"; ~{key} gives its default"
    unsets = isinstance(given, str) and given.lower() in NULLS and field.default is None
    return "; did you mean null?" if unsets else ""


def _short(value: Any, limit: int = 60) -> str:
    try:
        text = repr(value)
    except ValueError:
        return "a number with thousands of digits"
    return text if len(text) <= limit else text[: limit - 3] + "..."
