"""`--workers`: processes that are lost, ended or let down, and the same bytes whatever does the work."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from at_work import alive, content, wait_for, workers_of
from commands import COMMAND, TINY, Ended

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cartpole_cli.workers.interface import Lost
from cartpole_cli.workers.local import LocalWorkers
from cartpole_cli.workers.study import StudyInParts

Run = Callable[..., Ended]
SPACE = ("trainer.learning_rate=log(1e-3,1e-1)", "algorithm.num_epochs=1,2")
RECIPE = ("--recipe", "ppo", *TINY, "environment.max_episode_steps=30", "trainer.stop_at_return=28.0")
BASE = ("sweep", *RECIPE, *SPACE)
SWEEP = (*BASE, "--trials", "5", "--seeds", "2", "--finalists", "2", "--confirm-seeds", "3", "--seed", "4")
LONG = (*BASE, "trainer.num_steps=1000000", "trainer.stop_at_return=null", "--trials", "8", "--seeds", "2")
STUDY = ("train", *RECIPE, "--seeds", "5", "--seed", "4", "trainer.stop_at_return=null")
ODD_WORKER = """
import json, os, signal, time
from cartpole_cli.sweep import trials
from cartpole_cli.workers import process, study

def but_not(function, is_odd):
    def compute(job):
        if is_odd(json.loads(job)):
            time.sleep(SECONDS)
            os.kill(os.getpid(), signal.SIGKILL)
        return function(job)
    return compute

trials.compute = but_not(trials.compute, lambda job: any(trial["trial"] == 2 for trial in job["trials"]))
study.train = but_not(study.train, lambda job: 1 in job["members"])
process.main()
"""


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    return folder


@pytest.fixture
def long_sweep(scratch: Path) -> Iterator["subprocess.Popen[bytes]"]:
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


@pytest.fixture
def no_worker_survives(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Trial 2, and the second seed of a study."""
    monkeypatch.setattr("cartpole_cli.workers.local.sys.executable", odd_worker(tmp_path, seconds=0))


def odd_worker(folder: Path, *, seconds: float) -> str:
    """A Python that kills itself, after so many seconds, at trial 2, and at the second seed of a study."""
    (folder / "odd.py").write_text(ODD_WORKER.replace("SECONDS", str(seconds)))
    executable = folder / "python"
    executable.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/odd.py "$3"\n')
    executable.chmod(0o755)
    return str(executable)


def test_a_search_has_the_same_bytes_by_one_and_three_processes_and_by_two_of_which_one_is_lost(cartpole: Run) -> None:
    found = []
    for count in ("1", "3"):
        ended = cartpole(*SWEEP, "--name", count, "--workers", count, "--quiet")
        assert (ended.code, ended.err) == (0, "")
        found.append(content(Path("runs", count).absolute()))
        assert not any(path.name.startswith(".") for path in Path("runs", count).iterdir())
    assert len(found[0]) > 60
    assert found[0] == found[1]
    assert "runs/3/recipe" in Path("runs/3/recipe/study.json").read_text()
    command = [*COMMAND, *SWEEP, "--name", "2", "--workers", "2"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: workers_of(process.pid))
        os.kill(workers_of(process.pid)[0], signal.SIGKILL)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert told == "note: a worker was lost (exit code -9); its work is done again\n"
    assert content(Path("runs/2").absolute()) == found[0]


def test_a_study_has_the_same_bytes_by_one_and_three_processes_and_goes_on_the_same(cartpole: Run) -> None:
    for count in ("1", "3"):
        ended = cartpole(*STUDY, "--name", count, "--workers", count, "--quiet")
        assert (ended.code, ended.err) == (0, "")
    assert content(Path("runs/1").absolute()) == content(Path("runs/3").absolute())
    assert cartpole("train", "--resume", "3", "--workers", "2").out.startswith("nothing to do")
    for count in ("1", "3"):
        assert cartpole("train", "--resume", count, "trainer.num_steps=768", "--quiet").code == 0
    assert content(Path("runs/1").absolute()) == content(Path("runs/3").absolute())


def test_seeds_that_leave_early_are_in_the_same_last_pth(cartpole: Run) -> None:
    solved = (*STUDY, "trainer.stop_at_return=28.0", "trainer.num_steps=768", "--quiet")
    for count in ("1", "2"):
        assert cartpole(*solved, "--name", count, "--workers", count).code == 0
    assert content(Path("runs/1").absolute()) == content(Path("runs/2").absolute())
    steps = {json.loads(path.read_text())["env_steps"] for path in Path("runs/2").glob("s*/run.json")}
    assert len(steps) > 1


def test_no_worker_outlives_a_killed_driver(long_sweep: "subprocess.Popen[bytes]", scratch: Path) -> None:
    workers = workers_of(long_sweep.pid)
    assert len(workers) == 2
    long_sweep.kill()
    long_sweep.wait()
    time.sleep(2)
    assert not any(map(alive, workers))
    assert json.loads(Path("runs/s/run.json").read_text())["status"] == "running"
    assert not Path("runs/s/trials.jsonl").exists()
    assert not list(scratch.iterdir())


def test_ctrl_c_ends_them_all_and_says_how_to_go_on(long_sweep: "subprocess.Popen[bytes]", scratch: Path) -> None:
    workers = workers_of(long_sweep.pid)
    long_sweep.send_signal(signal.SIGINT)
    _, told = long_sweep.communicate(timeout=30)
    assert long_sweep.returncode == 130
    assert told.splitlines()[-1] == b"interrupted; to go on: cartpole sweep --resume runs/s"
    assert b"Traceback" not in told
    wait_for(lambda: not any(map(alive, workers)), 2)
    assert not list(scratch.iterdir())


def test_a_killed_study_keeps_the_parts_that_have_ended(cartpole: Run, tmp_path: Path) -> None:
    assert cartpole(*STUDY, "--name", "whole", "--quiet").code == 0
    script = "import sys; sys.executable = sys.argv.pop(1); from cartpole_cli.cli.app import main; main()"
    command = [
        sys.executable,
        "-c",
        script,
        odd_worker(tmp_path, seconds=60),
        *STUDY,
        "--workers",
        "2",
        "--name",
        "cut",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: list(Path("runs/cut").glob("last.*")))
        process.kill()
    assert [path.name for path in Path("runs/cut").glob("last.*")] == ["last.s7-s8.pth"]
    before = {path: path.stat().st_mtime_ns for path in Path("runs/cut").glob("s*/metrics.jsonl")}
    assert len(before) == 2
    assert cartpole("best").code == 0
    refused = cartpole("train", "--resume", "cut", "trainer.num_steps=768")
    reason = "cannot change while the study is trained in parts, which share it; allowed: once it has ended"
    assert refused.line == f"error: trainer.num_steps = 768: {reason}"
    ended = cartpole("train", "--resume", "cut", "--workers", "2", "--quiet")
    assert (ended.code, ended.err) == (0, "")
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())
    assert content(Path("runs/cut").absolute()) == content(Path("runs/whole").absolute())


def test_one_seed_is_not_shared_out(cartpole: Run) -> None:
    ended = cartpole("train", *RECIPE, "--workers", "2")
    assert ended.line == "error: --workers 2 needs --seeds 2 or more: one seed is one computation"
    assert not Path("runs").exists()


@pytest.mark.parametrize("words", ["0", "1025", "two", "-1", "ray:", "rai", "ray2", "²"])
def test_what_is_no_number_of_workers_costs_a_line(words: str, cartpole: Run) -> None:
    for command in (STUDY, SWEEP):
        ended = cartpole(*command, "--workers", words)
        assert ended.line == f"error: --workers {words!r}: expected a number from 1 to 1,024, ray, or ray:ADDRESS"
    assert not Path("runs").exists()


def test_a_run_that_one_process_began_is_not_shared_out(cartpole: Run) -> None:
    assert cartpole(*STUDY, "--name", "one", "--quiet").code == 0
    ended = cartpole("train", "--resume", "one", "--workers", "2", "trainer.num_steps=768")
    assert ended.line.endswith("runs/one: one process began it and has to resume it: leave out --workers")


def test_what_a_job_raises_is_told_in_a_line() -> None:
    with LocalWorkers(1, print) as workers, pytest.raises(CartpoleError, match="JSONDecodeError"):
        list(workers.run("cartpole_cli.sweep.trials:compute", [b"not a job"] * 3))


def test_a_job_that_no_worker_survives_is_tried_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartpole_cli.workers.local.sys.executable", "/bin/false")
    told: list[str] = []
    with LocalWorkers(1, told.append) as workers:
        assert list(workers.run("cartpole_cli.sweep.trials:compute", [b""])) == [(0, Lost(3))]
    again = "note: a worker was lost (exit code 1); its work is done again"
    assert told == [again, again, "note: a worker was lost (exit code 1); its work is given up"]


def test_a_worker_that_is_lost_while_it_has_nothing_to_do_is_replaced() -> None:
    told: list[str] = []
    with LocalWorkers(1, told.append) as workers:
        for _ in range(2):
            with pytest.raises(CartpoleError, match="JSONDecodeError"):
                list(workers.run("cartpole_cli.sweep.trials:compute", [b"not a job"]))
            (process,) = workers._processes
            process.kill()
            process.wait()
    assert told == []


@pytest.mark.usefixtures("no_worker_survives")
def test_a_search_goes_on_without_a_trial_that_no_worker_survives(cartpole: Run) -> None:
    ended = cartpole(*SWEEP, "--trials", "3", "--finalists", "0", "--workers", "3", "--name", "s", "--json")
    assert ended.code == 0
    assert "its work is given up" in ended.err
    trials = [json.loads(line) for line in Path("runs/s/trials.jsonl").read_text().splitlines()]
    assert [trial["trial"] for trial in trials if trial["score"] is None] == [2]
    assert [seed["status"] for seed in trials[2]["seeds"]] == ["lost", "lost"]
    assert len([trial for trial in trials if trial["score"] is not None]) == 2


@pytest.mark.usefixtures("no_worker_survives")
def test_a_study_without_some_seeds_has_failed_and_can_be_gone_on_with(
    cartpole: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = cartpole(*STUDY, "--workers", "2", "--name", "s", "--quiet")
    assert ended.code == 2
    reason = "lost: the worker died, 3 times; is there enough memory?"
    assert ended.err.splitlines()[-1] == f"error: runs/s: seeds 4 to 6: {reason}"
    assert json.loads(Path("runs/s/run.json").read_text())["status"] == "failed"
    monkeypatch.setattr("cartpole_cli.workers.local.sys.executable", COMMAND[0])
    assert cartpole("train", "--resume", "s", "--quiet").code == 0
    assert cartpole(*STUDY, "--name", "t", "--quiet").code == 0
    assert content(Path("runs/s").absolute()) == content(Path("runs/t").absolute())


def test_a_study_that_was_stopped_before_its_first_part_goes_on_by_workers(cartpole: Run) -> None:
    assert cartpole(*STUDY, "--name", "whole", "--quiet").code == 0
    recipe = load_recipe(Path("runs/whole/recipe.toml"))
    new = {"recipe_name": "ppo", "runs_dir": Path("runs"), "name": "cut", "tell": print}
    with StudyInParts.create(recipe, device=torch.device("cpu"), **new):
        pass  # Ctrl-C comes here
    assert json.loads(Path("runs/cut/run.json").read_text())["status"] == "interrupted"
    ended = cartpole("train", "--resume", "cut", "--workers", "2")
    assert (ended.code, ended.err) == (0, "")
    assert "workers: 2 processes, device of each: cpu" in ended.out
    assert content(Path("runs/cut").absolute()) == content(Path("runs/whole").absolute())


@pytest.mark.parametrize("change", [{"runs": {0: 1}}, {"trainer": None}, {"seconds": "x"}, {"runs": {9: {}}}])
def test_a_part_that_is_none_costs_a_line_before_anything_is_trained(change: dict[str, Any], cartpole: Run) -> None:
    assert cartpole(*STUDY, "--name", "s", "--quiet").code == 0
    folder = Path("runs/s")
    state = load_checkpoint(folder / "last.pth", "training")
    (folder / "last.pth").unlink()
    save_checkpoint(folder / "last.s4-s8.pth", state | change)
    line = cartpole("train", "--resume", "s").line
    assert "last.s4-s8.pth: not a part of this study: " in line
    assert line.endswith("; remove it to train its seeds again")


def test_parts_that_overlap_and_those_of_other_recipes_are_refused_by_name(cartpole: Run) -> None:
    assert cartpole(*STUDY, "--name", "s", "--quiet").code == 0
    folder = Path("runs/s")
    shutil.copy(folder / "last.pth", folder / "last.s4-s5.pth")
    (folder / "last.pth").rename(folder / "last.s6-s8.pth")
    reason = "has seeds that last.s4-s5.pth has, too; remove one of them"
    assert cartpole("train", "--resume", "s").line == f"error: runs/s/last.s6-s8.pth: {reason}"
    (folder / "last.s6-s8.pth").unlink()
    text = (folder / "recipe.toml").read_text()
    (folder / "recipe.toml").write_text(text.replace("gamma = 0.99", "gamma = 0.9"))
    line = cartpole("train", "--resume", "s").line
    assert line.startswith("error: runs/s/last.s4-s5.pth: was trained by another recipe than runs/s/recipe.toml; ")
