"""How long do commands take that compute nothing? Whole process, beside what they cannot do without.

python benchmarks/startup.py                 # 10 times each, in turn
"""

import argparse
import subprocess
import sys
import tempfile

from timing import CARTPOLE, circumstances, pin_to_one_core, run, spread

RUNS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    pin_to_one_core()
    with tempfile.TemporaryDirectory() as runs_dir:
        short = ["trainer.num_steps=100", "trainer.evaluation_episodes=2"]
        study = ["train", "--recipe", "ppo", "--runs-dir", runs_dir, "--seeds", str(RUNS), "--quiet", *short]
        subprocess.run([*CARTPOLE, *study], check=True)
        commands = {
            'python -c "import typer"': [sys.executable, "-c", "import typer"],
            "cartpole --help": [*CARTPOLE, "--help"],
            "cartpole recipes": [*CARTPOLE, "recipes"],
            f"cartpole best, {RUNS} runs": [*CARTPOLE, "best", runs_dir],
            'python -c "import torch"': [sys.executable, "-c", "import torch"],
            "cartpole train, one iteration": [*CARTPOLE, *study[:5], "--quiet", *short],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.repeats):
            for name, command in commands.items():
                times[name].append(run(command).seconds)
    first = sorted(next(iter(times.values())))[options.repeats // 2]
    print(f"{circumstances()}\n\n| command | seconds, median (range) | of the first |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {spread(values)} | {sorted(values)[options.repeats // 2] / first:.1f} |")


if __name__ == "__main__":
    main()
