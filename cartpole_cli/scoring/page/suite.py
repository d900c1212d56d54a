"""Suites: the conditions that a policy is put to, validated. Every field is documented here, once.

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

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class Pushing(Part):
    """A visitor who pushes again and again, to random sides."""

    strength: NumberOrRange[Strength]
    """How strong each push is, from 0 to 5; the page's keys and buttons push with 1, and no slider changes that."""
    every: NumberOrRange[Interval]
    """Seconds between one push and the next."""
    until: Seconds = 40.0
    """Seconds after which the visitor pushes no more."""
    lift_fallen: bool = True
    """Whether a push sets a pole that leans more than 29.7 degrees back to 29.7, as the page's clamp does. If not, the
    push changes its velocities only: stricter, as lifting flatters policies that cannot swing a pole up."""


class Mashing(Part):
    """A visitor who keeps hitting one key: a burst of pushes to one side, which is drawn for each episode."""

    at: NumberOrRange[Seconds]
    """Seconds after which the burst begins."""
    seconds: NumberOrRange[Seconds] = (3.0, 3.0)
    """How long it lasts."""
    per_second: Annotated[float, Field(gt=0, le=50)] = 8.0
    """Pushes per second."""
    strength: Strength = 1.0
    """Strength of each."""


class Hitching(Part):
    """Slow frames, again and again: the force of the last inference goes on acting."""

    seconds: NumberOrRange[Seconds]
    """How long each of them takes."""
    every: NumberOrRange[Interval]
    """Seconds from the end of one to the beginning of the next."""
    until: Seconds = 40.0
    """Seconds after which no more begin."""


class Moving(Part):
    """A visitor who moves all three sliders, again and again: each to anywhere in a range, uniform in its logarithm."""

    every: NumberOrRange[Interval]
    """Seconds between one move and the next."""
    until: Seconds = 40.0
    """Seconds after which the sliders stay where they are."""
    gravity: NumberOrRange[Annotated[float, Field(gt=0, le=100)]] = (5.0, 20.0)
    """Where the gravity slider is moved to, m/s^2."""
    cart_mass: NumberOrRange[Annotated[float, Field(ge=0.1, le=100)]] = (0.2, 5.0)
    """Where the slider for the cart's mass is moved to, kg."""
    pole_length: NumberOrRange[Annotated[float, Field(ge=0.2, le=20)]] = (0.4, 2.0)
    """Where the slider for the pole's whole length is moved to, m."""


class Condition(Part):
    """What happens to a policy. Where a field may be a range, [low, high], each episode draws its own number from it; a
    number is the same for all."""

    name: Annotated[str, Field(min_length=1, max_length=60)]
    """The condition's name in tables and in JSON; each condition needs its own."""
    episodes: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Number of episodes; for a grid, in each of its cells."""
    gravity: Annotated[tuple[Annotated[float, Field(ge=0, le=100)], ...], *CELLS] = (9.8,)
    """Values of the gravity slider in m/s^2; on the page it goes from 5 to 20. The values of the three sliders make a
    grid: each combination is a cell."""
    cart_mass: Annotated[tuple[Annotated[float, Field(ge=0.1, le=100)], ...], *CELLS] = (1.0,)
    """Values of the slider for the cart's mass in kg; on the page it goes from 0.2 to 5."""
    pole_length: Annotated[tuple[Annotated[float, Field(ge=0.2, le=20)], ...], *CELLS] = (1.0,)
    """Values of the slider for the pole's whole length in m; on the page it goes from 0.4 to 2."""
    start: Literal["still", "hanging", "wild"] = "still"
    """Where episodes start. still: all four numbers within 0.05 of an upright pole at rest, as on the page; hanging:
    the same around a hanging pole; wild: within 3 m and 3 m/s, within two turns, within 8 rad/s."""
    frames_per_second: Annotated[float, Field(ge=1, le=1000)] = 60.0
    """How many times a second the page draws a frame and asks the policy."""
    model_after: NumberOrRange[Seconds] = (0.0, 0.0)
    """Seconds that the model takes to load; until then the physics runs without a force."""
    hidden_at: NumberOrRange[Seconds] = (20.0, 20.0)
    """Seconds after which the tab is hidden."""
    hidden_for: NumberOrRange[Seconds] = (0.0, 0.0)
    """Seconds for which the tab is hidden, while the last force goes on acting; 0: never."""
    pushes: Pushing | None = None
    """A visitor's pushes; unset: there are none."""
    mashing: Mashing | None = None
    """A burst of pushes besides; unset: none. It lifts a fallen pole unless the condition's pushes do not."""
    hitches: Hitching | None = None
    """Slow frames; unset: none."""
    sliders_move: Moving | None = None
    """Moves of the sliders in the middle of an episode; unset: they stay where they are."""

    @property
    def num_cells(self) -> int:
        """How many settings of the sliders."""
        return len(self.gravity) * len(self.cart_mass) * len(self.pole_length)


class Suite(Part):
    """Conditions, and how long each episode lasts."""

    seconds: Annotated[float, Field(ge=MIN_SECONDS, le=MAX_SECONDS)] = 60.0
    """Length of each episode, in seconds."""
    cart_pole_episodes: Annotated[int, Field(ge=0, le=10_000)] = 0
    """Episodes of Gymnasium's CartPole-v1 (or ContinuousCartPole-v1) that are scored besides; 0: none."""
    condition: Annotated[tuple[Condition, ...], Field(strict=False, min_length=1, max_length=200)]
    """The conditions, each in a table of its own, [[condition]]."""

    @model_validator(mode="after")
    def _check_across_fields(self) -> "Suite":
        counts = Counter(condition.name for condition in self.condition)
        twice = next((("condition.name", name, "given twice") for name, count in counts.items() if count > 1), None)
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
