"""How long does `cartpole best` take with many runs? Whole process, from its start to its end.

python benchmarks/listing.py                # 1,000 runs
python benchmarks/listing.py --runs 10000
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

COMMAND = [sys.executable, "-m", "cartpole_cli"]
VARIANTS = ([], ["--json"], ["--path"], ["--limit", "{runs}"])
SHORT = ["trainer.num_steps=1000", "trainer.evaluation_episodes=5"]


def make_runs(runs_dir: Path, count: int) -> None:
    """One real run, and copies of it with other names."""
    subprocess.run([*COMMAND, "train", "--runs-dir", runs_dir, "--name", "first", "--quiet", *SHORT], check=True)
    for index in range(1, count):
        shutil.copytree(runs_dir / "first", runs_dir / f"20310203-{index:06}-reinforce-s{index}")


def seconds(arguments: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run([*COMMAND, "best", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    print("| command | seconds, median (range) |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        make_runs(Path(folder), options.runs)
        for variant in VARIANTS:
            words = [word.format(runs=options.runs) for word in variant]
            times = [seconds([folder, *words]) for _ in range(options.repeats)]
            name = " ".join(["cartpole best", *words])
            print(f"| {name} | {statistics.median(times):.2f} ({min(times):.2f} - {max(times):.2f}) |", flush=True)


if __name__ == "__main__":
    main()
