"""What does each ingredient of a recipe for the page buy? Train without it, and put the policy to the page suite.

    python benchmarks/ablations.py                           # unbreakable.toml, one seed, a training per row
    python benchmarks/ablations.py --recipe unbreakable-discrete --only "no delay" --seed 1

Each row is `cartpole train` with some fields changed and `cartpole eval --suite page` of its
best.pth: the share of episodes that stand at the end, per condition, and the CPU minutes that training took.
"""

import argparse
import json
import tempfile
from pathlib import Path

from timing import CARTPOLE, circumstances, run

VARIANTS: dict[str, tuple[str, ...]] = {
    "unchanged": (),
    "no randomization": (
        "environment.physics.gravity=9.8",
        "environment.physics.cart_mass=1.0",
        "environment.physics.pole_half_length=0.5",
        "environment.physics.cart_drag=0.75",
        "environment.physics.pole_drag=1.1",
    ),
    "no delay": ("environment.physics.delay=0",),
    "no strong pushes": ("environment.disturb.push_strength=[0.5, 1.5]",),
    "no pushes": ("environment.disturb.push_rate=0",),
    "raw features": ("policy.features=raw",),
    "smaller network": ("policy.hidden_sizes=[16, 16]",),
    "balanced starts only": (
        "environment.start.balance=1",
        "environment.start.hanging=0",
        "environment.start.anywhere=0",
    ),
}
CONDITIONS = (
    "default, pushes 0.5-1.5",
    "default, pushes 0.5-5",
    "slider grid, calm",
    "slider grid, pushes 0.5-1.5",
    "slider grid, pushes 0.5-5",
    "10 frames/s, pushes 0.5-2",
    "model after 2 s, pushes 0.5-1.5",
    "hanging start",
    "wild start",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--only", action="append", choices=VARIANTS, help="a row; may be given again")
    parser.add_argument("--recipe", default="unbreakable")
    parser.add_argument("--suite", default="page")
    parser.add_argument("--seed", default="0")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="recipe fields to change in all"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}, {circumstances()}\n")
    print(f"| | {' | '.join(CONDITIONS)} | CartPole-v1 | CPU minutes |\n|---|{'---|' * (len(CONDITIONS) + 2)}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.only or VARIANTS:
            changes = [*VARIANTS[name], *options.set]
            print(row(name, options.recipe, options.seed, changes, options.suite, Path(folder)), flush=True)


def row(name: str, recipe: str, seed: str, changes: list[str], suite: str, runs_dir: Path) -> str:
    """A line of the table."""
    where = ["--runs-dir", str(runs_dir)]
    words = ["train", "--recipe", recipe, "--seed", seed, "--name", name, "--quiet"]
    trained = run([*CARTPOLE, *words, *where, *changes])
    (report,) = json.loads(run([*CARTPOLE, "eval", name, "--suite", suite, "--json", *where]).output)["targets"]
    stands = {condition["name"]: condition["stands"]["value"] for condition in report["conditions"]}
    cells = [f"{100 * stands[condition]:.0f} %" if condition in stands else "" for condition in CONDITIONS]
    card = report["cart_pole"]
    cells += [f"{card['mean_return']:.1f}" if card else "", f"{trained.cpu_seconds / 60:.1f}"]
    return f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
