"""A condition and a seed -> episodes, with all that is random about them."""

import itertools
from dataclasses import dataclass

import numpy as np

from cartpole_cli.randomness import Streams
from cartpole_cli.scoring.page.physics import STEPS_PER_SECOND, Flags, Floats, Sliders
from cartpole_cli.scoring.page.suite import Condition, Pushing
from cartpole_cli.scoring.page.timing import Pushes, Strengths, timing

STILL = np.array([0.05, 0.05, 0.05, 0.05])
WILD = np.array([3.0, 3.0, np.pi, 8.0])
NO_PUSHES = Pushes(np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True)
class Episodes:
    """N episodes of T steps: where they begin, and all that happens to them. Rows of a grid's cell are neighbours."""

    start: Floats
    """[4, N]"""
    sliders: Sliders
    asks: Flags
    """[T, N], as `Timing` has them; so are the pushes."""
    seen: Strengths
    late: Strengths
    lifts: Flags
    """[N], whether pushes lift a fallen pole."""

    @property
    def num_steps(self) -> int:
        return len(self.asks)

    @classmethod
    def joined(cls, parts: "list[Episodes]") -> "Episodes":
        """All of them side by side."""

        def beside(name: str) -> Floats:
            return np.concatenate([getattr(part.sliders, name) for part in parts])

        return cls(
            np.concatenate([part.start for part in parts], axis=1),
            Sliders(beside("gravity"), beside("cart_mass"), beside("pole_length")),
            np.concatenate([part.asks for part in parts], axis=1),
            np.concatenate([part.seen for part in parts], axis=1),
            np.concatenate([part.late for part in parts], axis=1),
            np.concatenate([part.lifts for part in parts]),
        )


def cells(condition: Condition) -> list[tuple[float, float, float]]:
    """Gravity, cart mass and pole length of each cell, in the order of the episodes."""
    return list(itertools.product(condition.gravity, condition.cart_mass, condition.pole_length))


def sample_episodes(condition: Condition, *, seconds: float, seed: int, episodes_per_cell: int | None) -> Episodes:
    """The episodes of a condition; the numbers depend on the seed and the condition's name only."""
    per_cell = episodes_per_cell or condition.episodes
    settings = np.repeat(np.array(cells(condition)), per_cell, axis=0)
    num_steps = round(seconds * STEPS_PER_SECOND)
    generator = np.random.default_rng(Streams([seed], name="suite").integer(0, condition.name))
    count = len(settings)
    start = _starts(condition, generator, count)
    model_after = generator.uniform(*condition.model_after, size=count)
    hidden_at = generator.uniform(*condition.hidden_at, size=count)
    hidden_for = generator.uniform(*condition.hidden_for, size=count)
    timings = [
        timing(
            num_steps,
            frames_per_second=condition.frames_per_second,
            model_after=float(model_after[index]),
            hidden=(float(hidden_at[index]), float(hidden_at[index] + hidden_for[index])),
            pushes=NO_PUSHES if condition.pushes is None else _pushes(condition.pushes, generator),
        )
        for index in range(count)
    ]
    return Episodes(
        start,
        Sliders(*settings.T.copy()),
        np.stack([each.asks for each in timings], axis=1),
        np.stack([each.seen for each in timings], axis=1),
        np.stack([each.late for each in timings], axis=1),
        np.full(count, condition.pushes is not None and condition.pushes.lift_fallen),
    )


def _starts(condition: Condition, generator: np.random.Generator, count: int) -> Floats:
    scale = WILD if condition.start == "wild" else STILL
    starts = generator.uniform(-1.0, 1.0, size=(count, 4)) * scale
    if condition.start == "hanging":
        starts[:, 2] += np.pi
    return np.asarray(starts.T.copy())


def _pushes(pushing: Pushing, generator: np.random.Generator) -> Pushes:
    most = int(pushing.until / pushing.every[0]) + 1
    times = generator.uniform(*pushing.every, size=most).cumsum()
    strengths = generator.uniform(*pushing.strength, size=most) * generator.choice([-1.0, 1.0], size=most)
    kept = times < pushing.until
    return Pushes(times[kept], strengths[kept])
