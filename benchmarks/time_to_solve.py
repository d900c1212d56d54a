"""How long does one run take until it has a 500.0 policy? Whole process, against stable-baselines3's PPO.

    python benchmarks/time_to_solve.py --sb3 PYTHON          # 10 seeds, alternating
    python benchmarks/time_to_solve.py                       # ours alone

PYTHON is that of an environment with stable-baselines3 in it:

    python -m venv sb3 && sb3/bin/pip install stable-baselines3 "torch>=2.8,<2.14"

Ours is `cartpole train --recipe ppo`: run folder, held-out evaluations, the 100 confirming episodes that last twice as
long and the 100 final ones are all in its time. SB3 runs with rl-zoo's numbers for CartPole-v1 and stops at its first
evaluation of 500.0 over 100 episodes, one every 2,048 steps; because it need not evaluate so thoroughly, its time less
all evaluations is shown, too. `import torch` is what every torch program pays.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

from timing import CARTPOLE, Process, circumstances, pin_to_one_core, run, spread

SB3 = Path(__file__).parent / "peers" / "sb3_ppo.py"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sb3", metavar="PYTHON")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="recipe fields to change")
    options = parser.parse_args()
    pin_to_one_core()
    ours: list[Process] = []
    peers: list[Process] = []
    with tempfile.TemporaryDirectory() as runs_dir:
        for seed in range(options.seeds):
            words = ["train", "--recipe", "ppo", "--seed", str(seed), "--device", "cpu", "--quiet", "--json"]
            ours.append(run([*CARTPOLE, *words, "--runs-dir", runs_dir, *options.set]))
            if options.sb3:
                peers.append(run([options.sb3, str(SB3), str(seed)]))
    floor = [run([sys.executable, "-c", "import torch"]).seconds for _ in range(options.seeds)]
    print(f"seeds 0 to {options.seeds - 1}, {circumstances()}\n")
    print("| | whole process, s | env steps | final return, worst seed | peak memory, MiB |\n|---|---|---|---|---|")
    print(_row("cartpole train --recipe ppo", ours), flush=True)
    if peers:
        print(_row("stable-baselines3 PPO", peers))
        lean = [peer.seconds - json.loads(peer.output)["evaluation_seconds"] for peer in peers]
        print(f"| the same without its evaluations | {spread(lean)} | | | |")
    print(f"| import torch | {spread(floor)} | | | |")
    if peers:
        for name, times in (("", [peer.seconds for peer in peers]), (" without its evaluations", lean)):
            ratios = [theirs / mine.seconds for theirs, mine in zip(times, ours, strict=True)]
            medians = statistics.median(times) / statistics.median(mine.seconds for mine in ours)
            print(f"\nSB3{name} takes {medians:.1f} times as long (medians; by pairs {spread(ratios, '.1f')}).")


def _row(name: str, runs: list[Process]) -> str:
    results = [json.loads(process.output.splitlines()[-1]) for process in runs]
    steps = spread([result["env_steps"] for result in results], ",.0f")
    worst = min(result["mean_return"] for result in results)
    memory = max(process.peak_mib for process in runs)
    return f"| {name} | {spread([process.seconds for process in runs])} | {steps} | {worst:.1f} | {memory:,.0f} |"


if __name__ == "__main__":
    main()
