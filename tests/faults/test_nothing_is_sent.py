"""No command, and no library that it uses, calls anybody or leaves a file outside our folders."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from damage import files_in

import cartpole_cli

WATCH = """
import os
import sys

def watch(event, arguments):
    if event in {"socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        refuse(event, arguments[:2])
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in {"127.0.0.1", "::1"}:
        refuse(event, arguments[1])

def refuse(*what):
    with open(os.environ["CALLS"], "a") as file:
        print(*what, file=file)
    raise OSError("no network here")

sys.addaudithook(watch)
"""
RUN_EACH = """
import json, sys
from cartpole_cli.cli.app import main
for words in json.loads(sys.argv[1]):
    sys.argv = ["cartpole", *words]
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (words, ended.code)
"""
SUITE = """
seconds = 6.0
[[condition]]
name = "still"
episodes = 2
gravity = [5.0, 9.8]
"""
GYMNASIUM = ("environment.backend=gymnasium", "environment.id=CartPole-v1")
COMMANDS = (
    ("train", "--recipe", "tiny.toml", "--name", "run", "trainer.render_every=2"),
    ("train", "--recipe", "tiny.toml", "--name", "study", "--seeds", "2"),
    ("train", "--recipe", "tiny.toml", "--name", "gym", *GYMNASIUM),
    ("train", "--recipe", "tiny.toml", "--name", "vector", *GYMNASIUM, "environment.vectorization_mode=async"),
    ("train", "--recipe", "tiny.toml", "--name", "logged", "logger.type=wandb", "logger.mode=offline"),
    ("train", "--resume", "run", "trainer.num_steps=128"),
    ("eval", "run", "study", "--episodes", "2"),
    ("export", "run", "--output", "policy.onnx"),
    ("eval", "policy.onnx", "--episodes", "2"),
    ("eval", "policy.onnx", "--episodes", "2", "--video", "film.mp4"),
    ("eval", "policy.onnx", "run", "--suite", "suite.toml"),
    ("eval", "policy.onnx", "--suite", "suite.toml", "--heatmap", "map.png"),
    ("best",),
    ("best", "--confirm", "2"),
    ("plot", "run", "study"),
    ("plot", "run", "--output", "curves.png"),
    ("recipes",),
    ("recipes", "show", "ppo"),
    ("recipes", "copy", "ppo", "mine.toml"),
)


@dataclass
class Watched:
    home: str
    err: str
    calls: str
    outside: list[Path]


@pytest.fixture(params=["empty", "unwritable"])
def watched(request, tmp_path) -> Watched:
    """All commands, one after the other, in a process that has that home."""
    home, temporary, hook = (tmp_path / name for name in ("home", "temporary", "hook"))
    for folder in (home, temporary, hook):
        folder.mkdir()
    (hook / "sitecustomize.py").write_text(WATCH)
    Path("suite.toml").write_text(SUITE)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join([str(hook), str(Path(cartpole_cli.__file__).parent.parent)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(temporary),
        "CALLS": str(tmp_path / "calls"),
        "HOME": str(home) if request.param == "empty" else f"{os.devnull}/none",
    }
    words = [sys.executable, "-c", RUN_EACH, json.dumps(COMMANDS)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    calls = tmp_path / "calls"
    said = calls.read_text() if calls.exists() else ""
    return Watched(request.param, done.stderr, said, files_in(home) + files_in(temporary))


def test_nobody_is_called_nothing_is_left_and_no_library_complains(watched):
    assert watched.calls == ""
    assert watched.outside == []
    assert Path("runs/logged/wandb").is_dir()
    told = [line for line in watched.err.splitlines() if not line.startswith(("W&B files are local", "tested again"))]
    assert [line for line in told if "steps" not in line] == []


def test_the_hook_sees_who_calls(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    environment = {"PYTHONPATH": str(tmp_path), "CALLS": str(tmp_path / "calls")}
    call = "import socket; socket.create_connection(('192.0.2.1', 9), timeout=1)"
    done = subprocess.run([sys.executable, "-c", call], env=environment, capture_output=True, check=False)
    assert done.returncode
    assert "socket.getaddrinfo" in (tmp_path / "calls").read_text()
