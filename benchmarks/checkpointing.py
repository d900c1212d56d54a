"""What share of training goes into last.pth?

    python benchmarks/checkpointing.py               # each shipped algorithm, as often as its recipe says
    python benchmarks/checkpointing.py ppo --every 1 # after every iteration

Each run is `cartpole train` in this process, on one core; seconds of the training loop without held-out evaluation.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch

from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.runs.session import Session

RECIPES = ("reinforce", "ppo", "grpo", "dpo")


class Timed(Session):
    """A session that knows how long it took to write last.pth."""

    writing = 0.0

    def _save_last(self) -> None:
        started = time.perf_counter()
        super()._save_last()
        self.writing += time.perf_counter() - started


def row(name: str, every: int | None, num_steps: int | None, runs_dir: Path) -> str:
    changes = ["trainer.device=cpu"] + ([f"trainer.checkpoint_every={every}"] if every else [])
    recipe = load_recipe(find_recipe(name), changes + ([f"trainer.num_steps={num_steps}"] if num_steps else []))
    torch.set_num_threads(recipe.trainer.num_threads)
    session = Timed.create(
        recipe, device=torch.device("cpu"), recipe_name=name, runs_dir=runs_dir, name=None, tell=print
    )
    with session:
        iterations = sum(1 for _ in session.reports())
        writing, size = session.writing, session.directory.last.stat().st_size
        summary = session.finish()
    training = summary.seconds - summary.evaluation_seconds
    cells = [name, str(recipe.trainer.checkpoint_every), str(iterations), f"{training:.2f}", f"{1000 * writing:.1f}"]
    return f"| {' | '.join([*cells, f'{100 * writing / training:.2f} %', f'{size / 1024:.0f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--every", type=int, help="iterations between checkpoints")
    parser.add_argument("--num-steps", type=int, help="a smaller budget")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print("| recipe | checkpoint_every | iterations | training s | writing last.pth ms | share | last.pth KiB |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as runs_dir:
        for name in options.recipes:
            print(row(name, options.every, options.num_steps, Path(runs_dir)), flush=True)


if __name__ == "__main__":
    main()
