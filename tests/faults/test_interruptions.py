"""Ctrl-C at any moment, readers that leave, and memory that is not there."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import COMMAND, captured, end, start
from damage import ENDLESS
from test_one_writer import wait_for

from cartpole_cli.errors import memory_asked

LARGE = ("environment.num_envs=65536", "environment.max_episode_steps=100000")


@pytest.mark.parametrize("entry", [[sys.executable, "-m", "cartpole_cli"], ["cartpole"]], ids=["module", "script"])
def test_ctrl_c_during_the_first_imports_is_no_traceback(entry, tmp_path):
    """typer takes 50 ms to import; here it takes as long as the test likes."""
    (tmp_path / "typer.py").write_text(
        "import pathlib, time\npathlib.Path('importing').touch()\ntime.sleep(30)\n", encoding="utf-8"
    )
    command = [str(Path(sys.executable).with_name("cartpole"))] if entry == ["cartpole"] else entry
    paths = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    running = subprocess.Popen([*command, "--version"], env=os.environ | {"PYTHONPATH": paths}, stderr=subprocess.PIPE)
    while not Path("importing").exists():
        assert running.poll() is None
        time.sleep(0.01)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=10)
    assert (running.returncode, err) == (-signal.SIGINT, b"")


@pytest.mark.parametrize("quiet", [False, True])
def test_ctrl_c_is_acknowledged_at_once_and_a_second_one_says_how_to_go_on(quiet):
    slow = ("algorithm.steps_per_iteration=65536", "algorithm.minibatch_size=65536")  # iterations of half a minute
    options = ("--quiet",) if quiet else ()
    running = start("train", "--recipe", "tiny.toml", "--name", "run", *options, *ENDLESS, *slow)
    wait_for(Path("runs/run/run.json"), running)
    time.sleep(1.0)
    running.send_signal(signal.SIGINT)
    if not quiet:
        assert running.stderr is not None
        assert running.stderr.readline() == "stopping after this iteration; Ctrl-C again stops at once\n"
    else:
        time.sleep(0.3)
    running.send_signal(signal.SIGINT)
    ended = end(running)
    assert ended.code == 130, ended
    assert ended.err.splitlines() == ["interrupted; to go on: cartpole train --resume runs/run"]
    assert json.loads(Path("runs/run/run.json").read_text())["status"] == "interrupted"


def test_a_reader_that_leaves_before_the_first_iteration_is_no_traceback():
    running = subprocess.Popen(
        [*COMMAND, "train", "--recipe", "tiny.toml"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stdout is not None
    running.stdout.close()
    assert running.stderr is not None
    assert (running.stderr.read(), running.wait(timeout=60)) == ("", 128 + signal.SIGPIPE)


def test_training_whose_reader_leaves_ends_as_a_broken_pipe_does(capsys):
    often = [change.replace("evaluate_every=1000", "evaluate_every=1") for change in ENDLESS]
    command = [*COMMAND, "train", "--recipe", "tiny.toml", "--name", "run", *often]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stdout is not None
    while not running.stdout.readline().startswith("iteration "):
        assert running.poll() is None
    running.stdout.close()
    assert running.stderr is not None
    err = running.stderr.read()
    assert running.wait(timeout=60) == 128 + signal.SIGPIPE
    assert err.splitlines() == ["interrupted; to go on: cartpole train --resume runs/run"]
    assert json.loads(Path("runs/run/run.json").read_text())["status"] == "interrupted"
    assert captured(capsys, "best").code == 0


def test_a_failed_quiet_training_says_a_line(capsys):
    ended = captured(capsys, "train", "--recipe", "tiny.toml", "--quiet", "trainer.learning_rate=1e30")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("failed after 64 steps, ")
    assert len(ended.err.splitlines()) == 2
    assert "not finite: " in ended.err


def test_a_rollout_that_cannot_fit_is_refused_before_it_starts(capsys):
    line = captured(capsys, "train", "--recipe", "reinforce", *LARGE).line
    assert "an iteration of up to 6,553,600,000 steps (100,000 steps x 65,536 environments) takes " in line
    assert not Path("runs").exists()


@pytest.mark.parametrize(("workers", "seeds"), [("1", "1,024 seeds take 1,537 GiB"), ("2", "64 seeds take 96 GiB")])
def test_weights_that_cannot_fit_are_refused_before_they_are_made(workers, seeds, capsys):
    wide = "policy.hidden_sizes=[4096, 4096, 4096, 4096]"
    line = captured(capsys, "train", "--recipe", "ppo", wide, "--seeds", "1024", "--workers", workers).line
    assert line.startswith(f"error: policy.hidden_sizes: 100,704,256 weights x {seeds} at least")
    assert not list(Path().glob("runs/*"))


def test_an_iteration_of_minutes_is_told_before_it_starts():
    slow = ("algorithm.steps_per_iteration=65536", "algorithm.num_epochs=100", "algorithm.minibatch_size=65536")
    running = start("train", "--recipe", "tiny.toml", "--name", "run", *slow)
    assert running.stderr is not None
    expected = "note: an iteration is up to 262,144 steps (65,536 steps x 4 environments), and 100 passes over them"
    assert running.stderr.readline().startswith(expected)
    running.kill()
    end(running)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of addresses are Linux's")
@pytest.mark.parametrize("workers", ["1", "2"])
def test_memory_that_is_refused_is_one_line_and_leaves_nothing(workers):
    limited = "import resource, runpy; resource.setrlimit(resource.RLIMIT_AS, (3 << 30, resource.RLIM_INFINITY));"
    limited += "runpy.run_module('cartpole_cli', run_name='__main__')"
    command = [
        sys.executable,
        "-c",
        limited,
        "train",
        "--recipe",
        "ppo",
        "--seeds",
        "1024",
        "--quiet",
        "--workers",
        workers,
    ]
    changes = ["environment.num_envs=65536", "algorithm.steps_per_iteration=1", "algorithm.minibatch_size=64"]
    done = subprocess.run([*command, *changes], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: not enough memory ("), line
    assert not list(Path("runs").glob("*"))


def test_libraries_that_run_out_of_memory_are_understood():
    for ask in (lambda: torch.empty(2**50), lambda: np.empty(2**50)):
        with pytest.raises((MemoryError, RuntimeError)) as caught:
            ask()
        asked = memory_asked(caught.value)
        assert asked is not None
        assert asked.endswith("asked for at once")
    assert memory_asked(MemoryError()) == "none left"
    assert memory_asked(RuntimeError("sizes do not match")) is None
    assert memory_asked(OSError(errno.ENOSPC, "No space left on device")) is None


def test_more_threads_than_cores_are_refused_before_anything_is_made(capsys):
    cores = os.cpu_count()
    many = min(1_024, 8 * cores)
    line = captured(capsys, "train", "--recipe", "tiny.toml", "--quiet", f"trainer.num_threads={many}").line
    assert line == f"error: trainer.num_threads = {many}: this machine has {cores} cores; allowed: 1 to {cores}"
    assert not Path("runs").exists()
