"""A field that is a number, or a range [lowest, highest] to draw from. Recipes and suites share it."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    PlainSerializer,
    ValidationError,
    WrapValidator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, PydanticKnownError

Number = TypeVar("Number")


def _pair(given: Any, validate: Callable[[Any], Any]) -> tuple[Any, Any]:
    """A number is a range of no width."""
    is_number = isinstance(given, int | float)
    if not is_number and not (isinstance(given, list | tuple) and len(given) == 2):
        raise PydanticCustomError("range", "a number, or [lowest, highest]")
    try:
        low, high = validate((given, given) if is_number else given)
    except ValidationError as error:
        if not is_number:
            raise
        first = error.errors()[0]  # of the number, which was validated as both ends
        raise PydanticKnownError(first["type"], first.get("ctx")) from None  # type: ignore[arg-type]  # it is known
    if low > high:
        raise PydanticCustomError("range", "a range, the lower number first")
    return low, high


def _written(pair: tuple[Any, Any]) -> Any:
    return pair[0] if pair[0] == pair[1] else pair


class _NumberOrPair:
    """What JSON Schema is told."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        pair = handler(schema)
        return {"anyOf": [pair["prefixItems"][0], pair]}


NumberOrRange = Annotated[
    tuple[Number, Number],
    Field(strict=False, validate_default=True),
    WrapValidator(_pair),
    PlainSerializer(_written),
    _NumberOrPair(),
]
"""Validated to (lowest, highest)."""


def fixed(number: int | float) -> Any:
    """A default of no width, shown as the number that it is."""
    return number
