"""Anybody's ONNX file whose network is a chain of layers -> what the page computes.

A chain is one path from the input to the first output of Gemm, MatMul, Add, Tanh and Relu, and of what exports have
around these: Reshape, Flatten and Identity, which leave numbers as they are, Mul and Sub by constants, and Clip.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper

from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.deploy.sandbox import Sandbox
from cartpole_cli.errors import CartpoleError, one_line, reading
from cartpole_cli.files import read_bytes
from cartpole_cli.view.networks import base64_of

MAX_ONNX = 4 << 20
MAX_NUMBERS = 60_000
"""Of a chain in a page: 240 kB."""
AS_IT_IS = {"Reshape", "Flatten", "Identity", "Squeeze", "Unsqueeze", "Cast"}
ALLOWED = "allowed: a chain of Gemm, MatMul, Add, Tanh and Relu"
Row = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Layer:
    """`kind` affine has a weight [out, in] and a bias; clip has limits; tanh and relu have neither."""

    kind: str
    weight: Row | None = None
    bias: Row | None = None
    limits: tuple[float, float] = (0.0, 0.0)

    @property
    def size(self) -> int:
        """How many numbers it holds."""
        return 0 if self.weight is None else self.weight.size + len(self.weight)

    def apply(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """[N, in] -> [N, out]."""
        match self.kind:
            case "affine":
                assert self.weight is not None
                assert self.bias is not None
                return np.asarray(values @ self.weight.T.astype(np.float64) + self.bias, np.float64)
            case "clip":
                low, high = self.limits
                return np.asarray(np.clip(values, low, high), np.float64)
            case _:
                return np.tanh(values) if self.kind == "tanh" else np.maximum(values, 0)

    def as_plain_data(self) -> dict[str, Any]:
        if self.weight is None or self.bias is None:
            return {"kind": self.kind, "limits": self.limits}
        weight, bias = base64_of(self.weight.reshape(-1)), base64_of(self.bias)
        return {"kind": self.kind, "size": len(self.weight), "weight": weight, "bias": bias}


def load_chain(path: Path) -> dict[str, Any]:
    """The network in an ONNX file as the page's data: `{"chain": layers}`.

    Raises:
        CartpoleError: it is no chain, or computes something else than onnxruntime.
    """
    with reading(path):
        content = read_bytes(path, MAX_ONNX)
    judge = OnnxPolicy(content, str(path), Sandbox().open)
    try:
        layers = _layers(onnx.load_from_string(content).graph)
    except CartpoleError as error:
        raise CartpoleError(f"{path}: {error}") from error
    except Exception as error:  # a stranger's file: onnx raises anything
        raise CartpoleError(f"{path}: not read as a chain of layers: {one_line(error)}; {ALLOWED}") from error
    states = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([2.0, 3.0, 1.0, 3.0])
    expected = judge.values(states).numpy()
    given = states.numpy().astype(np.float64)
    for layer in layers:
        given = layer.apply(given)
    scale = max(1.0, float(np.abs(expected).max()))
    if given.shape != expected.shape or not np.abs(given - expected).max() <= 1e-4 * scale:
        raise CartpoleError(f"{path}: read as a chain, its layers give other outputs than onnxruntime; {ALLOWED}")
    return {"chain": [layer.as_plain_data() for layer in layers], "outputs": int(expected.shape[1])}


def _layers(graph: onnx.GraphProto) -> list[Layer]:
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant":
            constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
    layers: list[Layer] = []
    width = 4
    for node in _path(graph, constants):
        if node.op_type not in AS_IT_IS:
            layer = _layer(node, constants, width)
            layers.append(layer)
            width = width if layer.weight is None else len(layer.weight)
    if sum(layer.size for layer in layers) > MAX_NUMBERS:
        raise CartpoleError(f"more than {MAX_NUMBERS:,} numbers, too large for a page")
    return layers


def _path(graph: onnx.GraphProto, constants: dict[str, NDArray[Any]]) -> list[onnx.NodeProto]:
    """The nodes from the input to the first output."""
    inputs = [each.name for each in graph.input if each.name not in constants]
    makers = {name: node for node in graph.node for name in node.output if name not in constants}
    name, nodes = graph.output[0].name, []
    while name not in inputs:
        node = makers.get(name)
        if node is None:
            raise CartpoleError(f"its first output does not come from its input; {ALLOWED}")
        given = [each for each in node.input if each and each not in constants]
        if len(given) != 1:
            raise CartpoleError(f"its operator {node.op_type} has {len(given)} computed inputs; {ALLOWED}")
        nodes.append(node)
        (name,) = given
    return nodes[::-1]


def _layer(node: onnx.NodeProto, constants: dict[str, NDArray[Any]], width: int) -> Layer:
    known = [constants[name].astype(np.float32) for name in node.input if name in constants]
    settings = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    is_second = len(node.input) > 1 and node.input[1] in constants
    weight, bias = np.eye(width, dtype=np.float32), np.zeros(1, np.float32)
    match node.op_type:
        case "Tanh" | "Relu":
            return Layer(node.op_type.lower())
        case "Clip":
            low, high = (float(each) for each in known)
            return Layer("clip", limits=(low, high))
        case "Gemm" if is_second:
            weight = (known[0] if settings.get("transB") else known[0].T) * settings.get("alpha", 1.0)
            bias = known[1] * settings.get("beta", 1.0) if len(known) > 1 else bias
        case "MatMul" if is_second:
            weight = known[0].T
        case "Add":
            bias = known[0]
        case "Sub" if is_second:
            bias = -known[0]
        case "Mul":
            weight = np.diag(np.broadcast_to(known[0].reshape(-1), width))
        case kind:
            raise CartpoleError(f"the page does not compute its operator {kind}; {ALLOWED}")
    return Layer("affine", weight, np.broadcast_to(bias.reshape(-1), len(weight)))
