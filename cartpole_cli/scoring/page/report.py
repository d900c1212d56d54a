"""A suite's report on one policy, as plain data."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from cartpole_cli.errors import CartpoleError
from cartpole_cli.intervals import mean, mean_of_shares, share
from cartpole_cli.scoring.page.episodes import Episodes, cells, sample_episodes
from cartpole_cli.scoring.page.outcomes import Outcomes, outcomes
from cartpole_cli.scoring.page.physics import Floats
from cartpole_cli.scoring.page.simulate import Pilot, simulate
from cartpole_cli.scoring.page.suite import Condition, Suite

BATCH = 4096
"""Episodes simulated at once, more or less: more take no less time each, and more memory."""


def report_on(
    pilot: Pilot, suite: Suite, *, seed: int, episodes: int | None, on_step: Callable[[int, int], None]
) -> dict[str, Any]:
    """Put a policy to all conditions, side by side.

    Args:
        pilot: the policy.
        suite: the conditions.
        seed: of all that is random.
        episodes: of each condition (each cell of a grid), instead of the suite's own numbers.
        on_step: told the number of steps done, and of all.

    Raises:
        CartpoleError: too many episodes.
    """
    problem = suite.too_many(episodes)
    if problem is not None:
        raise CartpoleError(f"--episodes: {problem[0]}: {problem[2]}")
    results = _outcomes(pilot, suite, seed, episodes, on_step)
    judged = list(zip(suite.condition, results, strict=True))
    stands = [result.stands.reshape(condition.num_cells, -1) for condition, result in judged]
    return {
        "seconds": suite.seconds,
        "seed": seed,
        "overall": mean_of_shares(stands).as_plain_data(),
        "conditions": [_condition_data(*each) for each in judged],
    }


def _outcomes(
    pilot: Pilot, suite: Suite, seed: int, episodes: int | None, on_step: Callable[[int, int], None]
) -> list[Outcomes]:
    """Those of each condition."""
    groups = list(_groups(suite, episodes))
    results: list[Outcomes] = []
    for place, group in enumerate(groups):
        parts = [
            sample_episodes(condition, seconds=suite.seconds, seed=seed, episodes_per_cell=episodes)
            for condition in group
        ]
        together = Episodes.joined(parts)
        steps = together.num_steps

        def tell(done: int, before: int = place * steps, total: int = len(groups) * steps) -> None:
            on_step(before + done, total)

        course = simulate(pilot, together, tell)
        bounds = np.cumsum([0, *(part.start.shape[1] for part in parts)]).tolist()
        results += [outcomes(course.of(first, end)) for first, end in itertools.pairwise(bounds)]
    return results


def _groups(suite: Suite, episodes_per_cell: int | None) -> Iterator[list[Condition]]:
    """Conditions in order, as many at once as make a good batch."""
    group: list[Condition] = []
    rows = 0
    for condition in suite.condition:
        more = condition.num_cells * (episodes_per_cell or condition.episodes)
        if group and rows + more > BATCH:
            yield group
            group, rows = [], 0
        group.append(condition)
        rows += more
    yield group


def _condition_data(condition: Condition, result: Outcomes) -> dict[str, Any]:
    data = {
        "name": condition.name,
        "episodes": len(result.stands),
        "stands": share(result.stands).as_plain_data(),
        "on_rail": share(result.on_rail).as_plain_data(),
        "never_down": share(result.never_down).as_plain_data(),
        "upright": mean(result.upright).as_plain_data(),
        "recovery_seconds": _mean_of_any(result.recovery[result.stands]),
        "effort": mean(result.motion.effort).as_plain_data(),
        "switches_per_second": mean(result.motion.switches).as_plain_data(),
        "jerk": mean(result.motion.jerk).as_plain_data(),
        "distance": mean(result.motion.distance).as_plain_data(),
    }
    if condition.num_cells > 1:
        data["cells"] = _cells_data(condition, result)
    return data


def _cells_data(condition: Condition, result: Outcomes) -> Sequence[dict[str, float]]:
    stands = result.stands.reshape(condition.num_cells, -1).mean(axis=1).tolist()
    on_rail = result.on_rail.reshape(condition.num_cells, -1).mean(axis=1).tolist()
    return [
        {"gravity": gravity, "cart_mass": cart_mass, "pole_length": length, "stands": standing, "on_rail": staying}
        for (gravity, cart_mass, length), standing, staying in zip(cells(condition), stands, on_rail, strict=True)
    ]


def _mean_of_any(values: Floats) -> dict[str, Any] | None:
    return mean(values).as_plain_data() if len(values) else None
