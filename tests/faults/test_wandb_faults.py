"""Weights & Biases in trouble, and the network left alone: with the real package."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
from commands import COMMAND, Ended, captured, end, start
from damage import train

OFFLINE = ("logger.type=wandb", "logger.mode=offline")


@pytest.fixture(autouse=True)
def _no_account(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def children(parent: int) -> list[int]:
    """The services that a process has started."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            process, rest = status.read_text().split(" (", 1)
            called, fields = rest.rsplit(") ", 1)
        except (OSError, ValueError):
            continue
        if called == "wandb-core" and int(fields.split()[1]) == parent:
            found.append(int(process))
    return found


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
def test_training_goes_on_when_the_service_is_killed():
    many = ("trainer.num_steps=16000", "trainer.evaluate_every=100", "trainer.save_every=0")
    running = start("train", "--recipe", "tiny.toml", "--name", "run", *OFFLINE, *many)
    metrics = Path("runs/run/metrics.jsonl")
    while not (metrics.exists() and metrics.read_text()):
        assert running.poll() is None
        time.sleep(0.02)
    services = children(running.pid)
    assert services
    for service in services:
        os.kill(service, signal.SIGKILL)
    ended = end(running)
    assert ended.code == 0, ended
    assert "Traceback" not in ended.err, ended.err
    assert len([line for line in (ended.out + ended.err).splitlines() if line.startswith("warning: ")]) == 1, ended
    assert [json.loads(line)["iteration"] for line in metrics.read_text().splitlines()] == list(range(1, 501))
    assert json.loads(Path("runs/run/run.json").read_text())["status"] == "finished"
    assert list(Path("runs/run/wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.parametrize("changes", [(), OFFLINE], ids=["disabled", "offline"])
def test_nobody_is_called(changes, capsys, monkeypatch):
    connect = socket.socket.connect

    def refuse(*arguments: object, **_: object) -> None:
        raise AssertionError(f"the network was asked for {arguments}")

    def local(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX:
            assert isinstance(address, tuple)
            assert address[0] in {"127.0.0.1", "localhost", "::1"}, address
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", local)
    assert train(capsys, *changes).code == 0


@pytest.mark.skipif(
    shutil.which("unshare") is None or subprocess.run(["unshare", "-rn", "true"], check=False).returncode != 0,
    reason="no network namespaces here",
)
@pytest.mark.parametrize("changes", [(), OFFLINE], ids=["disabled", "offline"])
def test_a_machine_without_any_network_makes_no_difference(changes):
    arguments = ("train", "--recipe", "tiny.toml", "--name", "run", *changes)
    done = subprocess.run(["unshare", "-rn", *COMMAND, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done
    assert "warning" not in done.stderr + done.stdout
    assert bool(list(Path("runs/run").glob("wandb/offline-run-*"))) == bool(changes)


@pytest.mark.parametrize("variables", [{"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "0" * 40}, {}])
def test_a_server_out_of_reach_or_no_key_is_one_warning_and_local_files(variables, capfd, monkeypatch):
    monkeypatch.setattr("cartpole_cli.runs.trackers.ONLINE_TIMEOUT", 5)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    words = ("train", "--recipe", "tiny.toml", "--name", "run", "logger.type=wandb")
    ended: Ended = captured(capfd, *words)
    assert ended.code == 0, ended
    assert len([line for line in (ended.out + ended.err).splitlines() if line.startswith("warning: ")]) == 1, ended
    assert len(Path("runs/run/metrics.jsonl").read_text().splitlines()) == 3
    assert list(Path("runs/run").glob("wandb/offline-run-*"))
