"""How do several seeds of a recipe do in a suite, pooled? Tables for docs/unbreakable.md.

    cartpole train --recipe unbreakable --seeds 3 --name study
    cartpole export study/s0 --output s0.onnx        # and s1, s2
    python benchmarks/robustness.py s0.onnx s1.onnx s2.onnx

A share is the mean over the targets, which play the same number of episodes; where they differ, each stands behind it.
"""

import argparse
import json
import statistics
from collections.abc import Sequence
from typing import Any

from timing import CARTPOLE, circumstances, run

MOTION = {"effort": (2, " N"), "switches_per_second": (1, "/s"), "jerk": (0, " N/s"), "distance": (2, " m")}
SHARES = ("on_rail", "never_down", "upright")
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("targets", nargs="+", help="what `cartpole eval` takes")
    parser.add_argument("--suite", default="page")
    parser.add_argument("--episodes", help="of each condition and cell, instead of the suite's own numbers")
    options = parser.parse_args()
    episodes = ["--episodes", options.episodes] if options.episodes else []
    command = [*CARTPOLE, "eval", *options.targets, "--suite", options.suite, "--json", *episodes]
    reports = json.loads(run(command).output)["targets"]
    print(f"{len(reports)} pooled, {circumstances()}\n")
    print("| condition | stands (each seed) | on rail | never down | upright | effort | switches | jerk | distance |")
    print(f"|{'---|' * 9}")
    conditions = list(zip(*(report["conditions"] for report in reports), strict=True))
    for rows in conditions:
        print(f"| {rows[0]['name']} | {' | '.join(cells(rows))} |")
    print(f"| overall | {shares([report['overall'] for report in reports])} |{' |' * 7}")
    returns = [f"{report['cart_pole']['mean_return']:.1f}" for report in reports if report["cart_pole"]]
    if returns:
        print(f"| Gymnasium's CartPole-v1, mean return | {', '.join(returns)} |{' |' * 7}")
    by_mass([rows for rows in conditions if "cells" in rows[0]])


def cells(rows: Sequence[Row]) -> list[str]:
    """A condition's figures."""
    found = [shares([row["stands"] for row in rows])]
    found += [f"{100 * mean([row[name] for row in rows]):.1f} %" for name in SHARES]
    return found + [f"{mean([row[name] for row in rows]):.{places}f}{unit}" for name, (places, unit) in MOTION.items()]


def shares(figures: Sequence[Row]) -> str:
    """The mean, and each where they differ."""
    each = [f"{100 * figure['value']:.1f}" for figure in figures]
    return f"{100 * mean(figures):.1f} %" + (f" ({', '.join(each)})" if len(set(each)) > 1 else "")


def by_mass(grids: Sequence[Sequence[Row]]) -> None:
    """What stands of a grid's cells, by the cart's mass."""
    masses = sorted({cell["cart_mass"] for rows in grids for cell in rows[0]["cells"]})
    print(f"\n| | {' | '.join(f'{mass:g} kg' for mass in masses)} |\n|{'---|' * (1 + len(masses))}")
    for rows in grids:
        of_mass = [
            [cell["stands"] for row in rows for cell in row["cells"] if cell["cart_mass"] == mass] for mass in masses
        ]
        print(f"| {rows[0]['name']} | {' | '.join(f'{100 * statistics.mean(each):.0f} %' for each in of_mass)} |")


def mean(figures: Sequence[Row]) -> float:
    return statistics.mean(figure["value"] for figure in figures)


if __name__ == "__main__":
    main()
