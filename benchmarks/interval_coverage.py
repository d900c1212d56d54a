"""Does the 95 % interval of a suite's overall share hold the truth 95 times of 100, and how wide is it?

    python benchmarks/interval_coverage.py

Suites are simulated whose shares p are known. Their sizes: page, the page suite's 23 conditions (20 of 200 episodes,
3 grids of 100 cells of 10); mixed, 20 to 5,000 episodes; small, a twentieth of the page's. Where p is not 1: in all
conditions, in every second one, in three; or drawn: uniform between 2 p - 1 and 1, in a grid for each cell.

Old is the method of variance estimates recovery (Zou and Donner 2008) on Wilson's intervals, new `mean_of_shares`. In
brackets: the mean width, in widths of the interval that a normal distribution with the true variance gives.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from cartpole_cli.estimate import Estimate
from cartpole_cli.intervals import Z95, mean_of_shares, share

Flags = NDArray[np.bool_]
Floats = NDArray[np.float64]
Sizes = Sequence[tuple[int, int]]
"""Cells and episodes per cell of each condition."""

SIZES: dict[str, Sizes] = {
    "page": [(1, 200)] * 20 + [(100, 10)] * 3,
    "mixed": [(1, size) for size in (20, 50, 100, 200, 500, 1000, 5000)] * 3 + [(100, 10), (100, 2)],
    "small": [(1, 10)] * 20 + [(20, 2)] * 3,
}
SHARES = (0.5, 0.7, 0.9, 0.95, 0.99, 0.995, 0.999)


def drawn_shares(sizes: Sizes, p: float) -> list[Floats]:
    """Of each cell."""
    generator = np.random.default_rng(0)
    return [generator.uniform(2 * p - 1, 1.0, size=cells) for cells, _ in sizes]


def some_shares(every: int) -> Callable[[Sizes, float], list[Floats]]:
    """p in the first condition and each so many places further, 1 in the others."""
    return lambda sizes, p: [np.full(cells, 1.0 if place % every else p) for place, (cells, _) in enumerate(sizes)]


KINDS = {"all": some_shares(1), "every second": some_shares(2), "three": some_shares(8), "drawn": drawn_shares}


def old(conditions: Sequence[Flags]) -> Estimate:
    """Zou and Donner 2008: each share's distance to its own bound takes the place of its standard error."""
    shares = [share(flags.ravel()) for flags in conditions]
    value = float(np.mean([each.value for each in shares]))
    down = float(np.linalg.norm([each.value - each.interval[0] for each in shares])) / len(shares)
    up = float(np.linalg.norm([each.interval[1] - each.value for each in shares])) / len(shares)
    return Estimate(value, (value - down, value + up))


def simulate(sizes: Sizes, shares: list[Floats], repeats: int) -> list[tuple[float, float]]:
    """Coverage and relative width, of the old and of the new interval."""
    generator = np.random.default_rng(1)
    truth = float(np.mean([each.mean() for each in shares]))
    pairs = list(zip(sizes, shares, strict=True))
    variance = sum(float((p * (1 - p)).mean()) / (cells * episodes) for (cells, episodes), p in pairs) / len(sizes) ** 2
    bounds = np.empty((2, repeats, 2))
    for repeat in range(repeats):
        suite = [generator.random(size) < p[:, None] for size, p in pairs]
        bounds[:, repeat] = [method(suite).interval for method in (old, mean_of_shares)]
    low, high = np.moveaxis(bounds, 2, 0)
    holds = (low <= truth + 1e-12) & (truth - 1e-12 <= high)
    widths = (high - low).mean(axis=1) / (2 * Z95 * variance**0.5)
    return list(zip(holds.mean(axis=1).tolist(), widths.tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=10_000, help="Suites simulated for each figure.")
    repeats: int = parser.parse_args().repeats
    print(f"{repeats:,} suites each: 0.95 is uncertain by {Z95 * (0.95 * 0.05 / repeats) ** 0.5:.3f}\n")
    print("| where | p |", " | ".join(f"{name}, old | {name}, new" for name in SIZES), "|")
    print("|---" * (2 + 2 * len(SIZES)) + "|")
    for where, shares_of in KINDS.items():
        for p in SHARES:
            results = [simulate(sizes, shares_of(sizes, p), repeats) for sizes in SIZES.values()]
            cells = [f"{coverage:.3f} ({width:.2f})" for result in results for coverage, width in result]
            print(f"| {where} | {p:g} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
