"""Policy -> ONNX graph, built by hand from the weights.

The network is a handful of layers, and what torch's exporter writes takes ten times as long, is of a newer format than
pages load, and names this machine's folders.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from cartpole_cli.policy.action_heads import CategoricalHead, GaussianHead
from cartpole_cli.policy.features import FineFeatures, ScaledFeatures, TrigFeatures
from cartpole_cli.policy.network import OBSERVATION_LIMIT, PolicyNetwork, StackedLinear

IR_VERSION = 10


def build_model(policy: PolicyNetwork, opset: int, metadata: Mapping[str, str]) -> onnx.ModelProto:
    """The model of a cart-pole's policy with S = 1.

    Input `observation`: float32 of undeclared shape, [4] or [N, 4]: x (m), x_dot (m/s), theta (rad), theta_dot (rad/s).
    Output: `logits` [N, 2] of pushing with 10 N to the left and to the right, or `force` [N, 1] in newtons.
    """
    nodes = _Nodes()
    x = nodes.add("Reshape", "observation", nodes.constant(np.array([-1, 4])))
    x = nodes.limit(x, OBSERVATION_LIMIT)
    for layer in policy.torso:
        x = _layer(nodes, x, layer)
    output = _head(nodes, x, policy.head)
    graph = helper.make_graph(
        nodes.nodes,
        "policy",
        [helper.make_tensor_value_info("observation", TensorProto.FLOAT, ["N", 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", policy.head.num_outputs])],
        nodes.constants,
    )
    model = helper.make_model(
        graph, producer_name="cartpole", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", opset)]
    )
    helper.set_model_props(model, dict(metadata))
    onnx.checker.check_model(model, full_check=True)
    # The checker insists on the input's shape; a declared one would make runtimes refuse [4], or [N, 4].
    model.graph.input[0].type.tensor_type.ClearField("shape")
    return model


class _Nodes:
    """The nodes so far, and their constants."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        self.constants.append(numpy_helper.from_array(array, f"constant{len(self.constants)}"))
        return str(self.constants[-1].name)

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """The name of what it gives."""
        output = f"{operator.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def limit(self, x: str, bound: float) -> str:
        return self.add("Clip", x, self.constant(np.float32(-bound)), self.constant(np.float32(bound)))

    def columns(self, x: str, *places: int) -> str:
        return self.add("Gather", x, self.constant(np.array(places)), axis=1)


def _layer(nodes: _Nodes, x: str, layer: nn.Module) -> str:
    match layer:
        case StackedLinear():
            return nodes.add("Gemm", x, nodes.constant(layer.weight[0]), nodes.constant(layer.bias[0, 0]))
        case ScaledFeatures():
            return nodes.add("Mul", x, nodes.constant(layer.scale))
        case TrigFeatures():
            theta = nodes.columns(x, 2)
            linear = nodes.add("Mul", nodes.columns(x, 0, 1, 3), nodes.constant(layer.scale))
            return nodes.add("Concat", linear, nodes.add("Sin", theta), nodes.add("Cos", theta), axis=1)
        case FineFeatures():
            trig = _layer(nodes, x, layer.trig)
            magnified = nodes.add("Mul", nodes.columns(trig, 0, 1, 2, 3), nodes.constant(layer.magnification))
            return nodes.add("Concat", trig, nodes.add("Tanh", magnified), axis=1)
        case nn.Tanh():
            return nodes.add("Tanh", x)
        case nn.ReLU():
            return nodes.add("Relu", x)
        case _:
            raise NotImplementedError(f"{type(layer).__name__}: a new kind of layer has to be written here, too")


def _head(nodes: _Nodes, x: str, head: CategoricalHead | GaussianHead) -> str:
    """The name of the graph's output."""
    output = "logits"
    if isinstance(head, GaussianHead):
        squashed = nodes.add("Tanh", x) if head.squash == "tanh" else nodes.limit(x, 1.0)
        scaled = nodes.add("Mul", squashed, nodes.constant(head.half_range))
        nodes.add("Add", scaled, nodes.constant(head.center))
        output = "force"
    nodes.nodes[-1].output[0] = output
    return output
