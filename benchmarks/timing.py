"""What the benchmarks share: whole processes on one core, and how their figures are written."""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

CARTPOLE = (sys.executable, "-m", "cartpole_cli")


@dataclass(frozen=True, slots=True)
class Process:
    """A whole process, from its start to its end."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: str


def pin_to_one_core() -> None:
    """This process and those it starts, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def run(command: Sequence[str]) -> Process:
    """Run a command that has to succeed, with compiled modules kept, as they are where a package is installed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    started = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    child.stdout.close()
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, command)
    kibibytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    cpu_seconds = usage.ru_utime + usage.ru_stime
    return Process(time.perf_counter() - started, cpu_seconds, kibibytes / 1024, output)


def spread(values: Sequence[float], form: str = ".2f") -> str:
    """Median (lowest - highest)."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} - {max(values):{form}})"


def circumstances() -> str:
    """Machine and versions, for the line above a table."""
    versions = f"torch {version('torch')}, gymnasium {version('gymnasium')}, Python {platform.python_version()}"
    return f"one core of {platform.machine()}, {versions}"
