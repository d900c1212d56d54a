"""Policy -> one ONNX file that a web page runs as it is: let out if it does what the policy does."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cartpole_cli.actions import FORCE, PUSHES, Continuous, drives_cart_pole
from cartpole_cli.deploy.graph import build_model
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.action_heads import Categorical, GaussianHead
from cartpole_cli.policy.network import OBSERVATION_LIMIT, PolicyNetwork, StackedLinear
from cartpole_cli.randomness import Streams
from cartpole_cli.training.evaluation import play

NUM_STATES = 10_000
NUM_GOLDEN = 64
NUM_ORDINARY = 3000
NUM_EPISODES = 20
EPISODE_STEPS = 500
TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Export:
    """A verified file's content, and pairs of observations and outputs to test other runtimes with."""

    model: bytes
    golden: dict[str, list[list[float]]]


def export_policy(policy: PolicyNetwork, *, opset: int, metadata: Mapping[str, str]) -> Export:
    """The file of a policy with S = 1; `build_model` says what it takes and gives.

    Raises:
        CartpoleError: it is no cart-pole policy, or what was built does not do what the policy does.
    """
    if not drives_cart_pole(policy.observation_size, policy.actions):
        raise CartpoleError("only a cart-pole's policy can be exported: 4 observations, and 2 actions or one force")
    model = build_model(policy, opset, metadata)
    content = model.SerializeToString()
    exported = OnnxPolicy(content, "the exported file")
    states = _states(policy)
    _verify(policy, exported, states)
    golden = states[torch.linspace(0, NUM_STATES - 1, NUM_GOLDEN).long()]
    outputs = exported.values(golden)
    return Export(content, {"observation": golden.tolist(), model.graph.output[0].name: outputs.tolist()})


@torch.no_grad()
def _states(policy: PolicyNetwork) -> Float[Tensor, "N 4"]:
    """10,000 states: of poles that stand and of any, ones of every magnitude a float32 has, and ones it visits."""
    streams = Streams([0], "cpu", name="export")
    ordinary = streams.normal("ordinary", shape=(NUM_ORDINARY, 4))[0]
    ordinary[::2, 2] *= 0.1
    ordinary[1::2] *= 3.0
    sign = streams.uniform("sign", shape=(2000, 4))[0] - 0.5
    exponent = streams.uniform("exponent", shape=(2000, 4))[0] * 76 - 38
    extreme = (sign.sign().double() * 10.0 ** exponent.double()).float()
    environment = _judge(policy, 100)
    visited = []
    for _ in range(50):
        visited.append(environment.observation[0])
        environment.step(policy.greedy_action(environment.observation))
    return torch.cat([ordinary, extreme, *visited])


def _judge(policy: PolicyNetwork, num_episodes: int) -> GymnasiumCartPole:
    streams = Streams([0], "cpu", name="export/episodes")
    actions = FORCE if isinstance(policy.actions, Continuous) else PUSHES
    return GymnasiumCartPole(streams, num_episodes, actions, max_episode_steps=EPISODE_STEPS)


@torch.no_grad()
def _verify(policy: PolicyNetwork, exported: OnnxPolicy, states: Float[Tensor, "N 4"]) -> None:
    """Same outputs, same greedy actions, same episodes: or CartpoleError."""
    expected, given = _outputs(policy, states), exported.values(states)
    scale = _scale(policy, states)
    error = ((given - expected).abs() / scale).max().item()
    if not error <= TOLERANCE:  # nan, too
        raise CartpoleError(
            f"the exported file is wrong: its outputs are {error:.1e} of their scale off; nothing written"
        )
    if expected.shape[1] == 2:
        clear = (expected[:, 0] - expected[:, 1]).abs() > TOLERANCE * scale[:, 0]
        if not torch.equal(given.argmax(dim=1)[clear], expected.argmax(dim=1)[clear]):
            raise CartpoleError("the exported file is wrong: it takes other actions; nothing written")
    returns = [play(each.greedy_action, _judge(policy, NUM_EPISODES)) for each in (policy, exported)]
    if not torch.equal(*returns):
        raise CartpoleError("the exported file is wrong: its episodes have other returns; nothing written")


def _scale(policy: PolicyNetwork, states: Float[Tensor, "N 4"]) -> Float[Tensor, "N 1"]:
    """How large the numbers are that the last layer adds up: rounding is relative to these, however they cancel."""
    *hidden_layers, last = policy.torso
    assert isinstance(last, StackedLinear)
    hidden = nn.Sequential(*hidden_layers)(states.unsqueeze(0).clamp(-OBSERVATION_LIMIT, OBSERVATION_LIMIT))
    scale = torch.baddbmm(last.bias.abs(), hidden.abs(), last.weight.abs())[0].amax(dim=1, keepdim=True)
    if isinstance(policy.head, GaussianHead):
        scale = scale * policy.head.half_range
    return scale.clamp(min=max(scale[:NUM_ORDINARY].max().item(), 1e-30))


def _outputs(policy: PolicyNetwork, states: Float[Tensor, "N 4"]) -> Float[Tensor, "N V"]:
    distribution = policy.distribution(states.unsqueeze(0))
    if isinstance(distribution, Categorical):
        return distribution.logits[0]
    return policy.environment_action(distribution.mode())[0]
