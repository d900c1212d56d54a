"""Suites: the validated description of the conditions a policy is put to. Every field is documented here, once.

`suite_files.py` finds and reads suite files and explains what is wrong with them.
"""

from collections import Counter
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from cartpole_cli.recipe.ranges import NumberOrRange

MIN_SECONDS, MAX_SECONDS = 6.0, 600.0
MAX_EPISODE_SECONDS = 1_500_000
"""Of a condition: a gigabyte."""


def _several(given: Any) -> Any:
    """A number is a list of one."""
    return [given] if isinstance(given, int | float) else given


CELLS = (Field(strict=False, min_length=1, max_length=50), BeforeValidator(_several))
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Strength = Annotated[float, Field(ge=0, le=5)]
Interval = Annotated[float, Field(ge=0.1, le=MAX_SECONDS)]


class Part(BaseModel):
    """A table of a suite: every field known, typed and documented."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Pushing(Part):
    """A visitor who pushes again and again, to random sides."""

    strength: NumberOrRange[Strength]
    """Range of a push's strength, 0 to 5; the page's own slider begins at 1."""
    every: NumberOrRange[Interval]
    """Range of the time between pushes, in seconds."""
    until: Seconds = 40.0
    """When the visitor leaves, in seconds."""
    lift_fallen: bool = False
    """Whether a push sets a pole that leans more than 29.7 degrees back there, as the page's clamp does to the letter;
    else it only gets the velocities. Lifting flatters policies that cannot swing a pole up."""


class Condition(Part):
    """What happens to a policy. Ranges [low, high] are drawn from uniformly, for every episode anew; a number is one
    without width."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    """What to call it."""
    episodes: Annotated[int, Field(ge=1, le=10_000)] = 200
    """How many; of a grid, in each of its cells."""
    gravity: Annotated[tuple[Annotated[float, Field(ge=0, le=100)], ...], *CELLS] = (9.8,)
    """Values of the gravity slider, m/s^2 (the page's: 5 to 20). All values of the three sliders make a grid."""
    cart_mass: Annotated[tuple[Annotated[float, Field(ge=0.1, le=100)], ...], *CELLS] = (1.0,)
    """Values of the cart's mass, kg (the page's: 0.2 to 5)."""
    pole_length: Annotated[tuple[Annotated[float, Field(ge=0.2, le=20)], ...], *CELLS] = (1.0,)
    """Values of the pole's whole length, m (the page's: 0.4 to 2)."""
    start: Literal["still", "hanging", "wild"] = "still"
    """still: all four numbers within 0.05 of upright rest, as the page starts; hanging: the same upside down; wild: at
    most 3 m and 3 m/s, any angle, at most 8 rad/s."""
    frames_per_second: Annotated[float, Field(ge=1, le=1000)] = 60.0
    """How often the page draws, and asks the policy."""
    model_after: NumberOrRange[Seconds] = (0.0, 0.0)
    """Range of the time the model takes to load, in seconds: physics runs without a force until then."""
    hidden_at: NumberOrRange[Seconds] = (20.0, 20.0)
    """Range of the time at which the tab is hidden, in seconds."""
    hidden_for: NumberOrRange[Seconds] = (0.0, 0.0)
    """Range of how long it is hidden, in seconds: one force is held. 0: never."""
    pushes: Pushing | None = None
    """Pushes; unset: none."""

    @property
    def num_cells(self) -> int:
        """How many settings of the sliders."""
        return len(self.gravity) * len(self.cart_mass) * len(self.pole_length)


class Suite(Part):
    """Conditions, and how long each episode lasts."""

    seconds: Annotated[float, Field(ge=MIN_SECONDS, le=MAX_SECONDS)] = 60.0
    """Of each episode."""
    cart_pole_episodes: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Episodes of Gymnasium's CartPole-v1 beside the page's; 0: none."""
    condition: Annotated[tuple[Condition, ...], Field(strict=False, min_length=1, max_length=200)]
    """The conditions, each a [[condition]]."""

    @model_validator(mode="after")
    def _check_across_fields(self) -> "Suite":
        counts = Counter(condition.name for condition in self.condition)
        twice = next((("condition.name", name, "two have it") for name, count in counts.items() if count > 1), None)
        problem = twice or self.too_many()
        if problem is not None:
            raise PydanticCustomError("across_fields", "{problems}", {"problems": [problem]})
        return self

    def too_many(self, episodes_per_cell: int | None = None) -> tuple[str, None, str] | None:
        """(condition, None, what is wrong) if one has more episodes than memory may have room for."""
        most = int(MAX_EPISODE_SECONDS / self.seconds)
        for condition in self.condition:
            episodes = episodes_per_cell or condition.episodes
            if episodes * condition.num_cells > most:
                allowed = most // condition.num_cells
                cells = f" in each of {condition.num_cells} cells" if condition.num_cells > 1 else ""
                reason = f"{episodes} episodes{cells}; allowed: at most {allowed}"
                return f"condition {condition.name!r}", None, reason
        return None
