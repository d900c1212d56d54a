"""Policy -> ONNX: the file's form, its numbers, and that a wrong file is never let out."""

import math
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from policies import KINDS, by_torch, extreme, ordinary, policy_of, visited

from cartpole_cli.actions import FORCE, PUSHES, Continuous, Discrete
from cartpole_cli.deploy import onnx_file, verify
from cartpole_cli.deploy.onnx_file import OnnxExport, export_onnx
from cartpole_cli.deploy.page_policy import PagePolicy
from cartpole_cli.deploy.verify import Verification
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.build import build_policy
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import load_recipe, shipped_recipes

EACH_KIND = pytest.mark.parametrize("kind", KINDS)
EACH_ACTIVATION = pytest.mark.parametrize("activation", ["tanh", "relu"])


def export(policy: PolicyNetwork, opset: int = 18, **metadata: str) -> OnnxExport:
    return export_onnx(Verification(policy), opset=opset, metadata=metadata)


@cache
def exported(kind: str, activation: str = "tanh") -> OnnxExport:
    """That of `policy_of`."""
    return export(policy_of(kind, activation))


def run(content: bytes, states: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"observation": states})
    return output


# Form


@EACH_KIND
@pytest.mark.parametrize("opset", [17, 18, 19, 20])
def test_the_file_is_of_the_form_that_pages_load(kind, opset):
    model = onnx.load_from_string(export(policy_of(kind), opset).model)
    assert model.ir_version <= 10
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", opset)]
    (given,) = model.graph.input
    assert given.name == "observation"
    assert given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert not given.type.tensor_type.HasField("shape")
    (output,) = model.graph.output
    assert output.name == ("logits" if kind == "discrete" else "force")
    assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert all(not tensor.external_data and tensor.HasField("raw_data") for tensor in model.graph.initializer)
    assert all(tensor.data_location == onnx.TensorProto.DEFAULT for tensor in model.graph.initializer)


@EACH_KIND
def test_the_checker_passes_once_the_input_has_a_shape_again(kind):
    model = onnx.load_from_string(exported(kind).model)
    observation = helper.make_tensor_value_info("observation", onnx.TensorProto.FLOAT, ["N", 4])
    model.graph.input[0].CopyFrom(observation)
    onnx.checker.check_model(model, full_check=True)


@EACH_KIND
def test_one_state_gives_one_row_and_n_states_give_n(kind):
    content, width = exported(kind).model, 2 if kind == "discrete" else 1
    states = ordinary()[:7]
    together = run(content, states)
    assert together.shape == (7, width)
    assert run(content, states[:1]).shape == (1, width)
    for state, row in zip(states, together, strict=True):
        alone = run(content, state)
        assert alone.shape == (1, width)
        np.testing.assert_allclose(alone[0], row, rtol=1e-5, atol=1e-5)


@EACH_KIND
def test_there_is_no_value_network_in_the_file(kind):
    model = onnx.load_from_string(exported(kind).model)
    sizes = [tuple(tensor.dims) for tensor in model.graph.initializer if len(tensor.dims) == 2]
    assert sizes == [(4, 16), (16, 16), (16, 2 if kind == "discrete" else 1)]


def test_metadata_is_kept_to_the_letter():
    metadata = {"algorithm": "ppo", "recipe": '[a]\nb = "ä \\ \'"\n', "empty": ""}
    model = onnx.load_from_string(export(policy_of("discrete"), **metadata).model)
    assert {entry.key: entry.value for entry in model.metadata_props} == metadata


def test_the_same_policy_gives_the_same_bytes_and_pairs():
    assert export(policy_of("tanh"), a="b") == export(policy_of("tanh"), a="b")


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_shipped_recipes_policy_fits_into_64_kib(name):
    recipe = load_recipe(shipped_recipes()[name])
    actions = FORCE if recipe.environment.id == "ContinuousCartPole-v1" else PUSHES
    streams = Streams([0], "cpu")
    policy = build_policy([recipe.policy], streams, observation_size=4, actions=actions, value_network=False)
    content = export(policy, recipe=recipe.to_toml()).model
    assert len(content) <= 64 * 1024


# Numbers


@EACH_ACTIVATION
@EACH_KIND
@pytest.mark.parametrize("states", [ordinary, extreme, visited], ids=lambda states: states.__name__)
def test_the_file_computes_what_torch_computes(kind, activation, states):
    policy = policy_of(kind, activation)
    rows = visited(policy) if states is visited else states()
    expected = by_torch(policy, rows)
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), np.abs(by_torch(policy, ordinary())).max())
    given = run(exported(kind, activation).model, rows)
    assert (np.abs(given - expected) / scale).max() <= 1e-5
    if kind == "discrete":
        clear = np.abs(expected[:, 0] - expected[:, 1]) > 2e-5 * scale[:, 0]
        assert clear.mean() > 0.9
        assert (given.argmax(axis=1) == expected.argmax(axis=1))[clear].all()


@EACH_ACTIVATION
@EACH_KIND
def test_the_output_is_finite_whatever_finite_state_it_is_given(kind, activation):
    given = run(exported(kind, activation).model, extreme())
    assert np.isfinite(given).all()
    if kind != "discrete":
        assert np.abs(given).max() <= 10.0


@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_a_force_reaches_ten_newtons_and_no_more(squash):
    forces = run(export(policy_of(squash, gain=400.0)).model, ordinary())
    assert forces.max() == pytest.approx(10.0, abs=0.1)
    assert forces.min() == pytest.approx(-10.0, abs=0.1)
    assert np.abs(forces).max() <= 10.0
    assert (np.abs(forces) < 9.0).any()


@pytest.mark.parametrize(("squash", "expected"), [("clip", 5.0), ("tanh", 10 * math.tanh(0.5))])
def test_a_force_is_squashed_and_then_scaled_to_newtons(squash, expected):
    policy = policy_of(squash)
    with torch.no_grad():
        policy.torso[-1].weight.zero_()
        policy.torso[-1].bias.fill_(0.5)
    assert run(export(policy).model, np.zeros(4, dtype=np.float32)).item() == pytest.approx(expected, rel=1e-6)


# A policy whose hidden units are large and cancel: its output is small beside what it is a sum of.
@pytest.mark.parametrize(
    ("kind", "seed"), [("discrete", 34), ("discrete", 51), ("clip", 4), ("clip", 10), ("tanh", 4), ("tanh", 10)]
)
def test_a_correct_file_is_let_out_however_the_policy_rounds(kind, seed):
    sizes = {"observation_size": 4, "hidden_sizes": (64, 64), "activation": "relu", "value_network": False}
    policy = PolicyNetwork(Architecture(**sizes, **KINDS[kind]), Streams([seed], "cpu"))
    export(policy)


# Golden pairs


@EACH_KIND
def test_the_golden_pairs_are_64_that_the_file_reproduces_one_by_one(kind):
    content = exported(kind)
    output = "logits" if kind == "discrete" else "force"
    assert list(content.golden) == ["observation", output]
    states, expected = (np.array(rows, dtype=np.float32) for rows in content.golden.values())
    assert states.shape == (64, 4)
    assert expected.shape == (64, 2 if kind == "discrete" else 1)
    session = onnxruntime.InferenceSession(content.model, providers=["CPUExecutionProvider"])
    given = np.concatenate([session.run([output], {"observation": state})[0] for state in states])
    np.testing.assert_allclose(given, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_the_golden_states_are_ordinary_extreme_and_visited_ones():
    states = np.abs(np.array(exported("discrete").golden["observation"]))
    assert np.isfinite(states).all()
    assert len(np.unique(states, axis=0)) == 64
    largest = states.max(axis=1)
    assert (largest > 1e6).sum() >= 8
    assert (largest < 5).sum() >= 32


# Mistakes of the builder


def _constants(model, change) -> None:
    """Change the floats of the first or last matrix or bias."""
    floats = [tensor for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT]
    tensor, changed = change(floats)
    tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))


def one_weight(model):
    def change(floats):
        tensor = next(tensor for tensor in floats if len(tensor.dims) == 2)
        array = numpy_helper.to_array(tensor).copy()
        array[2, 5] += 0.01
        return tensor, array

    _constants(model, change)


def shifted_bias(model):
    def change(floats):
        tensor = [tensor for tensor in floats if len(tensor.dims) == 1 and tensor.name in gemm_inputs(model)][-1]
        return tensor, numpy_helper.to_array(tensor) + 1e-3

    _constants(model, change)


def not_a_number(model):
    def change(floats):
        tensor = [tensor for tensor in floats if len(tensor.dims) == 2][-1]
        array = numpy_helper.to_array(tensor).copy()
        array[0, 0] = np.nan
        return tensor, array

    _constants(model, change)


def gemm_inputs(model) -> set[str]:
    return {name for node in model.graph.node if node.op_type == "Gemm" for name in node.input}


def negated(model):
    output = model.graph.output[0].name
    model.graph.node[-1].output[0] = "before"
    model.graph.node.append(helper.make_node("Neg", ["before"], [output]))


def other_activation(model):
    next(node for node in model.graph.node if node.op_type == "Tanh").op_type = "Softsign"


def no_limit_of_the_observation(model):
    clip = next(node for node in model.graph.node if node.op_type == "Clip")
    clip.CopyFrom(helper.make_node("Identity", clip.input[:1], clip.output))


def columns_in_another_order(model):
    def change(floats):
        tensor = next(tensor for tensor in floats if len(tensor.dims) == 2)
        return tensor, numpy_helper.to_array(tensor)[[0, 2, 1, 3]]

    _constants(model, change)


MISTAKES = [one_weight, shifted_bias, not_a_number, negated, other_activation, columns_in_another_order]


def export_with(monkeypatch, mistake, policy: PolicyNetwork) -> OnnxExport:
    build = onnx_file.build_model

    def wrong(*arguments):
        model = build(*arguments)
        mistake(model)
        return model

    monkeypatch.setattr(onnx_file, "build_model", wrong)
    return export(policy)


@EACH_KIND
@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.__name__)
def test_a_mistake_of_the_builder_is_caught(monkeypatch, kind, mistake):
    with pytest.raises(CartpoleError, match=r"its outputs are .* off; nothing written|not finite"):
        export_with(monkeypatch, mistake, policy_of(kind))


def test_an_unlimited_observation_is_caught(monkeypatch):
    with pytest.raises(CartpoleError, match="its outputs are"):
        export_with(monkeypatch, no_limit_of_the_observation, policy_of("discrete", "relu"))


def test_other_episodes_are_caught(monkeypatch):
    play = verify.play

    def longer_by_a_step(act, judge):
        returns = play(act, judge)
        return returns + 1 if isinstance(act.__self__, PagePolicy) else returns

    monkeypatch.setattr(verify, "play", longer_by_a_step)
    with pytest.raises(CartpoleError, match="episodes"):
        export(policy_of("discrete"))


# Other tasks


@pytest.mark.parametrize(
    "other",
    [
        {"observation_size": 6, "actions": Discrete(3)},
        {"observation_size": 6, "actions": PUSHES},
        {"observation_size": 4, "actions": Discrete(3)},
        {"observation_size": 4, "actions": Continuous((-1.0, -1.0), (1.0, 1.0))},
        {"observation_size": 3, "actions": Continuous((-2.0,), (2.0,))},
    ],
    ids=str,
)
def test_a_policy_of_another_task_is_refused(other):
    architecture = Architecture(hidden_sizes=(16,), activation="tanh", value_network=False, **other)
    with pytest.raises(CartpoleError, match="only a cart-pole's policy"):
        export(PolicyNetwork(architecture, Streams([0], "cpu")))
