"""What a recipe may hold, read from its classes: sections, the sections within them, and what each field takes."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cartpole_cli.errors import CartpoleError, did_you_mean
from cartpole_cli.recipe.documentation import documentation_of
from cartpole_cli.recipe.recipe import Recipe


def _variants(section: str) -> tuple[str, dict[str, type[BaseModel]]]:
    """A section that is a union: the field that tells its members apart, and the members by its values."""
    field = Recipe.model_fields[section]
    tag = str(field.discriminator)
    return tag, {get_args(member.model_fields[tag].annotation)[0]: member for member in get_args(field.annotation)}


VARIANTS = {section: _variants(section) for section in ("algorithm", "environment")}
SECTIONS: dict[str, type[BaseModel]] = {
    section: type(field.default) for section, field in Recipe.model_fields.items() if section not in VARIANTS
}
DEFAULT_VARIANTS = {
    section: getattr(Recipe.model_fields[section].default, tag) for section, (tag, _) in VARIANTS.items()
}
PLAIN = {bool: "true or false", str: "text", int: "whole number", float: "number"}


@dataclass(frozen=True, slots=True)
class Entry:
    """A field: its dotted key, the algorithm or backend that has it ("" for all), and the class it stands in."""

    key: str
    variant: str
    model: type[BaseModel]

    @property
    def _name(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def field(self) -> FieldInfo:
        return self.model.model_fields[self._name]

    @property
    def default(self) -> str | None:
        """As on the command line; None where it is unset, or has to be given."""
        return None if self.field.default is None or self.field.is_required() else json.dumps(self.field.default)

    @property
    def takes(self) -> str:
        """Type and range, in words."""
        return words_for(self.field.annotation, self.field.metadata)

    @property
    def sentence(self) -> str:
        return " ".join(documentation_of(self.model).get(self._name, "").split())


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The classes of the tables that a field of that type takes."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_in(part)]


def section_within(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The class of a section within a section; None if there is none of that name."""
    field = model.model_fields.get(name)
    return next(iter(models_in(field.annotation)), None) if field else None


def field_at(data: dict[str, Any], key: Sequence[str]) -> FieldInfo | None:
    """The field of a dotted key, in a recipe of these data; None if it has no such field."""
    section, *within, name = key
    model = SECTIONS.get(section)
    if section in VARIANTS:
        tag, members = VARIANTS[section]
        table = data.get(section, {})
        chosen = table.get(tag, DEFAULT_VARIANTS[section]) if isinstance(table, dict) else None
        model = members.get(chosen) if isinstance(chosen, str) else None
    for inner in within:
        model = section_within(model, inner) if model else None
    return model.model_fields.get(name) if model else None


def heading(entry: Entry) -> str:
    """The table of a field, as a recipe writes it, and its description."""
    tag = VARIANTS.get(entry.key.split(".")[0], ("", {}))[0]
    chosen = f" with {tag} = {json.dumps(entry.variant)}" if entry.variant and entry.key.count(".") == 1 else ""
    return f"[{entry.key.rpartition('.')[0]}]{chosen}: {' '.join((entry.model.__doc__ or '').split())}"


def entries() -> Iterator[Entry]:
    """Every field of every section, in order."""
    for section in Recipe.model_fields:
        tag, members = VARIANTS.get(section, ("", {"": SECTIONS.get(section, Recipe)}))
        for variant, model in members.items():
            yield from (entry for entry in _within(section, variant, model) if entry.key != f"{section}.{tag}")


def _within(prefix: str, variant: str, model: type[BaseModel]) -> Iterator[Entry]:
    yield from (Entry(f"{prefix}.{name}", variant, model) for name in model.model_fields)
    for name in model.model_fields:
        inner = section_within(model, name)
        if inner is not None:
            yield from _within(f"{prefix}.{name}", variant, inner)


def entries_about(topic: str) -> list[Entry]:
    """The fields that a user asks about: a section's, an algorithm's or backend's, or one, by its key or name alone.

    Raises:
        CartpoleError: there is no such thing; the message names the nearest.
    """
    every = list(entries())
    found = [entry for entry in every if f".{topic}." in f".{entry.key}." or topic == entry.variant]
    tags = {f"{section}.{tag}": section for section, (tag, _) in VARIANTS.items()}
    if topic in tags:
        return entries_about(tags[topic])
    if not found:
        known = [*Recipe.model_fields, *tags, *(name for _, members in VARIANTS.values() for name in members)]
        known += [word for entry in every for word in (entry.key, entry.key.rpartition(".")[2])]
        guess = did_you_mean(topic, list(dict.fromkeys(known)))
        allowed = "" if guess else f"; sections: {', '.join(Recipe.model_fields)}"
        raise CartpoleError(f"{topic!r}: not a section or field of a recipe{guess}{allowed}")
    return found


def words_for(kind: Any, limits: Sequence[Any] = ()) -> str:
    """What a type with its limits takes, as in "whole number from 1 to 64"."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return words_for(parts[0], [limit for part in parts[1:] for limit in getattr(part, "metadata", [part])])
    if origin in {Union, UnionType}:
        return " or ".join(words_for(part, limits) for part in parts if part is not NoneType)
    if origin is Literal:
        return ", ".join(map(json.dumps, parts))
    if origin is tuple:
        each = words_for(parts[0])
        return f"a list, each a {each}" if parts[-1] is Ellipsis else f"{each}, or [lowest, highest]"
    return f"{PLAIN[kind]}{_range(limits)}" if kind in PLAIN else "a section"


def _range(limits: Sequence[Any]) -> str:
    """ " from 1 to 64", " above 0" or nothing."""
    forms = {"ge": " from {:,}", "gt": " above {:,}", "le": " to {:,}", "lt": ", below {:,}"}
    given = {name: getattr(limit, name) for limit in limits for name in forms if hasattr(limit, name)}
    return "".join(form.format(given[name]) for name, form in forms.items() if name in given)
