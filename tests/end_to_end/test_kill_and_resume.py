"""`cartpole train --resume`, also after the hardest of ends."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commands import COMMAND, Ended

from cartpole_cli.runs.checkpoint import load_checkpoint

TINY = (
    "environment.num_envs=4",
    "algorithm.steps_per_iteration=8",
    "algorithm.num_epochs=1",
    "algorithm.minibatch_size=32",
    "policy.hidden_sizes=[16]",
    "trainer.num_steps=320",
    "trainer.evaluate_every=3",
    "trainer.evaluation_episodes=2",
    "trainer.checkpoint_every=2",
    "trainer.save_every=5",
)
RUN = ("environment.max_episode_steps=20", "trainer.stop_at_return=null")
STUDY = (
    "trainer.num_seeds=4",
    "trainer.seed=13",
    "trainer.learning_rate=4e-3",
    "policy.features=raw",
    "trainer.evaluate_every=1",
    "trainer.stop_at_return=20",
    "environment.max_episode_steps=25",
)
"""Seeds of which three are solved, not all in one iteration."""

# In a process of its own, which loads torch once and then forks the runs that it kills.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.runs.checkpoint import load_checkpoint
from cartpole_cli.runs.resume import load_resumable
from cartpole_cli.runs.session import Session

torch.set_num_threads(1)
runs, tiny, kills = Path(sys.argv[1]), json.loads(sys.argv[2]), int(sys.argv[3])
recipe = load_recipe(find_recipe("ppo"), tiny)
cpu = torch.device("cpu")

def work(name):
    if (runs / name / "recipe.toml").exists():
        session = Session.resume(load_resumable(name, runs, []), device=cpu, tell=print)
    else:
        session = Session.create(recipe, device=cpu, recipe_name="r", runs_dir=runs, name=name, tell=print)
    with session:
        for _ in session.reports():
            pass
        session.finish()

def forked(name):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            work(name)
            code = 0
        finally:
            os._exit(code)
    return child

def contents(name):
    folder = runs / name
    lines = {path.relative_to(folder).as_posix(): read_metrics(path) for path in folder.rglob("metrics.jsonl")}
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    loaded = {}
    for path in files:
        if path.endswith(".pth"):
            kind = {"last.pth": "training", "history.pth": "history"}.get(path.rpartition("/")[2], "policy")
            loaded[path] = load_checkpoint(folder / path, kind)
    last = loaded["last.pth"]
    for key in ("seconds", "evaluation_seconds"):
        last.pop(key)
    for run in last["runs"].values():
        for key in ("tracker_id", "seconds", "evaluation_seconds"):
            run.pop(key)
    evaluations = {path: (folder / path).read_text() for path in files if path.endswith("evaluation.json")}
    return lines, files, loaded, evaluations

def read_metrics(path):
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines

def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b

work("warm")  # whatever a run imports, forks have
started = time.perf_counter()
assert os.waitpid(forked("whole"), 0)[1] == 0
duration = time.perf_counter() - started
expected = contents("whole")
random.seed(0)
killed = 0
while killed < kills:
    name = f"run{killed}"
    child = forked(name)
    time.sleep(random.uniform(0, duration))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    folder = runs / name
    if not (folder / "recipe.toml").exists():  # killed before it had begun
        if folder.exists():
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()
        continue
    if (folder / "last.pth").exists():
        reached = load_checkpoint(folder / "last.pth", "training")["trainer"]["iteration"]
        for path in folder.rglob("metrics.jsonl"):
            lines = path.read_text().splitlines()
            assert len(lines) - reached <= 2, (len(lines), reached)
    for path in folder.rglob("*.json"):
        json.loads(path.read_text())
    assert os.waitpid(forked(name), 0)[1] == 0
    assert same(contents(name), expected), name
    killed += 1
print("killed", killed)
"""


@pytest.fixture
def train(cartpole: Callable[..., Ended]) -> Callable[..., Ended]:
    return partial(cartpole, "train")


@pytest.mark.parametrize(("more", "kills"), [(RUN, 25), (STUDY, 8)], ids=["run", "study"])
def test_a_run_killed_at_random_moments_ends_with_the_same_bits(
    more: tuple[str, ...], kills: int, tmp_path: Path
) -> None:
    arguments = [str(tmp_path / "runs"), json.dumps([*TINY, *more]), str(kills)]
    done = subprocess.run(
        [sys.executable, "-c", KILLER, *arguments], capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"killed {kills}"
    if more == STUDY:
        whole = tmp_path / "runs" / "whole"
        lengths = {path.parent.name: len(path.read_text().splitlines()) for path in whole.glob("s*/metrics.jsonl")}
        assert len(set(lengths.values())) > 1, f"choose another target: no seed left before the others: {lengths}"


def test_resume_says_where_it_goes_on_and_extends_a_run(train: Callable[..., Ended]) -> None:
    assert train("--recipe", "ppo", "--name", "first", "--quiet", *TINY).code == 0
    ended = train("--resume", "first", "trainer.num_steps=480")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert any(line.startswith("resuming runs/first after 10 iterations, 320 steps") for line in lines)
    assert any("a new schedule" in line for line in lines)
    assert any(line.startswith("finished after 480 steps") for line in lines)
    steps = [json.loads(line)["env_steps"] for line in Path("runs/first/metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(32, 481, 32))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--resume", "first", "--recipe", "ppo"), "leave out --recipe"),
        (("--resume", "first", "--name", "second"), "--name"),
        (("--resume", "nothing"), "nothing: no such file or folder, and no run in runs"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: tuple[str, ...], reason: str, train: Callable[..., Ended]
) -> None:
    assert reason in train(*arguments).line


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_ends_a_run_at_once_without_damage(number: signal.Signals, train: Callable[..., Ended]) -> None:
    """The iteration under way is a long one: 4,000 steps in each of 4 environments, and then 10 epochs."""
    slow = ("algorithm.steps_per_iteration=4000", "algorithm.num_epochs=10", "trainer.num_steps=100_000_000")
    options = ("--recipe", "ppo", "--name", "run", *TINY, *slow, "trainer.checkpoint_every=1")
    with subprocess.Popen(
        [*COMMAND, "train", *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as running:
        metrics = Path("runs/run/metrics.jsonl")
        while not (metrics.exists() and metrics.read_text()):
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(number)
        time.sleep(0.3)
        running.send_signal(number)
        asked = time.monotonic()
        output = running.communicate(timeout=60)[0]
        assert time.monotonic() - asked < 2.5, "at once is not after an iteration, which takes longer"
    assert running.returncode != 0
    assert "Traceback" not in output
    assert load_checkpoint(Path("runs/run/last.pth"), "training")["trainer"]["iteration"] >= 1
    assert train("--resume", "run", "--dry-run").code == 0
