"""`--workers ray`: a private cluster, and one that is there, whose nodes are lost or differ."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from at_work import alive, content, processes, wait_for, workers_of
from commands import COMMAND, TINY, Ended, process

Run = Callable[..., Ended]
RECIPE = ("--recipe", "ppo", *TINY, "environment.max_episode_steps=30", "trainer.stop_at_return=null")
SPACE = ("trainer.learning_rate=log(1e-3,1e-1)", "algorithm.num_epochs=1,2")
STUDY = ("train", *RECIPE, "--seeds", "3")
COUNTS = ("--trials", "6", "--seeds", "2", "--finalists", "0")
SEARCH = ("sweep", *RECIPE, *SPACE, "trainer.num_steps=12800", *COUNTS)
LISTENING = "0A"
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}
START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1")
WAIT_FOR_TWO = """
import ray, sys, time
ray.init(address=sys.argv[1], log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < 2:
    time.sleep(0.2)
"""


def listening(numbers: list[int]) -> set[str]:
    """Addresses that some processes listen at, as the system writes them."""
    sockets = {str(path.readlink()) for number in numbers for path in Path(f"/proc/{number}/fd").iterdir()}
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENING and f"socket:[{words[9]}]" in sockets:
                found.add(words[1].rpartition(":")[0])
    return found


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one."""
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.99:6379")  # nobody's
    return folder


@contextmanager
def node(*words: str) -> Iterator[int]:
    """A node of a cluster: the session of its processes, all of which are killed in the end."""
    with subprocess.Popen([*START, *words], start_new_session=True, stdout=subprocess.DEVNULL) as started:
        try:
            yield started.pid
        finally:
            kill_session(started.pid)


def kill_session(leader: int) -> None:
    for number, (session, _) in processes().items():
        if session == leader:
            os.kill(number, signal.SIGKILL)


@pytest.mark.usefixtures("home")
def test_a_private_cluster_has_the_same_bytes_and_listens_to_this_machine_alone(home: Path) -> None:
    assert process(*STUDY, "--name", "one", "--quiet").code == 0
    command = [*COMMAND, *STUDY, "--name", "ray", "--workers", "ray"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            if "on a Ray cluster" in line:
                break
        (head,) = workers_of(driver.pid, "head")
        cluster = {number: words for number, (session, words) in processes().items() if session == head}
        token = dict(pair.partition("=")[::2] for pair in environment_of(head))["RAY_AUTH_TOKEN"]
        assert len(token) == 64
        assert not any(token in words for _, words in processes().values())
        assert len(cluster) > 5
        assert listening(list(cluster)) <= LOOPBACK
        out, err = driver.communicate(timeout=120)
    assert (driver.returncode, err) == (0, ""), out
    assert content(Path("runs/ray").absolute()) == content(Path("runs/one").absolute())
    wait_for(lambda: not any(map(alive, cluster)), 2)
    assert not list(home.iterdir())


def environment_of(number: int) -> list[str]:
    return Path(f"/proc/{number}/environ").read_text().split("\0")


@pytest.mark.usefixtures("home")
def test_no_process_of_a_private_cluster_outlives_a_killed_driver() -> None:
    long = (*STUDY, "trainer.num_steps=10000000", "--workers", "ray", "--name", "long")
    with subprocess.Popen([*COMMAND, *long], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            if b"0 of 3 seeds" in line:
                break
        (head,) = workers_of(driver.pid, "head")
        cluster = [number for number, (session, _) in processes().items() if session == head]
        driver.kill()
    time.sleep(2)
    assert not any(map(alive, cluster))
    assert json.loads(Path("runs/long/run.json").read_text())["status"] == "running"


@pytest.mark.usefixtures("home")
def test_a_search_outlives_a_node_and_uses_none_whose_numbers_would_be_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process(*SEARCH, "--name", "one", "--quiet").code == 0
    for name, value in (("MODE", "token"), ("TOKEN", secrets.token_hex(32))):
        monkeypatch.setenv(f"RAY_AUTH_{name}", value)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with ExitStack() as nodes:
        head = (f"--port={address.rpartition(':')[2]}", "--head", "--include-dashboard=false")
        nodes.enter_context(node(*head))
        wait_for(lambda: accepts(address))
        second = nodes.enter_context(node(f"--address={address}"))
        subprocess.run([sys.executable, "-c", WAIT_FOR_TWO, address], check=True, timeout=120)
        command = [*COMMAND, *SEARCH, "--name", "ray", "--workers", f"ray:{address}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            for line in driver.stdout:
                if " of 6 trials" in line:
                    break
            kill_session(second)
            out, err = driver.communicate(timeout=180)
        assert driver.returncode == 0, err
        assert re.fullmatch(r"note: node [0-9.]+ was lost; its work is done again\n", err)
        assert content(Path("runs/ray").absolute()) == content(Path("runs/one").absolute()), out
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")  # of the driver: all nodes have another processor now
        ended = process(*SEARCH, "--name", "other", "--workers", f"ray:{address}", "--quiet")
    refused, none_left = ended.err.splitlines()
    assert re.fullmatch(r"note: node [0-9.]+ is not used: processor .* there, .* DEFAULT here; .*", refused)
    assert (ended.code, none_left) == (2, "error: --workers ray: no node of the cluster can be used")
    assert not Path("runs/other").exists()


def accepts(address: str) -> bool:
    host, _, port = address.partition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


def test_a_cluster_that_is_not_there_costs_a_line() -> None:
    ended = process(*STUDY, "--workers", "ray:127.0.0.1:1", "--name", "none")
    assert ended.line.startswith("error: --workers ray:127.0.0.1:1: no cluster to connect to: ")
    assert not Path("runs").exists()
