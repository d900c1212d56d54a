"""Checkpoints that are damaged, of another kind, or mean harm: one line, and nothing is executed."""

import hashlib
import io
import os
import pickle
import random
import threading
from pathlib import Path

import pytest
import torch
from commands import captured
from damage import train

from cartpole_cli.errors import CartpoleError
from cartpole_cli.runs.checkpoint import FORMAT_VERSION, load_checkpoint

FLIPS = 1000


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def signed(payload: bytes, version: int = FORMAT_VERSION) -> bytes:
    return payload + f"\ncartpole-checkpoint {version} {hashlib.sha256(payload).hexdigest()}\n".encode()


def saved(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.fixture
def run(capsys) -> Path:
    train(capsys, "--name", "run", "trainer.num_steps=64")
    return Path("runs/run")


def check_refused(capsys, run: Path, damaged: bytes) -> None:
    """As best.pth by what reads policies, as last.pth by what resumes."""
    whole = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for name, words in {
        "best.pth": (("eval", "run"), ("export", "run"), ("eval", "runs/run/best.pth")),
        "last.pth": (("train", "--quiet", "--resume", "run", "trainer.num_steps=96"),),
    }.items():
        (run / name).write_bytes(damaged)
        for arguments in words:
            assert f"{name}: " in captured(capsys, *arguments).line, arguments
        (run / name).write_bytes(whole[run / name])
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == whole
    assert not Path("executed").exists()


def test_a_truncated_checkpoint(run, capsys):
    whole = (run / "best.pth").read_bytes()
    assert len(whole) > 4096
    for length in (0, 1, *range(4096, len(whole), 4096), len(whole) - 1):
        check_refused(capsys, run, whole[:length])


@pytest.mark.parametrize("name", ["best.pth", "last.pth"])
def test_every_flipped_bit_is_noticed(run, name, tmp_path):
    whole, rng, path = (run / name).read_bytes(), random.Random(0), tmp_path / "flipped.pth"
    kind = "policy" if name == "best.pth" else "training"
    load_checkpoint(run / name, kind)
    for _ in range(FLIPS // 2):
        flipped = bytearray(whole)
        flipped[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        with pytest.raises(CartpoleError) as caught:
            load_checkpoint(path, kind)
        assert len(caught.value.problems) == 1


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Bomb()),
        signed(pickle.dumps(Bomb())),
        signed(saved(Bomb())),
        signed(saved({"kind": "policy", "policy": Bomb()})),
        signed(saved({"kind": "policy"})),
        signed(saved({"kind": "training"})),
        signed(saved([1, 2])),
        signed(saved({"kind": "policy"}), FORMAT_VERSION + 1),
        saved({"kind": "policy"}),
        signed(b""),
        bytes(10_000),
    ],
    ids=[
        "pickle",
        "signed pickle",
        "torch's pickle",
        "pickle inside",
        "no policy",
        "no state",
        "a list",
        "version",
        "unsigned",
        "nothing signed",
        "zeros",
    ],
)
def test_other_content(content, run, capsys):
    check_refused(capsys, run, content)


def test_a_policy_where_a_training_state_belongs_and_the_other_way_round(run, capsys):
    best, last = (run / name for name in ("best.pth", "last.pth"))
    whole = best.read_bytes()
    best.write_bytes(last.read_bytes())
    assert "best.pth: " in captured(capsys, "eval", "run").line
    last.write_bytes(whole)
    assert "last.pth: " in captured(capsys, "train", "--quiet", "--resume", "run", "trainer.num_steps=96").line


@pytest.mark.parametrize("width", [8, 32])
def test_weights_of_other_shapes(width, run, capsys):
    best = load_checkpoint(run / "best.pth", "policy")
    name = next(name for name, value in best["policy"].items() if value.ndim > 0)
    best["policy"][name] = torch.zeros(width, 3)
    (run / "best.pth").write_bytes(signed(saved(best)))
    last = load_checkpoint(run / "last.pth", "training")
    last["trainer"]["policy"] = dict.fromkeys(last["trainer"]["policy"], torch.zeros(width, 3))
    (run / "last.pth").write_bytes(signed(saved(last)))
    for arguments in (("eval", "run"), ("export", "run")):
        assert "best.pth: " in captured(capsys, *arguments).line
    assert "last.pth: " in captured(capsys, "train", "--quiet", "--resume", "run", "trainer.num_steps=96").line


@pytest.mark.parametrize("name", ["best.pth", "last.pth"])
def test_a_directory_of_that_name(name, run, capsys):
    (run / name).unlink()
    (run / name).mkdir()
    arguments = ("eval", "run") if name == "best.pth" else ("train", "--quiet", "--resume", "run")
    assert captured(capsys, *arguments).line


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs here")
def test_a_pipe_instead_of_a_file_is_not_waited_for(run, capsys):
    for name, arguments in {
        "best.pth": ("eval", "run"),
        "last.pth": ("train", "--quiet", "--resume", "run", "trainer.num_steps=96"),
        "pipe.onnx": ("eval", "runs/run/pipe.onnx"),
    }.items():
        (run / name).unlink(missing_ok=True)
        os.mkfifo(run / name)
        rescue = threading.Timer(20, lambda path=run / name: path.write_bytes(b""))
        rescue.start()
        assert name in captured(capsys, *arguments).line
        assert rescue.is_alive(), "it waited"
        rescue.cancel()
