"""`cartpole recipes schema`: what an editor is told of recipes is what we read."""

import json
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from cartpole_cli.recipe.fields import VARIANTS
from cartpole_cli.recipe.files import shipped_recipes
from cartpole_cli.recipe.recipe import Recipe

KNOWN = {
    "$defs",
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "default",
    "description",
    "discriminator",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "pattern",
    "prefixItems",
    "properties",
    "required",
    "title",
    "type",
}
TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}


@pytest.fixture(scope="module")
def schema() -> dict:
    command = [sys.executable, "-m", "cartpole_cli", "recipes", "schema"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return json.loads(done.stdout)


def problems(value: Any, schema: dict, root: dict, place: str = "recipe") -> list[str]:
    """What JSON Schema has against a value: as much of it as our schema uses."""
    assert schema.keys() <= KNOWN
    if "$ref" in schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        return problems(value, root["$defs"][name], root, place)
    found = []
    for word, enough in (("oneOf", lambda n: n == 1), ("anyOf", lambda n: n >= 1)):
        if word in schema and not enough(sum(not problems(value, option, root, place) for option in schema[word])):
            found.append(f"{place}: {word}")
    if "type" in schema and (
        not isinstance(value, TYPES[schema["type"]]) or (isinstance(value, bool) and schema["type"] != "boolean")
    ):
        return [*found, f"{place}: no {schema['type']}"]
    if value not in schema.get("enum", [value]) or value != schema.get("const", value):
        found.append(f"{place}: not in the list")
    bounds = (
        ("minimum", lambda a, b: a < b),
        ("exclusiveMinimum", lambda a, b: a <= b),
        ("maximum", lambda a, b: a > b),
    )
    found += [f"{place}: {word}" for word, outside in bounds if word in schema and outside(value, schema[word])]
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            found.append(f"{place}: length")
        first = schema.get("prefixItems", [])
        for index, item in enumerate(value):
            of_item = first[index] if index < len(first) else schema.get("items", {})
            found += problems(item, of_item, root, f"{place}[{index}]")
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        found += [f"{place}.{name}: missing" for name in schema.get("required", []) if name not in value]
        for name, entry in value.items():
            if name in fields:
                found += problems(entry, fields[name], root, f"{place}.{name}")
            elif schema.get("additionalProperties") is False:
                found.append(f"{place}.{name}: unknown")
    return found


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_fits_the_schema(schema, name):
    recipe = tomllib.loads(shipped_recipes()[name].read_text())
    assert problems(recipe, schema, schema) == []


def test_a_resolved_recipe_fits_the_schema(schema):
    assert problems(tomllib.loads(Recipe().to_toml()), schema, schema) == []


@pytest.mark.parametrize(
    ("section", "field", "value"),
    [
        ("trainer", "sed", 1),
        ("trainer", "seed", "x"),
        ("trainer", "seed", -1),
        ("trainer", "device", "gpu"),
        ("policy", "hidden_sizes", [0]),
        ("policy", "hidden_sizes", []),
        ("environment", "backend", "nativ"),
        ("environment", "physics", {"gravity": [5]}),
        ("environment", "physics", {"gravity": [-5, 20]}),
        ("environment", "physics", {"gravity": -5}),
        ("environment", "randomize", {"gravity": [5, 20]}),
        ("environment", "disturb", {"push_rte": 1}),
        ("algorithm", "name", "pppo"),
        ("algorithm", "clip", "x"),
        ("trainr", "seed", 1),
    ],
)
def test_a_mistake_does_not_fit(schema, section, field, value):
    recipe = tomllib.loads(shipped_recipes()["ppo"].read_text())
    recipe.setdefault(section, {})[field] = value
    assert problems(recipe, schema, schema)


def test_every_field_is_in_the_schema(schema):
    models = [member for _, members in VARIANTS.values() for member in members.values()]
    models += [type(field.default) for name, field in Recipe.model_fields.items() if name not in VARIANTS]
    for model in models:
        described = schema["$defs"][model.__name__]
        assert described["properties"].keys() == model.model_fields.keys()
        assert described["additionalProperties"] is False
