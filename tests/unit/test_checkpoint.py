"""Checkpoints: what was saved comes back, and anything else is refused in one line."""

import hashlib
import io
import os
import pickle

import pytest
import torch

from cartpole_cli.actions import FORCE, PUSHES
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.runs.checkpoint import FORMAT_VERSION, load_checkpoint, load_policy, save_checkpoint

CPU = torch.device("cpu")
DISCRETE = Architecture(observation_size=4, hidden_sizes=(8, 6), activation="tanh", value_network=True, actions=PUSHES)
CONTINUOUS = Architecture(
    observation_size=4,
    hidden_sizes=(8,),
    activation="relu",
    value_network=False,
    actions=FORCE,
    squash="tanh",
)
BROKEN_ARCHITECTURES = {
    "other sizes": {"hidden_sizes": [8, 7]},
    "fewer layers": {"hidden_sizes": [8]},
    "no value network": {"value_network": False},
    "continuous": {"num_actions": None, "action_low": [-10.0], "action_high": [10.0]},
    "unknown activation": {"activation": "gelu"},
    "unknown field": {"dropout": 0.5},
    "no list": {"hidden_sizes": 8},
    "negative": {"hidden_sizes": [8, -6]},
    "no number": {"observation_size": "4"},
}


def policy_checkpoint(architecture: Architecture, seed: int = 5) -> tuple[PolicyNetwork, dict]:
    policy = PolicyNetwork(architecture, Streams([seed]))
    content = {"kind": "policy", "architecture": architecture.as_plain_data(), "policy": policy.seed_state(0)}
    return policy, content


def refused(path, load=lambda path: load_checkpoint(path, "policy")) -> str:
    with pytest.raises(CartpoleError) as caught:
        load(path)
    (line,) = caught.value.problems
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}: ")
    return line.removeprefix(f"{path}: ")


def load_as_policy(path):
    return load_policy(path, CPU)


def sign(payload: bytes, version: int = FORMAT_VERSION) -> bytes:
    return payload + f"\ncartpole-checkpoint {version} {hashlib.sha256(payload).hexdigest()}\n".encode()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "best.pth"


@pytest.fixture
def saved(path):
    save_checkpoint(path, policy_checkpoint(DISCRETE)[1])
    return path


def test_tensors_and_plain_data_come_back_as_they_were(path):
    content = {
        "kind": "training",
        "weights": {"a": torch.randn(3, 2), "b": torch.arange(4), "flag": torch.tensor([True, False])},
        "double": torch.rand(2, dtype=torch.float64),
        "counters": [1, 2**40],
        "best": float("-inf"),
        "text": "ü\n",
        "none": None,
    }
    save_checkpoint(path, content)
    loaded = load_checkpoint(path, "training")
    tensors = loaded.pop("weights"), loaded.pop("double")
    assert list(tensors[0]) == ["a", "b", "flag"]
    for name, tensor in content["weights"].items():
        assert tensors[0][name].dtype == tensor.dtype
        assert torch.equal(tensors[0][name], tensor)
    assert tensors[1].dtype == torch.float64
    assert torch.equal(tensors[1], content["double"])
    assert loaded == {key: value for key, value in content.items() if key not in {"weights", "double"}}


def test_torch_alone_opens_the_file(saved):
    content = torch.load(saved, weights_only=True)
    assert content.keys() == load_checkpoint(saved, "policy").keys()


@pytest.mark.parametrize("architecture", [DISCRETE, CONTINUOUS], ids=["discrete", "continuous"])
def test_a_loaded_policy_acts_as_the_one_that_was_saved(path, architecture):
    policy, content = policy_checkpoint(architecture)
    save_checkpoint(path, content)
    loaded = load_policy(path, CPU)
    observation = torch.randn(1, 200, 4)
    assert loaded.architecture == architecture
    assert loaded.num_seeds == 1
    assert torch.equal(loaded.greedy_action(observation), policy.greedy_action(observation))
    other = PolicyNetwork(architecture, Streams([6]))
    assert not torch.equal(loaded.greedy_action(observation), other.greedy_action(observation))


def test_one_seed_of_several_is_saved_alone(path):
    both = PolicyNetwork(DISCRETE, Streams([5, 6]))
    content = policy_checkpoint(DISCRETE)[1] | {"policy": both.seed_state(1)}
    save_checkpoint(path, content)
    solo = PolicyNetwork(DISCRETE, Streams([6]))
    loaded = load_policy(path, CPU)
    assert all(torch.equal(loaded.state_dict()[key], value) for key, value in solo.state_dict().items())


# Damage


@pytest.mark.parametrize("keep", [0.0, 0.001, 0.5, 0.999])
def test_a_file_cut_short_is_refused(saved, keep):
    data = saved.read_bytes()
    saved.write_bytes(data[: int(len(data) * keep)])
    assert "not a cartpole checkpoint" in refused(saved)


def test_a_file_without_its_last_byte_is_refused(saved):
    saved.write_bytes(saved.read_bytes()[:-1])
    assert "not a cartpole checkpoint" in refused(saved)


@pytest.mark.parametrize("where", [0, 0.1, 0.5, 0.9])
def test_a_flipped_bit_is_refused(saved, where):
    data = bytearray(saved.read_bytes())
    data[int(len(data) * where)] ^= 1
    saved.write_bytes(data)
    assert "damaged" in refused(saved)


def test_a_flipped_digit_of_the_hash_is_refused(saved):
    data = bytearray(saved.read_bytes())
    data[-2] = ord("1") if data[-2] == ord("0") else ord("0")
    saved.write_bytes(data)
    assert "damaged" in refused(saved)


def test_bytes_added_at_the_end_are_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"x")
    assert "not a cartpole checkpoint" in refused(saved)


@pytest.mark.parametrize("version", [0, FORMAT_VERSION + 1, 99])
def test_another_format_version_is_named(saved, version):
    payload = saved.read_bytes().rpartition(b"\ncartpole-checkpoint")[0]
    saved.write_bytes(sign(payload))
    assert load_checkpoint(saved, "policy")["kind"] == "policy"
    saved.write_bytes(sign(payload, version))
    line = refused(saved)
    assert f"format {version}" in line
    assert f"reads {FORMAT_VERSION}" in line


def test_a_file_of_torch_is_not_ours(path):
    torch.save({"kind": "policy"}, path)
    assert "not a cartpole checkpoint" in refused(path)


@pytest.mark.parametrize("data", [b"", b"hello\n", b"\0" * 10_000])
def test_something_else_is_refused(path, data):
    path.write_bytes(data)
    assert "not a cartpole checkpoint" in refused(path)


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x80\x02."])
def test_something_else_is_refused_though_its_hash_is_right(path, payload):
    path.write_bytes(sign(payload))
    assert "not a cartpole checkpoint" in refused(path)


def test_a_folder_and_a_missing_file_are_refused(tmp_path):
    assert "cannot be read" in refused(tmp_path)
    assert "cannot be read" in refused(tmp_path / "none.pth")


@pytest.mark.parametrize("content", [{}, {"kind": "training"}, ["kind"], torch.zeros(2)], ids=str)
def test_a_checkpoint_of_another_kind_is_refused(path, content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    path.write_bytes(sign(buffer.getvalue()))
    line = refused(path)
    assert "not a policy checkpoint" in line
    assert "best.pth" in line


def test_a_policy_is_not_training_state(saved):
    line = refused(saved, lambda path: load_checkpoint(path, "training"))
    assert "not a training checkpoint" in line
    assert "last.pth" in line


# Code in a checkpoint


class Touch:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("signed", [True, False])
def test_code_in_a_checkpoint_is_not_run(path, tmp_path, form, signed):
    trap = tmp_path / "trap"
    content = {"kind": "policy", "x": Touch(trap)}
    buffer = io.BytesIO()
    if form == "torch":
        torch.save(content, buffer)
    else:
        pickle.dump(content, buffer, protocol=2)
    path.write_bytes(sign(buffer.getvalue()) if signed else buffer.getvalue())
    line = refused(path)
    assert "not a cartpole checkpoint" in line
    assert "set to `False`" not in line  # torch's advice, which would run the code
    assert not trap.exists()


# Weights that do not fit


@pytest.mark.parametrize("change", BROKEN_ARCHITECTURES.values(), ids=BROKEN_ARCHITECTURES)
def test_weights_that_do_not_fit_the_architecture_are_refused(path, change):
    content = policy_checkpoint(DISCRETE)[1]
    content["architecture"] |= change
    save_checkpoint(path, content)
    assert "do not fit" in refused(path, load_as_policy)


@pytest.mark.parametrize("missing", ["architecture", "policy"])
@pytest.mark.parametrize("value", [..., None, [1], {}], ids=["absent", "none", "list", "empty"])
def test_a_policy_without_weights_or_architecture_is_refused(path, missing, value):
    content = policy_checkpoint(DISCRETE)[1]
    del content[missing]
    save_checkpoint(path, content if value is ... else content | {missing: value})
    refused(path, load_as_policy)


def test_a_tensor_of_another_shape_is_refused(path):
    content = policy_checkpoint(DISCRETE)[1]
    name = next(iter(content["policy"]))
    content["policy"][name] = content["policy"][name][..., :-1]
    save_checkpoint(path, content)
    refused(path, load_as_policy)


def test_a_checkpoint_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(CartpoleError, match="cannot be written") as caught:
        save_checkpoint(tmp_path / "none" / "none" / "best.pth", {})
    assert len(caught.value.problems) == 1
