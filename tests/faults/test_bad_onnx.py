"""ONNX files that are damaged or mean harm: a line, whatever becomes of the process that loads them."""

import gc
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from commands import captured
from damage import train
from onnx import TensorProto, helper, numpy_helper

from cartpole_cli.deploy import sandbox as onnx_sandbox
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.deploy.sandbox import Sandbox
from cartpole_cli.errors import CartpoleError

FLIPS = 1000
LOAD_EACH = """
import sys
from pathlib import Path
from cartpole_cli.errors import CartpoleError
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
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


def loop_body() -> onnx.GraphProto:
    return helper.make_graph(
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


def endless() -> bytes:
    """A loop of 2^62 rounds."""
    loop = helper.make_node("Loop", ["rounds", "yes", "observation"], ["values"], body=loop_body())
    return of_nodes(loop, rounds=np.int64(2**62), yes=np.bool_(True))


def endless_later() -> bytes:
    """A loop of no rounds where theta is within 0.1, and of 10^16 and more where it is beyond 0.2."""
    return of_nodes(
        helper.make_node("Gather", ["observation", "two"], ["theta"], axis=0),
        helper.make_node("Mul", ["theta", "eight"], ["lean"]),
        helper.make_node("Pow", ["lean", "sixty"], ["power"]),
        helper.make_node("Mul", ["power", "large"], ["many"]),
        helper.make_node("Min", ["many", "most"], ["bounded"]),
        helper.make_node("Cast", ["bounded"], ["rounds"], to=TensorProto.INT64),
        helper.make_node("Loop", ["rounds", "yes", "observation"], ["last"], body=loop_body()),
        helper.make_node("ReduceSum", ["last"], ["values"], keepdims=1),
        two=np.int64(2),
        sixty=np.float32(60),
        eight=np.float32(8),
        large=np.float32(1e4),
        most=np.float32(2.0**62),
        yes=np.bool_(True),
    )


def growing() -> bytes:
    """An output of one number where theta is within 0.1, and of two where it is beyond 0.12."""
    return of_nodes(
        helper.make_node("Slice", ["observation", "two", "three"], ["theta"]),
        helper.make_node("Abs", ["theta"], ["away"]),
        helper.make_node("Mul", ["away", "scale"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["more"], to=TensorProto.INT64),
        helper.make_node("Add", ["more", "one"], ["size"]),
        helper.make_node("ConstantOfShape", ["size"], ["values"]),
        two=np.array([2], dtype=np.int64),
        three=np.array([3], dtype=np.int64),
        one=np.array([1], dtype=np.int64),
        scale=np.array([9], dtype=np.float32),
    )


def sparse() -> bytes:
    """One number, said to be of 1.5 billion."""
    model = onnx.load_model_from_string(
        of_nodes(
            helper.make_node("ReduceSum", ["sparse"], ["sum"], keepdims=0),
            helper.make_node("Add", ["observation", "sum"], ["values"]),
        )
    )
    value = numpy_helper.from_array(np.ones(1, dtype=np.float32), "sparse")
    place = numpy_helper.from_array(np.array([5], dtype=np.int64), "place")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(value, place, [1_500_000_000]))
    return model.SerializeToString()


def with_recipe(model: bytes, recipe: str) -> bytes:
    changed = onnx.load_model_from_string(model)
    helper.set_model_props(changed, {"recipe": recipe})
    return changed.SerializeToString()


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


def test_what_never_returns_for_some_later_observation_is_one_line(capsys, monkeypatch):
    monkeypatch.setattr(onnx_sandbox, "SECONDS", 1)
    Path("later.onnx").write_bytes(endless_later())
    for words in (("--environment", "ContinuousCartPole-v1"), ("--suite", "page")):
        ended = captured(capsys, "eval", "later.onnx", *words)
        assert ended.code == 2
        assert ended.err.splitlines()[-1] == "error: later.onnx: does not end within 1 s"


def test_a_tensor_that_is_sparse_and_huge_is_one_line_soon(capsys):
    Path("sparse.onnx").write_bytes(sparse())
    started = time.monotonic()
    assert captured(capsys, "eval", "sparse.onnx").line.startswith("error: sparse.onnx: ")
    assert time.monotonic() - started < 15


def test_an_output_that_grows_is_one_line(capsys):
    Path("growing.onnx").write_bytes(growing())
    line = captured(capsys, "eval", "growing.onnx", "--environment", "ContinuousCartPole-v1").line
    assert "growing.onnx: its first output has" in line


def test_a_file_of_any_size_is_not_read(capsys):
    with Path("giant.onnx").open("wb") as file:
        file.truncate(1 << 40)
    assert "giant.onnx: cannot be read (larger than 256 MiB)" in captured(capsys, "eval", "giant.onnx").line


def test_no_control_sequence_of_a_file_reaches_the_terminal(capsys):
    Path("red.onnx").write_bytes(of_nodes(helper.make_node("\x1b[31mRed", ["observation"], ["values"])))
    line = captured(capsys, "eval", "red.onnx").line
    assert "\\x1b[31mRed" in line
    assert "\x1b" not in line


@pytest.mark.parametrize(
    "recipe",
    ["a = " + "[" * 100_000, "a" * 10_000_000, "a = 1\0", "[trainer]\nseed = '\x1b[31m'", "a.b = " + "9" * 5000],
    ids=["deep", "long", "NUL", "escapes", "digits"],
)
def test_a_recipe_inside_that_is_none_is_one_line(recipe, model, capsys):
    Path("odd.onnx").write_bytes(with_recipe(model, recipe))
    ended = captured(capsys, "eval", "odd.onnx", "--episodes", "2")
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert line.startswith("note: odd.onnx: its recipe is not understood (")
    assert line.endswith("): scored on CartPole-v1")
    assert line.isprintable()
    assert len(line) < 500


def test_a_process_that_is_done_with_is_gone(model):
    policy = OnnxPolicy(model, "policy.onnx", Sandbox().open)
    process = policy._session._sandbox._process
    assert process.poll() is None
    del policy
    gc.collect()
    assert process.poll() is not None


def test_what_crashes_the_parser_is_one_line(model, capsys, monkeypatch):
    monkeypatch.setattr(onnx_sandbox, "COMMAND", (sys.executable, "-c", "import os; os.abort()"))
    assert "policy.onnx: crashes onnxruntime" in captured(capsys, "eval", "policy.onnx").line
