"""Files that are none: pipes, devices, folders, links in a circle, gigabytes. Nobody waits for them."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from commands import Ended, captured
from damage import train

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")

SECONDS = 20
FILES = (
    "run.json",
    "recipe.toml",
    "best.json",
    "evaluation.json",
    "metrics.jsonl",
    "study.json",
    "best.pth",
    "last.pth",
    "history.pth",
    ".lock",
)
COMMANDS = (
    ("best", "--confirm", "2", "--json"),
    ("best", "runs/study"),
    ("eval", "run", "study", "--episodes", "2"),
    ("export", "run", "--output", "out.onnx"),
    ("plot", "run", "study"),
    ("view", "run", "study", "-o", "page.html"),
    ("train", "--quiet", "--resume", "study", "trainer.num_steps=96"),
    ("train", "--quiet", "--resume", "run", "trainer.num_steps=96"),
)


class Waited(BaseException):
    """No OSError, which would be taken for the file's."""


def pipe(path: Path) -> None:
    os.mkfifo(path)


def endless(path: Path) -> None:
    path.symlink_to("/dev/zero")


def circle(path: Path) -> None:
    path.symlink_to(path.name)


def giant(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 42)


KINDS = (pipe, endless, circle, giant)


@pytest.fixture(autouse=True)
def _nobody_waits() -> Iterator[None]:
    def wake(*_: object) -> None:
        raise Waited(f"for {SECONDS} s")

    before = signal.signal(signal.SIGALRM, wake)
    signal.alarm(SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("whole") / "runs"


@pytest.fixture
def runs(trained, capsys) -> Path:
    """A run and a study of the test's own."""
    if not trained.exists():
        train(capsys, "--name", "run", "--runs-dir", trained, "trainer.num_steps=64")
        train(capsys, "--name", "study", "--runs-dir", trained, "trainer.num_steps=64", "--seeds", "2")
    shutil.copytree(trained, "runs")
    return Path("runs")


def check(ended: Ended, what: object) -> None:
    assert ended.code in {0, 1, 2}, (what, ended)
    assert "Traceback" not in ended.err, (what, ended)
    if ended.code == 2:
        notes_and_errors = [line.partition(": ")[0] for line in ended.err.splitlines()]
        assert set(notes_and_errors) - {"note"} == {"error"}, (what, ended)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("name", FILES)
def test_no_command_waits_for_a_file_of_a_run(name, make, runs, capsys):
    places = [folder / name for folder in (runs / "run", runs / "study", runs / "study/s0") if name != ".lock"]
    for path in places or [runs / "run/.lock", runs / "study/.lock"]:
        path.unlink(missing_ok=True)
        make(path)
    for arguments in COMMANDS:
        check(captured(capsys, *arguments), arguments)


@pytest.mark.parametrize("make", [*KINDS, Path.mkdir])
def test_no_command_waits_for_a_file_that_is_named(make, runs, capsys):
    for name in ("odd.onnx", "odd.pth", "odd.toml"):
        make(Path(name))
    for arguments in (
        ("eval", "odd.onnx"),
        ("eval", "odd.onnx", "--suite", "page"),
        ("eval", "odd.pth"),
        ("export", "odd.pth", "--output", "out.onnx"),
        ("eval", "run", "--suite", "odd.toml"),
        ("train", "--recipe", "odd.toml"),
        ("recipes", "show", "odd.toml"),
        ("recipes", "copy", "odd.toml", "copied.toml"),
    ):
        line = captured(capsys, *arguments).line
        assert any(word.startswith("odd") and word.rstrip(":,") in line for word in arguments), line
    assert not Path("copied.toml").exists()


def test_nothing_waits_for_golden_pairs(runs, capsys):
    os.mkfifo("out.onnx.json")
    assert captured(capsys, "export", "run", "--output", "out.onnx").code == 0


def refuse(monkeypatch: pytest.MonkeyPatch, function: Callable[..., object], name: str) -> None:
    def refused(path: Path, *rest: object, **options: object) -> object:
        if "locked" in str(path):
            raise PermissionError(13, "Permission denied", str(path))
        return function(path, *rest, **options)

    monkeypatch.setattr(Path, name, refused)


def test_a_folder_that_may_not_be_read_is_one_line(runs, capsys, monkeypatch):
    shutil.copytree("runs/run", "runs/locked")
    for name in ("stat", "exists", "iterdir"):
        refuse(monkeypatch, getattr(Path, name), name)
    is_dir = Path.is_dir
    monkeypatch.setattr(Path, "is_dir", lambda path: path.name == "locked" or is_dir(path))
    for arguments in (("plot", "locked"), ("eval", "locked"), ("train", "--resume", "locked"), ("export", "locked")):
        assert "locked" in captured(capsys, *arguments).line
