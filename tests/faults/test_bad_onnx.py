"""ONNX files that are damaged or mean harm: a line, whatever becomes of the process that loads them."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import captured
from damage import train
from onnx import TensorProto, helper, numpy_helper

from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy import onnx_sandbox
from cartpole_cli.policy.onnx_policy import OnnxPolicy
from cartpole_cli.policy.onnx_sandbox import Sandbox

FLIPS = 1000
LOAD_EACH = """
import sys
from pathlib import Path
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.onnx_policy import OnnxPolicy
loaded = 0
for path in sorted(Path("flips").iterdir()):
    Path("at").write_text(path.name)
    try:
        OnnxPolicy(path.read_bytes(), path.name)
        loaded += 1
    except CartpoleError as error:
        assert len(error.problems) == 1
    path.unlink()
print(loaded)
"""


@pytest.fixture
def model(capsys) -> bytes:
    train(capsys, "--name", "run")
    assert captured(capsys, "export", "run", "--output", "policy.onnx").code == 0
    return Path("policy.onnx").read_bytes()


def of_nodes(*nodes: onnx.NodeProto, **constants: object) -> bytes:
    """A policy's inputs and outputs around these nodes, which give `values`."""
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    observation = helper.make_tensor_value_info("observation", TensorProto.FLOAT, [4])
    output = helper.make_tensor_value_info("values", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "policy", [observation], [output], values)
    opsets = [helper.make_opsetid("", 18)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()


def endless() -> bytes:
    """A loop of 2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Tanh", ["state"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    loop = helper.make_node("Loop", ["rounds", "yes", "observation"], ["values"], body=body)
    return of_nodes(loop, rounds=np.int64(2**62), yes=np.bool_(True))


def bomb() -> bytes:
    """Half a kilobyte that wants 64 GiB."""
    return of_nodes(
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["observation", "sum"], ["values"]),
        shape=np.array([2**34], dtype=np.int64),
    )


def test_a_truncated_file_is_one_line(model, capsys):
    for length in (0, 1, *range(128, len(model), 128), len(model) - 1):
        Path("cut.onnx").write_bytes(model[:length])
        assert captured(capsys, "eval", "cut.onnx").line.startswith("error: cut.onnx: "), length


def test_flipped_bits_are_a_network_or_a_line(model, tmp_path):
    rng, folder = random.Random(0), tmp_path / "flips"
    folder.mkdir()
    for number in range(FLIPS):
        flipped = bytearray(model)
        flipped[rng.randrange(len(model))] ^= 1 << rng.randrange(8)
        (folder / f"{number:04}.onnx").write_bytes(flipped)
    loaded, crashed = 0, 0
    while any(folder.iterdir()):
        done = subprocess.run([sys.executable, "-c", LOAD_EACH], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            loaded += int(done.stdout)
            continue
        assert done.returncode < 0, done.stderr
        crashing = folder / Path("at").read_text()
        with pytest.raises(CartpoleError, match="crashes onnxruntime"):
            OnnxPolicy(crashing.read_bytes(), crashing.name, Sandbox().open)
        crashing.unlink()
        crashed += 1
    assert loaded > FLIPS / 2, "most bits are weights"
    assert crashed < FLIPS / 100


def test_flipped_bits_through_the_command_line(model, capsys):
    rng = random.Random(1)
    for _ in range(10):
        flipped = bytearray(model)
        flipped[rng.randrange(len(model))] ^= 1 << rng.randrange(8)
        Path("flipped.onnx").write_bytes(flipped)
        ended = captured(capsys, "eval", "flipped.onnx", "--episodes", "1", "--horizon", "5")
        assert ended.code == 0 or ended.line.startswith("error: flipped.onnx: ")


def test_what_wants_more_memory_than_there_is_is_one_line(capsys):
    Path("bomb.onnx").write_bytes(bomb())
    assert captured(capsys, "eval", "bomb.onnx").line.startswith("error: bomb.onnx: ")


def test_what_never_returns_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(onnx_sandbox, "SECONDS", 3)
    Path("endless.onnx").write_bytes(endless())
    assert "does not end within 3 s" in captured(capsys, "eval", "endless.onnx").line


def test_what_crashes_the_parser_is_one_line(model, capsys, monkeypatch):
    monkeypatch.setattr(onnx_sandbox, "COMMAND", (sys.executable, "-c", "import os; os.abort()"))
    assert "policy.onnx: crashes onnxruntime" in captured(capsys, "eval", "policy.onnx").line
