"""What does a search cost? 64 settings of `ppo` x 4 seeds with `cartpole sweep`, against rl-zoo3's optuna.

    python benchmarks/sweep.py                                 # ours alone
    python benchmarks/sweep.py --zoo PYTHON --zoo-trials 4     # and the zoo, extrapolated from 4 of its trials

PYTHON is that of an environment with rl-zoo3 in it (peers/zoo_optuna.py says what it does there). Both train the same
number of times for the same env steps, without an early stop, over four numbers drawn at random. Ours evaluates each
training on 32 held-out episodes every 2,048 steps, the zoo on 5 at its end. Whole processes on one core.
"""

import argparse
import json
import tempfile
from pathlib import Path

from timing import CARTPOLE, circumstances, pin_to_one_core, run

ZOO = Path(__file__).parent / "peers" / "zoo_optuna.py"
SPACE = (
    "trainer.learning_rate=log(1e-4,1e-1)",
    "algorithm.gamma=interval(0.9,0.999)",
    "algorithm.gae_lambda=interval(0.7,0.99)",
    "algorithm.clip_range=interval(0.1,0.4)",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--env-steps", type=int, default=100_000)
    parser.add_argument("--zoo", metavar="PYTHON")
    parser.add_argument("--zoo-trials", type=int, default=4)
    options = parser.parse_args()
    pin_to_one_core()
    trainings = options.trials * options.seeds
    print(f"{circumstances()}\n\n{trainings} trainings of {options.env_steps:,} env steps\n", flush=True)
    print("| | whole process, s | s per training | peak memory, MiB |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        equal = [f"trainer.num_steps={options.env_steps}", "trainer.stop_at_return=null"]
        sizes = ["--trials", str(options.trials), "--seeds", str(options.seeds), "--finalists", "0"]
        where = ["--runs-dir", folder, "--device", "cpu", "--quiet", "--json"]
        ours = run([*CARTPOLE, "sweep", "--recipe", "ppo", *SPACE, *equal, *sizes, *where])
        best = json.loads(ours.output)["best"]["score"]
        row = f"{ours.seconds:.1f} | {ours.seconds / trainings:.2f} | {ours.peak_mib:,.0f}"
        print(f"| cartpole sweep | {row} |", flush=True)
        if options.zoo:
            words = [options.zoo, str(ZOO), str(options.zoo_trials), str(options.env_steps), folder]
            zoo = run(words)
            each = zoo.seconds / options.zoo_trials
            print(f"| rl-zoo3, {options.zoo_trials} trials | {zoo.seconds:.1f} | {each:.2f} | {zoo.peak_mib:,.0f} |")
            print(
                f"\nrl-zoo3 would take {each * trainings:,.0f} s: {each * trainings / ours.seconds:.1f} times as long."
            )
    print(f"\nBest mean held-out return of a setting: {best:.1f}")


if __name__ == "__main__":
    main()
