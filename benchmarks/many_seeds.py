"""What do many seeds cost? `cartpole train --recipe ppo --seeds S`, whole process, against runs one after the other.

    python benchmarks/many_seeds.py --sb3 PYTHON             # S = 1, 2, 4, ... 128; SB3 32 times (minutes)
    python benchmarks/many_seeds.py --sizes 1 32             # ours alone

PYTHON is that of an environment with stable-baselines3 in it (see time_to_solve.py, which says what SB3 does). Every
seed, from 0 on, trains to 500.0, confirmed; its files are written, its final score is taken, and the study's summary
made.
"""

import argparse
import json
import tempfile

from time_to_solve import SB3
from timing import CARTPOLE, circumstances, pin_to_one_core, run

SIZES = [1, 2, 4, 8, 16, 32, 64, 128]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sb3", metavar="PYTHON")
    parser.add_argument("--sb3-runs", type=int, default=32)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--recipe", default="ppo")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="recipe fields to change")
    options = parser.parse_args()
    pin_to_one_core()
    print(f"{circumstances()}\n")
    print("| seeds | whole process, s | s per seed | solved | final return, worst seed | peak memory, MiB |")
    print("|---|---|---|---|---|---|")
    seconds = {}
    with tempfile.TemporaryDirectory() as runs_dir:
        for size in options.sizes:
            words = ["train", "--recipe", options.recipe, "--seeds", str(size), "--device", "cpu", "--quiet", "--json"]
            process = run([*CARTPOLE, *words, "--runs-dir", runs_dir, *options.set])
            result = json.loads(process.output.splitlines()[-1])
            runs = result.get("seeds", [result])
            solved, worst = sum(run["solved"] for run in runs), min(run["mean_return"] for run in runs)
            seconds[size] = process.seconds
            cells = f"{process.seconds:.2f} | {process.seconds / size:.2f} | {solved} | {worst:.1f}"
            print(f"| {size} | {cells} | {process.peak_mib:,.0f} |", flush=True)
    if options.sb3:
        peers = [run([options.sb3, str(SB3), str(seed)]) for seed in range(options.sb3_runs)]
        total = sum(peer.seconds for peer in peers)
        lean = total - sum(json.loads(peer.output)["evaluation_seconds"] for peer in peers)
        print(f"\nSB3, {len(peers)} runs one after the other: {total:.1f} s, without its evaluations {lean:.1f} s")
        if len(peers) in seconds:
            own = seconds[len(peers)]
            print(f"That is {total / own:.1f} and {lean / own:.1f} times as long as {len(peers)} seeds at once.")


if __name__ == "__main__":
    main()
