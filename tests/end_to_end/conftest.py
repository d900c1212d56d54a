"""Where the commands run."""

import io
import os
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from commands import COMMAND, Ended, captured, command

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, a terminal that no variable pretends to be, and no progress lines on a slow machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cartpole_cli.cli.progress.SECONDS_BETWEEN_LINES", 3600.0)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cartpole(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command in this process; its exit code and all that it wrote."""
    return partial(captured, capfd)


@pytest.fixture
def export(cartpole: Callable[..., Ended]) -> Callable[..., Ended]:
    return partial(cartpole, "export")


@pytest.fixture
def runs(trained: Path, tmp_path: Path) -> Path:
    """What a module's `trained` has made, in ./runs, to write into."""
    return shutil.copytree(trained, tmp_path / "runs")


@pytest.fixture
def benchmark(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Ended]]:
    """Runs a benchmark in this process, and here too the commands that it times: to import torch takes a second."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    import timing

    elsewhere = timing.run

    def run(words: Sequence[str]) -> Any:
        if list(words[: len(COMMAND)]) != COMMAND:
            return elsewhere(words)
        with redirect_stdout(io.StringIO()) as out:
            code = command(*words[len(COMMAND) :])
        if code:
            raise subprocess.CalledProcessError(code, words)
        return timing.Process(seconds=1.0, cpu_seconds=1.0, peak_mib=1.0, output=out.getvalue())

    def run_script(script: str, *arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", [str(BENCHMARKS / script), *arguments])
        capfd.readouterr()
        code: Any = 0
        try:
            runpy.run_path(sys.argv[0], run_name="__main__")
        except SystemExit as ended:
            code = ended.code or 0
        return Ended(code, *capfd.readouterr())

    monkeypatch.setattr(timing, "run", run)
    cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    yield run_script
    if cores:
        os.sched_setaffinity(0, cores)
