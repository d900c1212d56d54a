"""Checkpoints that are damaged, of another kind, or mean harm: one line, and nothing is executed."""

import hashlib
import io
import json
import os
import pickle
import random
import shutil
import threading
import time
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import captured
from damage import train

from cartpole_cli.errors import CartpoleError
from cartpole_cli.runs.checkpoint import FORMAT_VERSION, load_checkpoint
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of

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


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trained") / "runs"


@pytest.fixture
def run(trained, capsys) -> Path:
    """A run of the test's own."""
    if not trained.exists():
        train(capsys, "--name", "run", "--runs-dir", trained, "trainer.num_steps=64")
    shutil.copytree(trained, "runs")
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


def rewritten(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """The run's best.pth, changed and signed."""
    content = load_checkpoint(run / "best.pth", "policy")
    change(content)
    (run / "best.pth").write_bytes(signed(saved(content)))


def deep(levels: int) -> object:
    content: object = []
    for _ in range(levels):
        content = [content]
    return content


def laughing() -> object:
    content: object = ["ha"] * 10
    for _ in range(9):
        content = [content] * 10
    return content


def quantized(shape: tuple[int, ...]) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.zeros(shape), 0.1, 0, torch.quint8)


STRANGE = {
    "sparse": lambda weight: torch.sparse_coo_tensor(torch.zeros(3, 1), torch.ones(1), weight.shape),
    "huge and sparse": lambda _: torch.sparse_coo_tensor(torch.zeros(1, 1), torch.ones(1), (2**40,)),
    "without numbers": lambda weight: torch.empty(weight.shape, device="meta"),
    "one number again and again": lambda _: torch.zeros(1).expand(2**40),
    "quantized": lambda weight: quantized(weight.shape),
    "float64": lambda weight: weight.double(),
    "whole numbers": lambda weight: weight.long(),
    "not a number": lambda weight: weight * torch.nan,
    "infinite": lambda weight: weight + torch.inf,
    "a list": lambda weight: weight.tolist(),
    "nothing": lambda _: None,
}


@pytest.mark.parametrize("strange", STRANGE.values(), ids=STRANGE)
def test_weights_that_are_none(strange, run, capsys):
    def change(content: dict[str, Any]) -> None:
        name, weight = next((name, weight) for name, weight in content["policy"].items() if weight.ndim == 3)
        content["policy"][name] = strange(weight)

    rewritten(run, change)
    for arguments in (("eval", "run"), ("export", "run"), ("eval", "run", "--suite", "page")):
        assert "best.pth: " in captured(capsys, *arguments).line
    said = json.loads((run / "evaluation.json").read_text()) | {CHECKPOINT: digest_of(run / "best.pth")}
    (run / "evaluation.json").write_text(json.dumps(said))
    (row,) = json.loads(captured(capsys, "best", "--confirm", "2", "--json").out)
    assert "best.pth: " in row["problem"]


ARCHITECTURES = {
    "wide": {"hidden_sizes": [4096] * 16},
    "wider than a recipe's": {"hidden_sizes": [10**9]},
    "deep": {"hidden_sizes": [1] * 10_000},
    "no numbers": {"hidden_sizes": ["a"]},
    "negative": {"hidden_sizes": [-16]},
    "observations": {"observation_size": 10**12},
    "actions": {"num_actions": 10**12},
    "no actions": {"num_actions": 0},
    "another activation": {"activation": "exec"},
    "an unknown field": {"module": "os"},
    "bounds": {"num_actions": None, "action_low": [float("nan")], "action_high": [1.0]},
    "nested": {"hidden_sizes": [[16]]},
    "no layers": {"hidden_sizes": []},
    "values that see less": {"value_extras": -1},
    "values that see everything": {"value_extras": 10**9},
    "values that see words": {"value_extras": "physics"},
}


@pytest.mark.parametrize("fields", ARCHITECTURES.values(), ids=ARCHITECTURES)
def test_an_architecture_that_its_weights_are_not_of(fields, run, capsys):
    rewritten(run, lambda content: content["architecture"].update(fields))
    started = time.monotonic()
    for command in ("eval", "export"):
        assert "best.pth: " in captured(capsys, command, "run").line
    assert time.monotonic() - started < 10


@pytest.mark.parametrize(
    "content",
    [deep(100), laughing(), 2**20_000, bytearray(10), {1, 2}],
    ids=["deep", "shared", "digits", "bytes", "a set"],
)
@pytest.mark.parametrize("name", ["metadata", "other"])
def test_content_that_is_not_plain(content, name, run, capsys):
    rewritten(run, lambda whole: whole.update({name: content}))
    for command in ("eval", "export"):
        assert "best.pth: " in captured(capsys, command, "run").line


def test_lists_nested_a_million_deep(run, capsys):
    depth = 1_000_000
    pickled = b"\x80\x02}X\x04\0\0\0kindX\x06\0\0\0policysX\x08\0\0\0metadata"
    pickled += b"]" * depth + b"a" * (depth - 1) + b"s."
    archive = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved({}))) as old, zipfile.ZipFile(archive, "w") as new:
        for entry in old.infolist():
            new.writestr(entry.filename, pickled if entry.filename.endswith("data.pkl") else old.read(entry))
    (run / "best.pth").write_bytes(signed(archive.getvalue()))
    assert "deep" in captured(capsys, "eval", "run").line


@pytest.mark.parametrize(
    "recipe",
    ["a = " + "[" * 100_000, "a" * 10_000_000, "a = 1\0", "\x1b[31m"],
    ids=["deep", "long", "NUL", "red"],
)
def test_a_recipe_that_is_none(recipe, run, capsys):
    rewritten(run, lambda content: content.update(recipe=recipe))
    (run / "last.pth").write_bytes(signed(saved(load_checkpoint(run / "last.pth", "training") | {"recipe": recipe})))
    line = captured(capsys, "train", "--quiet", "--resume", "run").line
    assert line.isprintable()
    assert line.endswith("; it cannot be resumed: train again")
    for name in ("eval", "export"):  # nobody can edit it: what it says is left out
        ended = captured(capsys, name, "run")
        assert ended.code == 0, ended
        (note,) = ended.err.splitlines()
        assert note.startswith("note: ")
        assert "its recipe is not understood" in note
        assert note.isprintable()


def test_a_compressed_archive_is_not_unpacked(run, capsys):
    payload = io.BytesIO(saved(load_checkpoint(run / "best.pth", "policy")))
    bomb = io.BytesIO()
    with zipfile.ZipFile(payload) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for entry in old.infolist():
            new.writestr(entry.filename, old.read(entry))
    (run / "best.pth").write_bytes(signed(bomb.getvalue()))
    assert "compressed" in captured(capsys, "eval", "run").line


@pytest.mark.parametrize(("name", "size"), [("best.pth", 3 << 30), ("best.pth", 1 << 40), ("last.pth", 1 << 40)])
def test_a_giant_file_is_not_read(name, size, run, capsys):
    with (run / name).open("r+b") as file:
        file.truncate(size)
    started = time.monotonic()
    words = ("eval", "run") if name == "best.pth" else ("train", "--quiet", "--resume", "run", "trainer.num_steps=96")
    assert f"{name}: " in captured(capsys, *words).line
    assert time.monotonic() - started < 5
