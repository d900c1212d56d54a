"""A condition and a seed -> episodes, with all that is random about them."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cartpole_cli.randomness import Streams
from cartpole_cli.scoring.page.physics import STEPS_PER_SECOND, Flags, Floats, Sliders
from cartpole_cli.scoring.page.suite import Condition, Hitching, Moving
from cartpole_cli.scoring.page.timing import Pushes, Strengths, timing

Counts = NDArray[np.int64]

STILL = np.array([0.05, 0.05, 0.05, 0.05])
WILD = np.array([3.0, 3.0, 2 * np.pi, 8.0])


@dataclass(frozen=True, slots=True)
class Moves:
    """M moves of sliders, in the order of their steps: the step they come before, the episode, and where to, [3, M]."""

    steps: Counts
    episodes: Counts
    sliders: Floats

    @classmethod
    def sorted(cls, steps: Counts, episodes: Counts, sliders: Floats) -> "Moves":
        """In any order."""
        order = np.argsort(steps, kind="stable")
        return cls(steps[order], episodes[order], sliders[:, order])


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
    moves: Moves

    @property
    def num_steps(self) -> int:
        return len(self.asks)

    @classmethod
    def joined(cls, parts: "list[Episodes]") -> "Episodes":
        """All of them side by side."""

        def beside(name: str) -> Floats:
            return np.concatenate([getattr(part.sliders, name) for part in parts])

        firsts = np.cumsum([0, *(part.start.shape[1] for part in parts)])[:-1]
        return cls(
            np.concatenate([part.start for part in parts], axis=1),
            Sliders(beside("gravity"), beside("cart_mass"), beside("pole_length")),
            np.concatenate([part.asks for part in parts], axis=1),
            np.concatenate([part.seen for part in parts], axis=1),
            np.concatenate([part.late for part in parts], axis=1),
            np.concatenate([part.lifts for part in parts]),
            Moves.sorted(
                np.concatenate([part.moves.steps for part in parts]),
                np.concatenate([part.moves.episodes + first for part, first in zip(parts, firsts, strict=True)]),
                np.concatenate([part.moves.sliders for part in parts], axis=1),
            ),
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
            gaps=[
                (float(hidden_at[index]), float(hidden_at[index] + hidden_for[index])),
                *(_gaps(condition.hitches, generator) if condition.hitches else ()),
            ],
            pushes=_pushes(condition, generator),
        )
        for index in range(count)
    ]
    moves = [_moves(condition.sliders_move, generator) for _ in range(count) if condition.sliders_move]
    places = np.repeat(np.arange(len(moves)), [each.shape[1] for each in moves])
    steps, *sliders = np.concatenate([np.empty((4, 0)), *moves], axis=1)
    return Episodes(
        start,
        Sliders(*settings.T.copy()),
        np.stack([each.asks for each in timings], axis=1),
        np.stack([each.seen for each in timings], axis=1),
        np.stack([each.late for each in timings], axis=1),
        np.full(count, condition.pushes is None or condition.pushes.lift_fallen),
        Moves.sorted(np.ceil(steps * STEPS_PER_SECOND).astype(np.int64), places, np.array(sliders)),
    )


def _starts(condition: Condition, generator: np.random.Generator, count: int) -> Floats:
    scale = WILD if condition.start == "wild" else STILL
    starts = generator.uniform(-1.0, 1.0, size=(count, 4)) * scale
    if condition.start == "hanging":
        starts[:, 2] += np.pi
    return np.asarray(starts.T.copy())


def _pushes(condition: Condition, generator: np.random.Generator) -> Pushes:
    pushes, mashing = condition.pushes, condition.mashing
    times = strengths = np.empty(0)
    if pushes is not None:
        times = _times(pushes.every, pushes.until, generator)
        most = int(pushes.until / pushes.every[0]) + 1
        strengths = generator.uniform(*pushes.strength, size=most) * generator.choice([-1.0, 1.0], size=most)
        strengths = strengths[: len(times)]
    if mashing is not None:
        begin, length = (generator.uniform(*each) for each in (mashing.at, mashing.seconds))
        burst = begin + np.arange(round(length * mashing.per_second)) / mashing.per_second
        side = mashing.strength * generator.choice([-1.0, 1.0])
        order = np.argsort(np.concatenate([times, burst]), kind="stable")
        times = np.concatenate([times, burst])[order]
        strengths = np.concatenate([strengths, np.full(len(burst), side)])[order]
    return Pushes(times, strengths)


def _times(every: tuple[float, float], until: float, generator: np.random.Generator) -> Floats:
    """When what happens again and again happens, in seconds."""
    times = generator.uniform(*every, size=int(until / every[0]) + 1).cumsum()
    return np.asarray(times[times < until])


def _gaps(hitching: Hitching, generator: np.random.Generator) -> list[tuple[float, float]]:
    begins = _times(hitching.every, hitching.until, generator)
    lengths = generator.uniform(*hitching.seconds, size=len(begins))
    begins += lengths.cumsum() - lengths
    pairs = zip(begins.tolist(), lengths.tolist(), strict=True)
    return [(begin, begin + length) for begin, length in pairs if begin < hitching.until]


def _moves(moving: Moving, generator: np.random.Generator) -> Floats:
    """[4, moves]: when, in seconds, and where the sliders are moved to."""
    times = _times(moving.every, moving.until, generator)
    ranges = np.log([moving.gravity, moving.cart_mass, moving.pole_length])
    sliders = np.exp(generator.uniform(ranges[:, :1], ranges[:, 1:], size=(3, len(times))))
    return np.concatenate([times[None], sliders])
