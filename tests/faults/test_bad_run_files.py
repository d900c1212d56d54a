"""A run whose small files are damaged: every command that meets them answers, and none with a traceback."""

import shutil
from pathlib import Path

import pytest
from commands import Ended, captured
from damage import train

FILES = ("recipe.toml", "run.json", "best.json", "evaluation.json", "metrics.jsonl", "study.json")
DAMAGE = {
    "empty": lambda whole: b"",
    "torn": lambda whole: whole[: len(whole) // 2],
    "binary": lambda whole: bytes(range(256)) * 4,
    "a list": lambda whole: b"[1, 2, 3]",
    "a string": lambda whole: b'"text"',
    "null": lambda whole: b"null",
    "no fields": lambda whole: b"{}",
    "not a number": lambda whole: whole.replace(b"0", b"NaN", 1).replace(b": 1", b": Infinity"),
    "huge numbers": lambda whole: whole.replace(b": 1", b": 1" + b"9" * 400).replace(b": 2", b": 2e999"),
    "other types": lambda whole: whole.replace(b": 1", b': {"a": []}').replace(b': "', b': ["').replace(b'",', b'"],'),
    "deep": lambda whole: b"[" * 100_000,
}
COMMANDS = (
    ("best",),
    ("best", "--json"),
    ("best", "--path"),
    ("best", "runs/study"),
    ("eval", "run", "--episodes", "2"),
    ("eval", "study", "--episodes", "2"),
    ("export", "run", "--output", "out.onnx"),
    ("plot", "run"),
    ("plot", "study", "run"),
    ("train", "--quiet", "--resume", "run", "trainer.num_steps=96"),
    ("train", "--quiet", "--resume", "study"),
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("whole") / "runs"


def check(ended: Ended, what: object) -> None:
    assert ended.code in {0, 1, 2}, (what, ended)
    assert "Traceback" not in ended.err, (what, ended)
    if ended.code == 2:
        assert ended.err.splitlines(), what
        assert all(line.startswith("error: ") for line in ended.err.splitlines()), (what, ended)


@pytest.mark.parametrize("damage", [*DAMAGE, "a directory"])
@pytest.mark.parametrize("name", FILES)
def test_every_command_answers(name, damage, runs, tmp_path, capsys):
    if not runs.exists():
        train(capsys, "--name", "run", "--runs-dir", runs, "trainer.num_steps=64")
        train(capsys, "--name", "study", "--runs-dir", runs, "trainer.num_steps=64", "--seeds", "2")
    shutil.copytree(runs, tmp_path / "runs")
    damaged = [path for path in (tmp_path / "runs").rglob(name) if path.is_file()]
    assert damaged
    for path in damaged:
        whole = path.read_bytes()
        path.unlink()
        if damage == "a directory":
            path.mkdir()
        else:
            path.write_bytes(DAMAGE[damage](whole))
    for arguments in COMMANDS:
        check(captured(capsys, *arguments), arguments)
