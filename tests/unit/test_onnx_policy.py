"""ONNX files of any maker, read as a page reads them."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.errors import CartpoleError

Shape = tuple[int | str, ...] | None


def pack(nodes, constants, outputs, *, name="observation", shape: Shape = None, kind=TensorProto.FLOAT) -> bytes:
    """A file with one input; `outputs`: (name, element type)."""
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(name, kind, shape)],
        [helper.make_tensor_value_info(output, element, None) for output, element in outputs],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def linear(weights, bias, shape: Shape = None, *, reshape: bool = False) -> bytes:
    """observation @ weights + bias, for the last axis of whatever comes."""
    nodes = [helper.make_node("MatMul", ["row", "w"], ["product"]), helper.make_node("Add", ["product", "b"], ["out"])]
    constants = {"w": np.array(weights, dtype=np.float32), "b": np.array(bias, dtype=np.float32)}
    if reshape:
        constants["rows"] = np.array([-1, 4])
        nodes.insert(0, helper.make_node("Reshape", ["observation", "rows"], ["row"]))
    else:
        nodes[0].input[0] = "observation"
    return pack(nodes, constants, [("out", TensorProto.FLOAT)], shape=shape)


def constant(*values: float) -> bytes:
    """The same values in every state."""
    return linear(np.zeros((4, len(values))), values)


def demo() -> bytes:
    """The web page's own kind: `state` declared [4], one row inside, logits and then a value.

    lean = theta + 0.5 theta_dot; logits: how far to the left, how far to the right; value: 7.
    """
    nodes = [
        helper.make_node("Unsqueeze", ["state", "axes"], ["row"]),
        helper.make_node("Gemm", ["row", "w1", "b1"], ["linear"]),
        helper.make_node("Relu", ["linear"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2", "b2"], ["logits"]),
        helper.make_node("Gemm", ["hidden", "w3", "b3"], ["value"]),
    ]
    constants = {
        "axes": np.array([0]),
        "w1": np.array([[0, 0], [0, 0], [1, -1], [0.5, -0.5]], dtype=np.float32),
        "b1": np.zeros(2, dtype=np.float32),
        "w2": np.array([[0, 1], [1, 0]], dtype=np.float32),
        "b2": np.zeros(2, dtype=np.float32),
        "w3": np.zeros((2, 1), dtype=np.float32),
        "b3": np.array([7.0], dtype=np.float32),
    }
    return pack(
        nodes, constants, [("logits", TensorProto.FLOAT), ("value", TensorProto.FLOAT)], name="state", shape=(4,)
    )


def forces(content: bytes, *states) -> list[float]:
    return OnnxPolicy(content, "file").force(torch.tensor(states, dtype=torch.float32))[:, 0].tolist()


ORIGIN = (0.0, 0.0, 0.0, 0.0)


# Forms that work


def test_the_demos_kind_of_file_is_read_by_its_first_output():
    policy = OnnxPolicy(demo(), "demo.onnx")
    assert policy.num_values == 2
    states = torch.tensor([[[0.0, 0.0, 0.1, 0.2], [9.0, 9.0, -0.3, 0.2], [0.0, 0.0, 0.0, 0.0]]])
    torch.testing.assert_close(policy.values(states), torch.tensor([[[0.0, 0.2], [0.2, 0.0], [0.0, 0.0]]]))
    assert policy.greedy_action(states).tolist() == [[1, 0, 0]]
    assert policy.force(states).tolist() == [[[10.0], [-10.0], [-10.0]]]


@pytest.mark.parametrize("reshape", [False, True])
@pytest.mark.parametrize("shape", [(4,), ("n",), None])
def test_a_declared_length_a_named_one_and_none_are_the_same(shape, reshape):
    policy = OnnxPolicy(linear([[1], [2], [3], [4]], [0.5], shape, reshape=reshape), "file")
    states = torch.tensor([[0.1, 0.2, 0.3, 0.4], [-1.0, 0.0, 0.0, 0.5]])
    # 0.1 + 0.4 + 0.9 + 1.6 + 0.5 and -1 + 2 + 0.5
    torch.testing.assert_close(policy.values(states), torch.tensor([[3.5], [1.5]]))
    assert policy.values(states.view(2, 1, 1, 4)).shape == (2, 1, 1, 1)
    torch.testing.assert_close(policy.values(states[1]), torch.tensor([1.5]))


@pytest.mark.parametrize("content", [demo(), linear(np.eye(4, 2), [0, 0]), linear(np.eye(4, 2), [0, 0], (4,))])
def test_many_states_at_once_get_what_each_gets_alone(content):
    policy = OnnxPolicy(content, "file")
    states = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    alone = torch.stack([policy.values(state) for state in states])
    torch.testing.assert_close(policy.values(states), alone, rtol=1e-5, atol=1e-6)


def test_a_file_that_mixes_the_rows_of_a_batch_is_asked_for_one_at_a_time():
    # The mean over everything there is: over one state's 4 numbers, or over the whole batch.
    nodes = [
        helper.make_node("ReduceMean", ["observation"], ["mean"], keepdims=1),
        helper.make_node("Sub", ["observation", "mean"], ["centered"]),
        helper.make_node("MatMul", ["centered", "w"], ["out"]),
    ]
    weights = {"w": np.array([[1], [0], [0], [0]], dtype=np.float32)}
    policy = OnnxPolicy(pack(nodes, weights, [("out", TensorProto.FLOAT)]), "file")
    states = torch.tensor([[4.0, 0.0, 0.0, 0.0], [0.0, 8.0, 0.0, 0.0]])
    assert policy.values(states).tolist() == [[3.0], [-2.0]]


def test_a_scalar_output_is_a_force():
    node = helper.make_node("ReduceSum", ["observation"], ["out"], keepdims=0)
    assert forces(pack([node], {}, [("out", TensorProto.FLOAT)], shape=(4,)), (1, 2, 3, -4.5)) == [1.5]


def test_float64_observations_are_taken_as_float32():
    policy = OnnxPolicy(constant(1.0), "file")
    assert policy._session.run(np.zeros(4, dtype=np.float32)).tolist() == [1.0]
    assert policy.values(torch.zeros(3, 4)).dtype == torch.float32


def test_metadata_is_read():
    model = onnx.load_from_string(constant(1.0))
    helper.set_model_props(model, {"a": "b"})
    assert OnnxPolicy(model.SerializeToString(), "file").metadata == {"a": "b"}
    assert OnnxPolicy(constant(1.0), "file").metadata == {}


# What the values mean


@pytest.mark.parametrize(("value", "force"), [(3.5, 3.5), (-10, -10), (10.5, 10), (-1e30, -10), (0, 0)])
def test_one_value_is_a_force_clamped_to_ten_newtons(value, force):
    assert forces(constant(value), ORIGIN) == [force]
    action = OnnxPolicy(constant(value), "file").greedy_action(torch.zeros(1, 2, 4))
    assert action.tolist() == [[[force], [force]]]


@pytest.mark.parametrize(("values", "force", "action"), [((2, 1), -10, 0), ((1, 2), 10, 1), ((1, 1), -10, 0)])
def test_two_values_are_a_push_to_the_left_and_one_to_the_right_and_a_tie_goes_left(values, force, action):
    assert forces(constant(*values), ORIGIN) == [force]
    chosen = OnnxPolicy(constant(*values), "file").greedy_action(torch.zeros(1, 2, 4))
    assert chosen.tolist() == [[action, action]]
    assert not chosen.is_floating_point()


@pytest.mark.parametrize(("best", "force"), [(0, -10.0), (1, -5.0), (2, 0.0), (3, 5.0), (4, 10.0)])
def test_five_values_are_forces_on_an_even_grid(best, force):
    values = [0.0] * 5
    values[best] = 1.0
    assert forces(constant(*values), ORIGIN) == [force]
    assert OnnxPolicy(constant(*values), "file").greedy_action(torch.zeros(1, 1, 4)).tolist() == [[[force]]]


@pytest.mark.parametrize(("values", "force"), [((0, 0, 1), 10.0), ((0, 1, 0), 0.0), ((5, 5, 5), -10.0), ((0, 1, 1), 0)])
def test_three_values_are_left_nothing_right_and_a_tie_goes_to_the_first(values, force):
    assert forces(constant(*values), ORIGIN) == [force]


# Refused


def two_inputs() -> bytes:
    model = onnx.load_from_string(constant(1.0, 2.0))
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [4]))
    return model.SerializeToString()


def no_input() -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["out"])],
        "foreign",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(np.ones(1, dtype=np.float32), "c")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()


def input_of(kind: int) -> bytes:
    nodes = [helper.make_node("Cast", ["observation"], ["out"], to=TensorProto.FLOAT)]
    return pack(nodes, {}, [("out", TensorProto.FLOAT)], kind=kind)


def index_output() -> bytes:
    node = helper.make_node("ArgMax", ["observation"], ["out"], axis=-1)
    return pack([node], {}, [("out", TensorProto.INT64)])


def double_output() -> bytes:
    node = helper.make_node("Cast", ["observation"], ["out"], to=TensorProto.DOUBLE)
    return pack([node], {}, [("out", TensorProto.DOUBLE)])


def no_output_values() -> bytes:
    nodes = [helper.make_node("Slice", ["observation", "start", "end"], ["out"])]
    return pack(nodes, {"start": np.array([0]), "end": np.array([0])}, [("out", TensorProto.FLOAT)])


REFUSED = {
    "two inputs": (two_inputs(), "inputs are: observation.*more"),
    "no input": (no_input(), "inputs are: none"),
    "float64 input": (input_of(TensorProto.DOUBLE), r"tensor\(double\)"),
    "float16 input": (input_of(TensorProto.FLOAT16), r"tensor\(float16\)"),
    "declared [1, 4]": (linear(np.eye(4, 2), [0, 0], (1, 4)), r"shape \[4\]"),
    "declared [batch, 4]": (linear(np.eye(4, 2), [0, 0], ("batch", 4)), r"shape \[4\]"),
    "declared [5]": (linear(np.zeros((5, 2)), [0, 0], (5,)), r"shape \[4\]"),
    "takes 5 numbers": (linear(np.zeros((5, 2)), [0, 0]), r"shape \[4\]"),
    "an index": (index_output(), "first output"),
    "float64 output": (double_output(), "first output"),
    "no values": (no_output_values(), "first output"),
    "garbage": (b"\x00garbage" * 40, "not an ONNX file"),
    "text": (b"a text\n", "not an ONNX file"),
    "empty": (b"", "not an ONNX file"),
    "cut short": (constant(1.0)[:-40], "not an ONNX file"),
}


@pytest.mark.parametrize(("content", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_file_that_a_page_cannot_run_is_refused_in_one_line_that_names_it(capfd, content, reason):
    with pytest.raises(CartpoleError, match=reason) as caught:
        OnnxPolicy(content, "some.onnx")
    (line,) = caught.value.problems
    assert line.startswith("some.onnx: ")
    assert capfd.readouterr() == ("", "")  # onnxruntime keeps its own account of it to itself


def test_weights_in_a_side_file_are_refused(tmp_path):
    model = onnx.load_from_string(constant(1.0, 2.0))
    onnx.save_model(model, tmp_path / "x.onnx", save_as_external_data=True, location="x.onnx.data", size_threshold=0)
    with pytest.raises(CartpoleError, match="not an ONNX file that onnxruntime can load"):
        OnnxPolicy((tmp_path / "x.onnx").read_bytes(), "x.onnx")
