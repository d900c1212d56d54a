"""What the network sees of an observation: worked out by hand, and once more in the export."""

import math

import pytest
import torch

from cartpole_cli.actions import PUSHES
from cartpole_cli.deploy.onnx_file import export_onnx
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.deploy.verify import Verification
from cartpole_cli.policy.features import build_features
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams

pytestmark = pytest.mark.shapes

CPU = torch.device("cpu")
OBSERVATION = [0.5, -1.0, math.pi / 6, 1.5]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("scaled", [0.5, -1.0, 10 * math.pi / 6, 1.5]),
        ("trig", [0.2, -0.5, 0.5, 0.5, math.sqrt(3) / 2]),
        ("fine", [0.2, -0.5, 0.5, 0.5, math.sqrt(3) / 2, *map(math.tanh, (0.5, -1.0, 1.0, 2.0))]),
    ],
)
def test_the_features_of_an_observation(name, expected):
    features = build_features(name, CPU)
    seen = features(torch.tensor(OBSERVATION).expand(3, 2, 4))
    assert seen.shape == (3, 2, features.num_features)
    torch.testing.assert_close(seen, torch.tensor(expected).expand_as(seen))


def test_whole_turns_make_no_difference_to_sine_and_cosine():
    features = build_features("trig", CPU)
    turned = torch.tensor([[[0.5, -1.0, OBSERVATION[2] + 2 * math.pi, 1.5]]])
    torch.testing.assert_close(features(turned), features(torch.tensor([[OBSERVATION]])))


def network(features: str, hidden_sizes: tuple[int, ...] = (16,)) -> PolicyNetwork:
    architecture = Architecture(
        observation_size=4,
        hidden_sizes=hidden_sizes,
        activation="tanh",
        value_network=False,
        actions=PUSHES,
        features=features,
    )
    return PolicyNetwork(architecture, Streams([3]))


def test_a_scaled_network_sees_ten_times_the_angle():
    scaled, raw = network("scaled"), network("raw")
    observation = torch.tensor([[OBSERVATION]])
    torch.testing.assert_close(
        scaled.distribution(observation).logits,
        raw.distribution(observation * torch.tensor([1.0, 1.0, 10.0, 1.0])).logits,
    )


@pytest.mark.parametrize("features", ["raw", "scaled", "trig", "fine"])
def test_the_export_takes_raw_observations(features):
    policy = network(features)
    file = OnnxPolicy(export_onnx(Verification(policy), opset=18, metadata={}).model, "policy.onnx")
    observation = torch.randn(50, 4)
    expected = policy.distribution(observation.unsqueeze(0)).logits.squeeze(0)
    torch.testing.assert_close(file.values(observation), expected, rtol=1e-4, atol=1e-5)
