"""What no policy can do on the page: for which sliders is a pole that has fallen lost, and which pushes fell it?

    python benchmarks/limits.py                  # the suite's slider grid, pushes 0.5-1.5 and 0.5-5

Two experiments per setting of the sliders, with the page's physics (cartpole_cli/scoring/page/physics.py)
and a rail without ends, which only helps:

- held: the strongest push that the full 10 N, against the fall from the same moment on, keep from passing 90 degrees.
  Up to there the pole's acceleration falls with the force, so no force sequence holds more.
- swing-up: from hanging, the full force always with the pole's motion, so that every moment adds all the energy that it
  can; what drag takes in a swing may be more. Up: whether the pole passes the top within 15 s.

Where there is no swing-up, a pole stands at the end only if none of the pushes was stronger than the one that is held.
The last lines are the mean over the grid of the share of episodes that this leaves: an upper bound, in which a policy
without delay knows the sliders and is at rest before each push.
"""

import argparse
import itertools

import numpy as np

from cartpole_cli.actions import MAX_FORCE
from cartpole_cli.scoring.page.physics import Sliders, page_step, push
from cartpole_cli.scoring.page.suite_files import load_suite

STEPS_PER_SECOND = 50
STRENGTHS = np.linspace(0.05, 5.0, 100)
EPISODES = 20_000
PUSHES = ((0.5, 1.5), (0.5, 5.0))


def strongest_held(gravity: float, cart_mass: float, pole_length: float) -> float:
    """The largest of STRENGTHS that full force holds; 0 if none."""
    sliders = _sliders(len(STRENGTHS), gravity, cart_mass, pole_length)
    state = push(np.zeros((4, len(STRENGTHS))), STRENGTHS, lifts=np.zeros(len(STRENGTHS), dtype=bool))
    falling = np.ones(len(STRENGTHS), dtype=bool)
    held = np.zeros(len(STRENGTHS), dtype=bool)
    for _ in range(5 * STEPS_PER_SECOND):
        state = page_step(state, np.full(len(STRENGTHS), MAX_FORCE), sliders)
        held |= falling & (state[3] <= 0)
        falling &= ~held & (np.abs(state[2]) < np.pi / 2)
    return float(STRENGTHS[held].max(initial=0.0))


def swings_up(gravity: float, cart_mass: float, pole_length: float, seconds: int = 15) -> tuple[bool, float]:
    """Whether the pole passes the top, and the highest point it reached, in degrees from upright."""
    sliders = _sliders(1, gravity, cart_mass, pole_length)
    state = np.array([[0.0], [0.0], [np.pi + 0.05], [0.0]])
    closest = np.pi
    for _ in range(seconds * STEPS_PER_SECOND):
        _, _, theta, theta_dot = state
        state = page_step(state, -MAX_FORCE * np.sign(theta_dot * np.cos(theta) + 1e-12), sliders)
        closest = min(closest, abs(float(np.arccos(np.cos(state[2, 0])))))
    return closest < np.radians(5), float(np.degrees(closest))


def share_without(strength: float, low: float, high: float) -> float:
    """The share of episodes with no push above that strength, pushes of low to high every 2 to 6 s until 40 s."""
    generator = np.random.default_rng(0)
    times = generator.uniform(2, 6, size=(EPISODES, 20)).cumsum(axis=1)
    strengths = generator.uniform(low, high, size=times.shape)
    return float((~((times < 40) & (strengths > strength)).any(axis=1)).mean())


def _sliders(count: int, *values: float) -> Sliders:
    return Sliders(*(np.full(count, value) for value in values))


def _mean(bounds: list[float]) -> str:
    return f"{100 * np.mean(bounds):.1f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.parse_args()
    grid = next(condition for condition in load_suite("page").condition if condition.num_cells > 1)
    bounds: dict[tuple[float, float], list[float]] = {limits: [] for limits in PUSHES}
    headings = "cart, kg | gravity, m/s^2 | pole, m | swing-up | highest point, degrees from upright | push held"
    print(f"| {headings} |\n|---|---|---|---|---|---|")
    for cart_mass, gravity, pole_length in itertools.product(grid.cart_mass, grid.gravity, grid.pole_length):
        up, closest = swings_up(gravity, cart_mass, pole_length)
        held = strongest_held(gravity, cart_mass, pole_length)
        for limits, shares in bounds.items():
            shares.append(1.0 if up else share_without(held, *limits))
        word = "yes" if up else "no"
        print(f"| {cart_mass:g} | {gravity:g} | {pole_length:g} | {word} | {closest:.0f} | {held:.2f} |", flush=True)
    for (low, high), shares in bounds.items():
        print(f"\nslider grid, pushes {low:g}-{high:g}: at most {_mean(shares)} of the episodes can stand at the end.")


if __name__ == "__main__":
    main()
