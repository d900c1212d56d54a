"""Changes of a recipe on the command line: KEY=VALUE, KEY=null, and ~KEY for a field's default, as in Hydra."""

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cartpole_cli.recipe.fields import DEFAULT_VARIANTS, VARIANTS, field_at

KEY = r"[^.=\s+~][^.=\s]*(\.[^.=\s]+){1,2}"
OVERRIDE = re.compile(rf"\s*({KEY}\s*=|~{KEY}\s*\Z)")
RIGHT_OVERRIDE = "expected SECTION.FIELD=VALUE or ~SECTION.FIELD, as in trainer.num_steps=5000"


@dataclass(frozen=True, slots=True)
class Override:
    """A field and its new value; None for null, and for the default (`to_default`)."""

    key: list[str]
    value: Any
    to_default: bool = False

    @property
    def dotted(self) -> str:
        return ".".join(self.key)


def parse(text: str) -> Override:
    """One override, of the form that OVERRIDE matches."""
    key, _, given = text.partition("=")
    name = key.strip()
    parts = name.removeprefix("~").split(".")
    if name.startswith("~"):
        tag = VARIANTS[parts[0]][0] if parts[0] in VARIANTS else ""
        default = DEFAULT_VARIANTS[parts[0]] if parts[1:] == [tag] else None
        return Override(parts, default, to_default=default is None)
    return Override(parts, value_of(given))


def new_tables(data: dict[str, Any], key: list[str]) -> Iterator[str]:
    """Dotted names of the tables that a key stands in and that the data lack."""
    table: Any = data
    for place, name in enumerate(key[:-1], start=1):
        table = table.get(name) if isinstance(table, dict) else None
        if table is None:
            yield ".".join(key[:place])


def apply(data: dict[str, Any], changes: Sequence[Override]) -> None:
    """Make the changes in a recipe's data. What no recipe may say is left there, for validation to tell."""
    for section, (tag, members) in VARIANTS.items():
        chosen = [change.value for change in changes if change.key == [section, tag]]
        if chosen:
            _keep_shared_fields(data, section, tag, members, chosen[-1])
    tags = [[section, tag] for section, (tag, _) in VARIANTS.items()]
    for change in sorted(changes, key=lambda change: change.key not in tags):  # fields are those of the chosen variant
        field = field_at(data, change.key) if change.value is None else None
        if field is not None and (change.to_default or field.default is None):
            _remove(data, change.key)
        else:
            _set(data, change.key, change.value)


def value_of(text: str) -> Any:
    if text.strip() == "null":
        return None
    try:
        parsed = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text.strip()
    if len(parsed) > 1:
        return text.strip()
    value = parsed["value"]
    whole = isinstance(value, float) and value.is_integer() and "e" in text.lower()
    return int(value) if whole else value  # 1e5 is how people write a budget


def _set(data: dict[str, Any], key: list[str], value: Any) -> None:
    for name in key[:-1]:
        data = data.setdefault(name, {})
        if not isinstance(data, dict):
            return
    data[key[-1]] = value


def _remove(data: dict[str, Any], key: list[str]) -> None:
    for name in key[:-1]:
        data = data.get(name, {})
        if not isinstance(data, dict):
            return
    data.pop(key[-1], None)


def _keep_shared_fields(
    data: dict[str, Any], section: str, tag: str, members: dict[str, type[BaseModel]], chosen: Any
) -> None:
    """Drop what a recipe sets for another algorithm (or backend) when the command line chooses a new one."""
    fields = data.get(section)
    if isinstance(fields, dict) and fields.get(tag) != chosen and isinstance(chosen, str) and chosen in members:
        known = members[chosen].model_fields
        foreign = {name for member in members.values() for name in member.model_fields} - set(known)
        data[section] = {key: value for key, value in fields.items() if key not in foreign}
