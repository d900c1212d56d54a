"""Small ONNX files built by hand: a linear controller that balances, with one thing changed at a time."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

GAINS = (0.5, 1.0, 20.0, 3.0)  # newtons per m, m/s, rad, rad/s
SLOPE = 8.0  # the hidden layer is tanh(state / SLOPE): nearly linear where the pole is up


def handmade(
    output: str = "logits",
    *,
    sign: int = 1,
    declared_shape: tuple[int | str, ...] | None = None,
    value_first: bool = False,
    opset: int = 18,
    ir: int = 10,
) -> onnx.ModelProto:
    """A policy that gives "logits" (left, right) or "force" (newtons, clipped to +-10).

    A sign of -1 pushes the wrong way.
    """
    gains = sign * SLOPE * np.array([GAINS], dtype=np.float32)
    weights = gains / 10 if output == "force" else np.concatenate([-gains, gains])
    constants = {
        "rows": np.array([-1, 4], dtype=np.int64),
        "hidden_weight": np.eye(4, dtype=np.float32) / SLOPE,
        "weight": weights,
        "value_weight": np.zeros((1, 4), dtype=np.float32),
        "value_bias": np.array([400.0], dtype=np.float32),  # about the return that is left
        "low": np.float32(-1),
        "high": np.float32(1),
        "newtons": np.float32(10),
    }
    nodes = [
        helper.make_node("Reshape", ["observation", "rows"], ["row"]),
        helper.make_node("Gemm", ["row", "hidden_weight"], ["linear"]),
        helper.make_node("Tanh", ["linear"], ["hidden"]),
    ]
    if output == "force":
        nodes += [
            helper.make_node("Gemm", ["hidden", "weight"], ["fraction"], transB=1),
            helper.make_node("Clip", ["fraction", "low", "high"], ["clipped"]),
            helper.make_node("Mul", ["clipped", "newtons"], ["force"]),
        ]
    else:
        nodes.append(helper.make_node("Gemm", ["hidden", "weight"], ["logits"], transB=1))
    outputs = [output]
    if value_first:
        nodes.append(helper.make_node("Gemm", ["hidden", "value_weight", "value_bias"], ["value"], transB=1))
        outputs.insert(0, "value")
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, declared_shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items() if name in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
