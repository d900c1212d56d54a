"""The values that a field of a recipe may take in a search, written as Hydra's sweepers take them.

a,b,c   choice(a,b,c)   range(1,10)   range(1,10,2)          some values; a range ends before its second number
interval(0.9,0.999)   log(1e-4,1e-1)   tag(log,interval(1e-4,1e-1))   any number between two, or any power
"""

import json
import math
import re
import tomllib
from dataclasses import dataclass
from typing import Any, get_args

from cartpole_cli.errors import did_you_mean
from cartpole_cli.recipe.fields import field_at
from cartpole_cli.recipe.overrides import KEY, value_of
from cartpole_cli.recipe.recipe import Recipe

SECTIONS = ("algorithm.", "policy.")
FIELDS = (
    "environment.num_envs",
    "trainer.learning_rate",
    "trainer.learning_rate_schedule",
    "trainer.max_grad_norm",
)
"""What may be searched over besides the fields of these sections: no task, budget or judge."""
FUNCTIONS = ("choice", "range", "interval", "log", "tag")
CALL = re.compile(r"\s*([a-z_]+)\s*\((.*)\)\s*\Z", re.DOTALL)
TAGGED = re.compile(r"\s*log\s*,\s*interval\s*\((.*)\)\s*\Z", re.DOTALL)
OPENING, CLOSING = "([{", ")]}"
MAX_VALUES = 10_000
LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Choice:
    """A field, and the values to choose from."""

    key: str
    values: tuple[Any, ...]

    @property
    def ends(self) -> tuple[Any, ...]:
        """The values that show whether a recipe takes all of them: of whole numbers, or fractions, the outer two."""
        for kind in (int, float):
            if all(type(value) is kind and math.isfinite(value) for value in self.values):
                return tuple(dict.fromkeys((min(self.values), max(self.values))))
        return self.values

    def at(self, share: float) -> Any:
        """The value at a place in [0, 1)."""
        return self.values[int(share * len(self.values))]


@dataclass(frozen=True, slots=True)
class Interval:
    """A field, and the two numbers that its value is between; `is_log`: each power alike, `is_whole`: no fractions."""

    key: str
    low: float
    high: float
    is_log: bool
    is_whole: bool

    @property
    def ends(self) -> tuple[Any, ...]:
        return self._as_is(self.low), self._as_is(self.high)

    def at(self, share: float) -> Any:
        """The value at a place in [0, 1)."""
        low, high = (self.low, self.high + 1) if self.is_whole else (self.low, self.high)
        powers = share * (math.log(high) - math.log(low)) if self.is_log else 0.0
        value = low * math.exp(powers) if self.is_log else low + share * (high - low)
        return self._as_is(min(max(value, self.low), self.high))

    def _as_is(self, value: float) -> float | int:
        return math.floor(value) if self.is_whole else value


Dimension = Choice | Interval


def is_dimension(text: str) -> bool:
    """Whether an override's value is several values, and so no plain override."""
    return len(_split(text)) > 1 or CALL.match(text) is not None


def dimension_of(recipe: Recipe, key: str, written: Any) -> Dimension:
    """What a field may be: as text of the command line or of a file, or as a file's list.

    Raises:
        ValueError: what was expected instead.
    """
    if re.fullmatch(KEY, key) is None:
        raise ValueError("expected SECTION.FIELD=VALUES")
    if key not in FIELDS and not key.startswith(SECTIONS):
        is_known = field_at(tomllib.loads(recipe.to_toml()), key.split(".")) is not None
        hint = "" if is_known else did_you_mean(key, FIELDS)
        allowed = ", ".join([*(f"{section}*" for section in SECTIONS), *FIELDS])
        raise ValueError(f"cannot differ between trials{hint}; allowed: {allowed}")
    if not isinstance(written, str):
        return _choice(key, tuple(written) if isinstance(written, list) else (written,))
    call = CALL.match(written)
    if call is None:
        return _choice(key, _values(written))
    name, inside = call[1], call[2]
    tagged = TAGGED.match(inside)
    match name:
        case "choice":
            return _choice(key, _values(inside))
        case "range":
            return _choice(key, _range(inside))
        case "interval" | "log":
            return _interval(recipe, key, inside, is_log=name == "log")
        case "tag" if tagged:
            return _interval(recipe, key, tagged[1], is_log=True)
        case "tag":
            raise ValueError("expected tag(log, interval(LOW, HIGH))")
    raise ValueError(f"unknown function {name}{did_you_mean(name, FUNCTIONS)}; allowed: {', '.join(FUNCTIONS)}")


def _choice(key: str, values: tuple[Any, ...]) -> Choice:
    if not 1 <= len(values) <= MAX_VALUES:
        raise ValueError(f"{len(values)} values; expected 1 to {MAX_VALUES:,}")
    distinct = set(map(as_toml, values))
    if len(distinct) < len(values):
        raise ValueError("a value is given twice; expected each once")
    return Choice(key, values)


def _range(text: str) -> tuple[Any, ...]:
    numbers = _numbers(text)
    if not 2 <= len(numbers) <= 3 or (len(numbers) == 3 and numbers[2] <= 0):
        raise ValueError("expected range(START, STOP) or range(START, STOP, STEP), the step above 0")
    start, stop, step = numbers if len(numbers) == 3 else (*numbers, 1)
    steps = (stop - start) / step - 1e-9
    count = math.ceil(min(steps, MAX_VALUES + 1))
    if not 1 <= count <= MAX_VALUES:
        raise ValueError(f"{'too many' if count > 1 else 'no'} values; expected 1 to {MAX_VALUES:,}")
    is_whole = all(isinstance(number, int) for number in numbers)
    return tuple(start + place * step if is_whole else round(start + place * step, 12) for place in range(count))


def _interval(recipe: Recipe, key: str, text: str, *, is_log: bool) -> Interval:
    numbers = _numbers(text)
    if len(numbers) != 2 or not numbers[0] < numbers[1]:
        raise ValueError("expected two numbers, the lower first")
    if is_log and numbers[0] <= 0:
        raise ValueError("a logarithmic interval begins above 0")
    field = field_at(tomllib.loads(recipe.to_toml()), key.split("."))
    is_whole = field is not None and int in _types(field.annotation)
    if is_whole and not all(isinstance(number, int) for number in numbers):
        raise ValueError("expected whole numbers")
    low, high = map(float, numbers)
    return Interval(key, low, high, is_log, is_whole)


def _types(annotation: Any) -> set[Any]:
    return {annotation}.union(*(_types(part) for part in get_args(annotation)))


def _numbers(text: str) -> list[int | float]:
    numbers = list(_values(text))
    for number in numbers:
        if isinstance(number, bool) or not isinstance(number, int | float) or not abs(number) <= LARGEST:
            raise ValueError(f"{number!r:.40} is not a number to search with")
    return numbers


def _values(text: str) -> tuple[Any, ...]:
    parts = _split(text)
    if not all(part.strip() for part in parts):
        raise ValueError("an empty value")
    return tuple(map(value_of, parts))


def _split(text: str) -> list[str]:
    """At the commas that stand in no bracket and no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        depth += (letter in OPENING) - (letter in CLOSING) if not quote else 0
        if letter == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def as_toml(value: Any) -> str:
    """As the command line takes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(as_toml, value))}]"
    if not isinstance(value, int | float | str):
        raise ValueError(f"{value}: not a number, word or list")
    return repr(value) if isinstance(value, int | float) else json.dumps(value, ensure_ascii=False)
