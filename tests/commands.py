"""Commands of the command line, run here or in a process of their own, and how they ended."""

import ast
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest
import typer.main

from cartpole_cli.cli.app import main

COMMAND = [sys.executable, "-m", "cartpole_cli"]
TINY = (
    "trainer.num_steps=384",
    "trainer.evaluate_every=2",
    "trainer.evaluation_episodes=3",
    "environment.num_envs=4",
    "algorithm.steps_per_iteration=32",
    "algorithm.num_epochs=2",
    "algorithm.minibatch_size=64",
    "policy.hidden_sizes=[16]",
)
"""A run of PPO that takes no time: three iterations of 128 steps."""
HEAVY = ("torch", "gymnasium", "wandb", "onnx", "onnxruntime", "numpy", "scipy", "matplotlib", "av", "pygame")
BUILT_ONCE = cache(typer.main.get_command)
"""To build the commands takes 5 ms, of the 30 that many of them take in all."""
CONTINUOUS = "environment.id=ContinuousCartPole-v1"


def missing(what: str) -> NoReturn:
    """Skip the tests; on CI, where nothing may be missing, fail them."""
    if os.environ.get("CI"):
        pytest.fail(what, pytrace=False)
    pytest.skip(what)


@dataclass
class Ended:
    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line of an error."""
        assert self.code == 2, self
        (line,) = self.err.splitlines()
        assert line.startswith("error: "), line
        return line


def command(*arguments: object) -> int:
    """Run a command in this process; its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cartpole", *map(str, arguments)])
        patch.setattr(typer.main, "get_command", BUILT_ONCE)
        with pytest.raises(SystemExit) as ended:
            main()
    return ended.value.code or 0


def captured(capfd: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    """Run a command in this process; its exit code and all that it wrote."""
    capfd.readouterr()
    code = command(*arguments)
    return Ended(code, *capfd.readouterr())


def process(*arguments: str) -> Ended:
    """Run a command in a process of its own."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = subprocess.run([*COMMAND, *arguments], text=True, timeout=120, check=False, **streams)
    return Ended(done.returncode, done.stdout, done.stderr)


def heavy_imports(*arguments: str, **environment: str) -> list[str]:
    """Which heavy packages a command imports, in a process of its own, that succeeds and prints."""
    script = f"""
import sys
sys.argv = ["cartpole", *{arguments}]
from cartpole_cli.cli.app import main
try:
    main()
finally:
    print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    pipes = {"capture_output": True, "text": True, "timeout": 60}
    done = subprocess.run([sys.executable, "-c", script], check=False, env=os.environ | environment, **pipes)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    return ast.literal_eval(done.stderr)


def start(*arguments: object) -> "subprocess.Popen[str]":
    """A command in a process of its own, under way."""
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], env=environment, text=True, **pipes)


def end(process: "subprocess.Popen[str]") -> Ended:
    """Wait for it."""
    out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def in_terminal(columns: int, *arguments: str, **environment: str) -> tuple[int, str]:
    """Run a command on a terminal of that width; exit code and what the terminal received."""
    terminal, other_end = pty.openpty()
    fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": str(columns)} | environment
    streams = {"stdin": other_end, "stdout": other_end, "stderr": other_end}
    with subprocess.Popen([*COMMAND, *arguments], env=environment, **streams) as running:
        os.close(other_end)
        data = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # Linux: nobody is at the other end any more
                part = b""
            if not part:
                break
            data += part
        code = running.wait(timeout=60)
    os.close(terminal)
    return code, data.decode()


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def train_tiny(runs_dir: Path, name: str, *changes: str) -> None:
    """A tiny run of that name in that folder."""
    options = ("--recipe", "ppo", "--runs-dir", str(runs_dir), "--name", name, "--quiet")
    assert command("train", *options, *TINY, *changes) == 0


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder."""
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}
