"""Do the shipped recipes solve their tasks, and how fast?

    python benchmarks/solve.py                       # 20 seeds of each recipe, one core, one after the other
    python benchmarks/solve.py ppo --seeds 3         # some recipes, fewer seeds
    python benchmarks/solve.py ppo --first-seed 1000 # other seeds: tune on these, never on 0-19

Each run is `cartpole train --recipe NAME --seed SEED` in this process, files included. The return is best.pth's,
acting greedily on the final evaluation set (100 episodes of Gymnasium's CartPole that chose nothing). "5,000 steps"
counts the runs whose best.pth stands that long in 99 of 100 other episodes. Seconds are
those of the training loop: collecting and learning, then with the held-out evaluations and confirmations that decide
when to stop. Imports and the final evaluation are not in them.
"""

import argparse
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import torch

from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.runs.session import Session, Summary
from cartpole_cli.scoring.candidates import load_candidate
from cartpole_cli.scoring.scorecard import Terms, score

LONG = 5_000
RECIPES = [name + head for name in ("reinforce", "ppo", "grpo", "dpo") for head in ("", "-continuous")]


def train(recipe_name: str, seed: int, overrides: list[str], runs_dir: Path) -> Summary:
    """One run from start to summary."""
    path = find_recipe(recipe_name)
    recipe = load_recipe(path, [f"trainer.seed={seed}", "trainer.device=cpu", *overrides])
    torch.set_num_threads(recipe.trainer.num_threads)
    with Session.create(
        recipe, device=torch.device("cpu"), recipe_name=path.stem, runs_dir=runs_dir, name=None, tell=print
    ) as session:
        for _ in session.reports():
            pass
        return session.finish()


def stands_long(run: str, runs_dir: Path) -> bool:
    """Whether best.pth stands 5,000 steps in 99 of 100 episodes."""
    candidate = load_candidate(run, runs_dir, torch.device("cpu"))
    card = score(candidate, Terms(episodes=100, seed=0, horizon=LONG)).card
    return sum(value >= LONG for value in card["returns"]) >= 99


def row(recipe_name: str, summaries: list[Summary], num_long: int) -> str:
    """A line of the table."""
    returns = [summary.mean_return.value for summary in summaries if summary.mean_return is not None]
    solved = sum(value >= 475 for value in returns)
    perfect = sum(value == 500 for value in returns)

    def spread(of: Callable[[Summary], float], form: str) -> str:
        values = [of(summary) for summary in summaries]
        return f"{statistics.median(values):{form}} ({min(values):{form}} - {max(values):{form}})"

    cells = [
        recipe_name,
        f"{solved} of {len(summaries)}",
        f"{perfect} of {len(summaries)}",
        f"{min(returns):.1f}",
        f"{statistics.median(returns):.1f}",
        f"{num_long} of {len(summaries)}",
        spread(lambda summary: summary.env_steps, ",.0f"),
        spread(lambda summary: summary.seconds - summary.evaluation_seconds, ".2f"),
        spread(lambda summary: summary.seconds, ".2f"),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="recipe fields to change")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    versions = f"torch {version('torch')}, gymnasium {version('gymnasium')}, Python {platform.python_version()}"
    print(f"seeds {seeds.start} to {seeds.stop - 1}, one core of {platform.machine()}, {versions}\n")
    headings = "recipe | >= 475 | 500.0 | worst | median | 5,000 steps | env steps, median (range) | seconds"
    print(f"| {headings} | with evaluations |\n|{'---|' * 9}")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.recipes:
            summaries = [train(name, seed, options.set, Path(folder)) for seed in seeds]
            num_long = sum(stands_long(path.name, Path(folder)) for path in Path(folder).glob(f"*-{name}-s*"))
            print(row(name, summaries, num_long), flush=True)


if __name__ == "__main__":
    main()
