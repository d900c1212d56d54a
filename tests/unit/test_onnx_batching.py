"""Foreign files that take one observation, made to take many: the same policy, or left alone."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cartpole_cli.deploy.onnx_batching import batched
from cartpole_cli.deploy.onnx_policy import OnnxPolicy

GENERATOR = np.random.default_rng(0)
CONSTANTS = {
    "w": GENERATOR.normal(size=(4, 8)).astype(np.float32),
    "w6": GENERATOR.normal(size=(5, 8)).astype(np.float32),
    "b": GENERATOR.normal(size=8).astype(np.float32),
    "v": GENERATOR.normal(size=(8, 2)).astype(np.float32),
    "row": np.array([1, 4]),
    "flat": np.array([2]),
    "front": np.array([0]),
    "two": np.array([2]),
    "three": np.array([3]),
}


def model(*nodes: tuple[str, str, str], shape=(4,), **attributes: dict) -> bytes:
    """Nodes "operator", "inputs", "output"; attributes by output."""
    made = [
        helper.make_node(kind, inputs.split(), [output], **attributes.get(output, {})) for kind, inputs, output in nodes
    ]
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    constants = [numpy_helper.from_array(value, name) for name, value in CONSTANTS.items()]
    graph = helper.make_graph(made, "foreign", [state], [out], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


LAYERS = (("Gemm", "x w b", "h"), ("Tanh", "h", "t"), ("Gemm", "t v", "y"))
PLAIN = (("MatMul", "state w", "a"), ("Add", "a b", "h"), ("Relu", "h", "t"), ("MatMul", "t v", "out"))
FILES = {
    "declared [4]": model(*PLAIN),
    "an axis added and taken away": model(("Unsqueeze", "state front", "x"), *LAYERS, ("Squeeze", "y front", "out")),
    "reshaped to a row and flat": model(("Reshape", "state row", "x"), *LAYERS, ("Reshape", "y flat", "out")),
    "a sine beside the rest": model(
        ("Slice", "state two three front", "angle"),
        ("Sin", "angle", "sine"),
        ("Concat", "state sine", "features"),
        ("MatMul", "features w6", "a"),
        ("Add", "a b", "h"),
        ("Tanh", "h", "t"),
        ("MatMul", "t v", "out"),
        features={"axis": 0},
    ),
}


@pytest.mark.parametrize("content", FILES.values(), ids=FILES)
def test_a_file_for_one_observation_takes_many_and_stays_the_same(content):
    policy = OnnxPolicy(content, "x.onnx")
    assert not policy.takes_batches
    rewritten = batched(policy)
    assert rewritten.takes_batches
    states = torch.randn(300, 4, generator=torch.Generator().manual_seed(1)) * 3
    torch.testing.assert_close(rewritten.values(states), policy.values(states), rtol=1e-4, atol=1e-5)


def test_a_file_that_takes_batches_is_left_alone():
    content = model(*PLAIN, shape=None)
    policy = OnnxPolicy(content, "x.onnx")
    assert batched(policy) is policy


def test_a_file_whose_rows_would_mix_is_left_alone():
    content = model(*PLAIN[:3], ("MatMul", "t v", "y"), ("ReduceMax", "y", "most"), ("Sub", "y most", "out"))
    policy = OnnxPolicy(content, "x.onnx")
    assert not policy.takes_batches
    assert batched(policy) is policy
