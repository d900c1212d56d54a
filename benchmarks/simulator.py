"""How fast does the native simulator step, beside Gymnasium's vectorized cart-pole? One core, no policy.

Both take random actions and start ended episodes anew by themselves (Gymnasium's `CartPoleVectorEnv` in numpy spends
a step on it, which is counted as if it were one). CPU seconds of the process, so that others on the machine do not
matter much; medians of repetitions that alternate between the two.

A second table has what recipes/unbreakable.toml trains in, beside the same number of plain cart-poles.

python benchmarks/simulator.py
python benchmarks/simulator.py --tiny       # does it run at all?
"""

import argparse
import itertools
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv

from cartpole_cli.environments.build import build_environment
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import find_recipe, load_recipe

SIZES = (1, 8, 64, 1024, 16384)
NUM_ACTIONS = 64
Stepping = tuple[Callable[[Any], Any], list[Any]]
"""What steps, and the actions it takes."""


def steps_per_second(step: Callable[[Any], Any], actions: list[Any], num_envs: int, num_steps: int) -> float:
    started = time.process_time()
    for action in itertools.islice(itertools.cycle(actions), num_steps):
        step(action)
    return num_envs * num_steps / (time.process_time() - started)


def beside_gymnasium(num_envs: int, num_steps: int, repeats: int) -> str:
    """A line of the first table."""
    theirs = CartPoleVectorEnv(num_envs=num_envs)
    theirs.reset(seed=0)
    actions = random_actions(num_envs)
    ours = CartPoleSimulator(Streams([0]), num_envs)
    return row(
        (ours.step, list(torch.from_numpy(actions).unsqueeze(1))),
        (theirs.step, list(actions)),
        num_envs,
        num_steps,
        repeats,
    )


def beside_plain(num_envs: int, num_steps: int, repeats: int) -> str:
    """A line of the second table."""
    environment = load_recipe(find_recipe("unbreakable"), []).environment.model_copy(update={"num_envs": num_envs})
    actions = list(torch.from_numpy(random_actions(num_envs)).unsqueeze(1))
    randomized, plain = build_environment(environment, Streams([0])), CartPoleSimulator(Streams([0]), num_envs)
    return row((randomized.step, actions), (plain.step, actions), num_envs, num_steps, repeats)


def random_actions(num_envs: int) -> Any:
    return np.random.default_rng(0).integers(2, size=(NUM_ACTIONS, num_envs))


def row(ours: Stepping, theirs: Stepping, num_envs: int, num_steps: int, repeats: int) -> str:
    speeds = [
        (steps_per_second(*ours, num_envs, num_steps), steps_per_second(*theirs, num_envs, num_steps))
        for _ in range(repeats)
    ]
    our_median, their_median = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(our / their for our, their in speeds)
    return f"| {num_envs} | {our_median:,.0f} | {their_median:,.0f} | {ratio:.2f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--tiny", action="store_true", help="a few steps of each")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    versions = f"torch {version('torch')}, gymnasium {version('gymnasium')}, numpy {version('numpy')}"
    print(f"steps per second, one core of {platform.machine()}, {versions}, Python {platform.python_version()}\n")
    tables = {
        "| environments | native simulator | CartPoleVectorEnv | ratio |": beside_gymnasium,
        "\n| environments | unbreakable's | native simulator | ratio |": beside_plain,
    }
    for head, line in tables.items():
        print(f"{head}\n|---|---|---|---|")
        for num_envs in SIZES:
            num_steps = 10 if options.tiny else min(2000, 5_000_000 // num_envs)
            print(line(num_envs, num_steps, 1 if options.tiny else options.repeats), flush=True)


if __name__ == "__main__":
    main()
