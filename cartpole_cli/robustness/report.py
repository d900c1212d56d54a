"""A suite's report on one policy, as plain data."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cartpole_cli.robustness.episodes import Episodes, cells, draw_episodes
from cartpole_cli.robustness.play import Pilot, Played, play
from cartpole_cli.robustness.statistics import Estimate, Outcomes, mean, mean_of_shares, outcomes, share
from cartpole_cli.robustness.suite import Condition, Suite


def play_suite(
    pilot: Pilot, suite: Suite, *, seed: int, episodes: int | None, on_step: Callable[[int, int], None]
) -> dict[str, Any]:
    """Put a policy to all conditions, side by side.

    Args:
        pilot: the policy.
        suite: the conditions.
        seed: of everything that is drawn.
        episodes: of each condition (each cell of a grid), instead of the suite's own numbers.
        on_step: told the number of steps done, and of all.
    """
    drawn = [
        draw_episodes(condition, seconds=suite.seconds, seed=seed, episodes_per_cell=episodes)
        for condition in suite.condition
    ]
    together = Episodes.joined(drawn)
    played = play(pilot, together, lambda done: on_step(done, together.num_steps))
    bounds = np.cumsum([0, *(len(part.start.T) for part in drawn)]).tolist()
    rows, shares = [], []
    for condition, first, end in zip(suite.condition, bounds, bounds[1:], strict=False):
        result = outcomes(Played(played.upright[:, first:end], played.on_rail[:, first:end]))
        shares.append(share(result.stands))
        rows.append(_condition_data(condition, result))
    return {
        "seconds": suite.seconds,
        "seed": seed,
        "overall": mean_of_shares(shares).as_plain_data(),
        "conditions": rows,
    }


def _condition_data(condition: Condition, result: Outcomes) -> dict[str, Any]:
    data = {
        "name": condition.name,
        "episodes": len(result.stands),
        "stands": share(result.stands).as_plain_data(),
        "on_rail": share(result.on_rail).as_plain_data(),
        "upright": _plain(mean(result.upright)),
        "recovery_seconds": _plain(mean(result.recovery[result.stands])),
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


def _plain(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else estimate.as_plain_data()
