"""What do workers cost, and what do they give? A study of `ppo` by one process and by several, whole commands.

    python benchmarks/workers.py                     # 256 seeds, 1 and 2 processes, three times in turn
    python benchmarks/workers.py --ray               # and on a private Ray cluster

The other tables are of one worker (from its start until it has done a job that is nothing, and its memory then; what
the driver does with a result, and how large that is; from how many env steps on two processes end before one), of what
a search does before its first job, and of Ray's driver.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from sweep import SPACE
from timing import CARTPOLE, circumstances, run, spread

from cartpole_cli.libraries import quiet_ray
from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.sweep.sampler import settings_of
from cartpole_cli.sweep.search import make_search
from cartpole_cli.sweep.trials import COMPUTE, Planned, grouped, job_of, trials_of
from cartpole_cli.training.build import choose_device
from cartpole_cli.workers.local import LocalWorkers
from cartpole_cli.workers.study import TRAIN, StudyInParts

SIZES = ("trainer.num_steps", "environment.num_envs", "algorithm.steps_per_iteration", "algorithm.minibatch_size")
NOTHING = [f"{key}=1" for key in SIZES]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=256)
    parser.add_argument("--env-steps", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ray", action="store_true")
    parser.add_argument("--settings", type=int, default=4_000, help="to draw and check, to time that")
    parser.add_argument("--jobs", type=int, default=400, help="of next to nothing, to time Ray's driver")
    options = parser.parse_args()
    ways = ["1", "2", *(["ray"] if options.ray else [])]
    print(
        f"{circumstances()}: {os.cpu_count()} cores\n\n{options.seeds} seeds of ppo, {options.env_steps:,} steps each\n"
    )
    seconds = defaultdict(list)
    for repeat in range(options.repeats):
        for workers in ways if repeat % 2 == 0 else ways[::-1]:
            with tempfile.TemporaryDirectory() as folder:
                steps = [f"trainer.num_steps={options.env_steps}", "trainer.stop_at_return=null"]
                words = ["--recipe", "ppo", "--seeds", str(options.seeds), "--workers", workers, *steps]
                where = ["--runs-dir", folder, "--device", "cpu", "--quiet"]
                seconds[workers].append(run([*CARTPOLE, "train", *words, *where]).seconds)
    print("| workers | whole command, s | as fast as one, by pairs |\n|---|---|---|")
    for workers in ways:
        ratios = [one / other for one, other in zip(seconds["1"], seconds[workers], strict=True)]
        print(f"| {workers} | {spread(seconds[workers], '.1f')} | {spread(ratios)} |")
    _tell_of_one_worker(options.repeats, options.seeds * options.env_steps / statistics.median(seconds["1"]))
    _tell_of_planning(options.settings)
    if options.ray:
        _tell_of_the_driver(options.jobs)


def _tell_of_one_worker(repeats: int, steps_per_second: float) -> None:
    """What it costs to start, and what the driver does with what it sends."""
    starts, memories, parcels, driving = [], [], [], []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as folder, LocalWorkers(1, print) as workers:
            recipe = load_recipe(find_recipe("ppo"), [*NOTHING, "trainer.num_seeds=2"])
            name = {"recipe_name": "ppo", "runs_dir": Path(folder), "name": "nothing", "tell": print}
            with StudyInParts.create(recipe, device=choose_device("cpu"), **name) as study:
                started = time.perf_counter()
                said = list(workers.run(TRAIN, [study.job([0, 1])]))
                starts.append(time.perf_counter() - started)
                memories.append(_mebibytes(_child()))
                parcel = next(content for _, content in said if isinstance(content, bytes))
                started = time.perf_counter()
                study.accept([0, 1], parcel)
                driving.append((time.perf_counter() - started) / 2)
                parcels.append(len(parcel) / 2)
    start = statistics.median(starts)
    print(f"\n| one worker | |\n|---|---|\n| start, until it has done a job | {spread(starts)} s |")
    print(f"| memory, resident | {spread(memories, '.0f')} MiB |")
    print(f"| result of a seed | {statistics.median(parcels) / 1024:,.0f} KiB |")
    print(f"| the driver's time for it | {1000 * statistics.median(driving):.1f} ms |")
    print(f"| two end before one from | {2 * start * steps_per_second / 1e6:,.1f} million env steps of ppo on |")


def _tell_of_planning(num_settings: int) -> None:
    """What a search does before its first job, for each of its settings."""
    search = make_search(None, "ppo", SPACE, {"trials": num_settings, "seeds": 10})
    started, before = time.perf_counter(), _mebibytes(os.getpid())
    settings = settings_of(search, range(num_settings), ())
    planned = [Planned(number, each, search.space.recipe_of(each)) for number, each in enumerate(settings)]
    groups = grouped(planned, 10)
    jobs = [job_of(group, range(10), "mean_held_out", "cpu") for group in groups]
    each, size = (time.perf_counter() - started) / num_settings, _mebibytes(os.getpid()) - before
    print(f"\n| a search of {num_settings:,} settings, {len(jobs)} jobs | |\n|---|---|")
    print(f"| to draw and check a setting | {1000 * each:.1f} ms |")
    print(f"| to keep it | {1024 * size / num_settings:.1f} KiB |")


def _tell_of_the_driver(num_jobs: int) -> None:
    """What a job costs the process that gives it away and takes its result, where that job is one of trials."""
    quiet_ray(on_this_machine=True)
    from cartpole_cli.workers.cluster import RayWorkers  # noqa: PLC0415  # Ray reads its settings when it is imported

    recipe = load_recipe(find_recipe("ppo"), NOTHING)
    planned = [Planned(number, {"trainer.learning_rate": 0.01}, recipe) for number in range(6)]
    started = time.perf_counter()
    with RayWorkers(None, print) as workers:
        ready = time.perf_counter() - started
        cpu, started, size = time.process_time(), time.perf_counter(), 0
        jobs = [job_of(planned, range(10), "mean_held_out", "cpu") for _ in range(num_jobs)]
        for _, said in workers.run(COMPUTE, jobs):
            if isinstance(said, bytes):
                trials_of(said)
                size += len(said)
        each, whole = (time.process_time() - cpu) / num_jobs, time.perf_counter() - started
    print(f"\n| Ray's driver, {num_jobs} jobs of 60 trainings | |\n|---|---|\n| start | {ready:.1f} s |")
    print(f"| CPU time of a job | {1000 * each:.1f} ms |\n| result of a training | {size / num_jobs / 60:.0f} bytes |")
    print(f"| {num_jobs} jobs by {workers.count} workers | {whole:.1f} s |")


def _child() -> int:
    """The number of the only process that this one has started."""
    return int(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()[0])


def _mebibytes(number: int) -> float:
    lines = Path(f"/proc/{number}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":
    main()
