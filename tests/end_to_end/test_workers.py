"""`--workers`: processes that are lost, ended or let down, and the same bytes whatever does the work."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import COMMAND, TINY, Ended

from cartpole_cli.errors import CartpoleError
from cartpole_cli.workers.local import LocalWorkers

Run = Callable[..., Ended]
SPACE = ("trainer.learning_rate=log(1e-3,1e-1)", "algorithm.num_epochs=1,2")
BASE = ("sweep", "--recipe", "ppo", *TINY, "environment.max_episode_steps=30", "trainer.stop_at_return=28.0", *SPACE)
SWEEP = (*BASE, "--trials", "5", "--seeds", "2", "--finalists", "2", "--confirm-seeds", "2", "--seed", "4")
LONG = (*BASE, "trainer.num_steps=1000000", "trainer.stop_at_return=null", "--trials", "8", "--seeds", "2")
OF_THE_SEARCH = ("sweep.toml", "trials.jsonl", "report.json", "best.toml", "slices.svg")
UNTIMED = (*OF_THE_SEARCH, "recipe.toml", "best.pth", "best.json", "evaluation.json")
TIMES = ("seconds", "evaluation_seconds")


def content(folder: Path) -> dict[str, object]:
    """Every file without what differs from run to run: times, and W&B's names."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name in UNTIMED:
            found[name] = path.read_bytes()
        elif path.name == "metrics.jsonl":
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            found[name] = [{key: value for key, value in line.items() if key not in TIMES} for line in lines]
        elif path.name == "study.json":
            text = path.read_text().replace(f"runs/{folder.name}", "")
            study = json.loads(text)
            found[name] = [{k: v for k, v in each.items() if k not in TIMES} for each in (study, *study.pop("seeds"))]
        elif path.is_file():
            found[name] = path.name
    return found


def workers_of(parent: int) -> list[int]:
    """The worker processes that a process has started, and that live."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            its_parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if b"cartpole_cli.workers.process" in words and its_parent == parent:
            found.append(int(entry.name))
    return found


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def long_sweep() -> Iterator["subprocess.Popen[bytes]"]:
    """A search by two workers that takes minutes, when both are at work."""
    command = [*COMMAND, *LONG, "--workers", "2", "--name", "s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"of 8 trials, " in line:
                break
        try:
            yield process
        finally:
            process.kill()


def test_the_same_bytes_by_one_two_and_three_processes(cartpole: Run) -> None:
    found = []
    for count in ("1", "2", "3"):
        ended = cartpole(*SWEEP, "--name", count, "--workers", count, "--quiet")
        assert (ended.code, ended.err) == (0, "")
        found.append(content(Path("runs", count).absolute()))
        assert not any(path.name.startswith(".") for path in Path("runs", count).iterdir())
    assert len(found[0]) > 50
    assert found[0] == found[1] == found[2]
    assert "runs/2/recipe" in Path("runs/2/recipe/study.json").read_text()


def test_a_lost_workers_work_is_done_again(cartpole: Run) -> None:
    assert cartpole(*SWEEP, "--name", "one", "--quiet").code == 0
    command = [*COMMAND, *SWEEP, "--name", "two", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: workers_of(process.pid))
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert told == "note: a worker was lost (exit code -9); its work is done again\n"
    assert content(Path("runs/two").absolute()) == content(Path("runs/one").absolute())


def test_no_worker_outlives_a_killed_driver(long_sweep: "subprocess.Popen[bytes]", cartpole: Run) -> None:
    started = workers_of(long_sweep.pid)
    assert len(started) == 2
    long_sweep.kill()
    long_sweep.wait()
    time.sleep(2)
    assert not any(map(alive, started))
    assert json.loads(Path("runs/s/run.json").read_text())["status"] == "running"
    assert not Path("runs/s/trials.jsonl").exists()


def test_ctrl_c_ends_them_all_and_says_how_to_go_on(long_sweep: "subprocess.Popen[bytes]") -> None:
    started = workers_of(long_sweep.pid)
    long_sweep.send_signal(signal.SIGINT)
    _, told = long_sweep.communicate(timeout=30)
    assert long_sweep.returncode == 130
    assert told.splitlines()[-1] == b"interrupted; to go on: cartpole sweep --resume runs/s"
    assert b"Traceback" not in told
    wait_for(lambda: not any(map(alive, started)), 2)


def test_what_a_job_raises_is_told_in_a_line() -> None:
    with LocalWorkers(2, print) as workers, pytest.raises(CartpoleError, match="JSONDecodeError"):
        list(workers.run("cartpole_cli.sweep.trials:compute", [b"not a job"] * 3))


def test_a_job_that_no_worker_survives_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartpole_cli.workers.local.sys.executable", "/bin/false")
    told: list[str] = []
    with LocalWorkers(1, told.append) as workers, pytest.raises(CartpoleError, match="was lost 3 times"):
        list(workers.run("cartpole_cli.sweep.trials:compute", [b""]))
    assert told == ["note: a worker was lost (exit code 1); its work is done again"] * 2
