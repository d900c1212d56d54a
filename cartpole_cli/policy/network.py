"""The one network all algorithms share: S policies (and value functions) as stacked parameters."""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, fields
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cartpole_cli.actions import Actions, Continuous, Discrete
from cartpole_cli.policy.action_heads import CategoricalHead, Distribution, GaussianHead
from cartpole_cli.policy.features import build_features
from cartpole_cli.randomness import Streams

OBSERVATION_LIMIT = 1e6
"""What the policy sees of larger numbers: so that its outputs are finite for every finite observation."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything that fixes a network's shape and meaning, saved in every checkpoint as plain data."""

    observation_size: int
    hidden_sizes: tuple[int, ...]
    activation: Literal["tanh", "relu"]
    value_network: bool
    actions: Actions
    squash: Literal["clip", "tanh"] = "clip"
    features: Literal["raw", "scaled", "trig", "fine"] = "raw"
    value_extras: int = 0
    """How many numbers follow an observation, which only the value network sees."""

    def as_plain_data(self) -> dict[str, Any]:
        """Of actions, discrete ones are saved as `num_actions`, continuous ones as `action_low` and `action_high`."""
        actions = self.actions
        n, low, high = (actions.n, (), ()) if isinstance(actions, Discrete) else (None, actions.low, actions.high)
        saved = {"num_actions": n, "action_low": low, "action_high": high}
        data = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "actions"} | saved
        return {key: list(v) if isinstance(v, tuple) else v for key, v in data.items()}

    @classmethod
    def from_plain_data(cls, data: dict[str, Any]) -> "Architecture":
        """The architecture that was saved so.

        Raises:
            TypeError or KeyError: it was not.
        """
        given: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in data.items()}
        given.pop("initial_log_std", None)  # said by files from when it was the same for all members
        n, low, high = (given.pop(key) for key in ("num_actions", "action_low", "action_high"))
        return cls(actions=Continuous(low, high) if n is None else Discrete(n), **given)


class StackedLinear(nn.Module):
    """S linear layers applied to S batches at once. Initialization: orthogonal (Saxe et al. 2014), zero bias.

    A seed gets the bits of its solo run (CPU, one thread) where the widths are multiples of 16; others are a matter
    of how the batched matrix product meets the registers.
    """

    def __init__(self, streams: Streams, name: str, inputs: int, outputs: int, *, gain: float) -> None:
        super().__init__()
        noise = streams.normal(name, shape=(max(inputs, outputs), min(inputs, outputs))).cpu()
        weight = torch.stack([_orthogonal(block) for block in noise])
        if inputs < outputs:
            weight = weight.transpose(1, 2)
        self.weight = nn.Parameter((gain * weight).contiguous().to(streams.device))
        self.bias = nn.Parameter(torch.zeros(len(streams.seeds), 1, outputs, device=streams.device))

    def forward(self, x: Float[Tensor, "S B inputs"]) -> Float[Tensor, "S B outputs"]:
        weight, bias = self.weight, self.bias
        # With one output a product and a sum: baddbmm's bits would depend on S there.
        if weight.shape[2] == 1:
            return (x * weight.transpose(1, 2)).sum(dim=-1, keepdim=True) + bias
        return torch.baddbmm(bias, x, weight)


class Trunk(nn.Sequential):
    """Layers one after the other, without the hooks of `nn.Module`, which cost more than a layer of this size."""

    def forward(self, x: Float[Tensor, "S B O"]) -> Float[Tensor, "S B outputs"]:
        for layer in self:
            x = layer.forward(x)
        return x


class PolicyNetwork(nn.Module):
    """Observation -> torso (features and layers) -> action head, and beside it a value network with a trunk of its own.

    Args:
        architecture: sizes and meaning.
        streams: one seed per stacked network; initial weights come from the stream "initialization".
        initial_log_std: of a Gaussian head, in units of half the action range; default: 0.
    """

    def __init__(
        self, architecture: Architecture, streams: Streams, *, initial_log_std: Float[Tensor, "S"] | None = None
    ) -> None:
        super().__init__()
        self.architecture = architecture
        self.num_seeds = len(streams.seeds)
        if initial_log_std is None:
            initial_log_std = torch.zeros(self.num_seeds, device=streams.device)
        self.head = _build_head(architecture, initial_log_std)
        initialization = streams.named("initialization")
        self.torso = _trunk(architecture, initialization.named("policy"), self.head.num_outputs, 0.01)
        self.value_network = None
        if architecture.value_network:
            extras = architecture.value_extras
            self.value_network = _trunk(architecture, initialization.named("value"), 1, 1.0, extras)

    @property
    def observation_size(self) -> int:
        return self.architecture.observation_size

    @property
    def actions(self) -> Actions:
        return self.architecture.actions

    def distribution(self, observation: Float[Tensor, "S B O"]) -> Distribution:
        if self.architecture.value_extras:
            observation = observation[..., : self.observation_size]
        outputs = self.torso.forward(observation.clamp(-OBSERVATION_LIMIT, OBSERVATION_LIMIT))
        distribution: Distribution = self.head.forward(outputs)
        return distribution

    def value(self, observation: Float[Tensor, "S B O"]) -> Float[Tensor, "S B"]:
        """V(observation); only with `value_network`."""
        assert self.value_network is not None
        return self.value_network.forward(observation).squeeze(-1)

    def greedy_action(self, observation: Float[Tensor, "S B O"]) -> Tensor:
        """The environment action of the distribution's mode: the rule that is deployed."""
        return self.environment_action(self.distribution(observation).mode())

    def environment_action(self, action: Tensor) -> Tensor:
        """The action an environment takes for a raw action: an index, or newtons."""
        in_units: Tensor = self.head.environment_action(action)
        return in_units

    def project(self, moved: Bool[Tensor, "S"]) -> None:
        """After an optimizer's step: put what the seeds that moved may not leave back into its range."""
        if isinstance(self.head, GaussianHead):
            self.head.project(moved)

    def action_noise(self, streams: Streams, shape: Sequence[int], *counters: int) -> Tensor:
        """Noise for `Distribution.sample`, [S, *shape] or [S, *shape, A]."""
        if isinstance(self.head, CategoricalHead):
            return streams.uniform("actions", *counters, shape=shape)
        return streams.normal("actions", *counters, shape=(*shape, self.head.num_outputs))

    @classmethod
    def stack(cls, policies: Sequence["PolicyNetwork"]) -> "PolicyNetwork":
        """The seeds of several networks of one architecture as one network."""
        stacked = deepcopy(policies[0])
        stacked.num_seeds = sum(policy.num_seeds for policy in policies)
        parts = zip(*(policy.parameters() for policy in policies), strict=True)
        for parameter, of_each in zip(stacked.parameters(), parts, strict=True):
            parameter.data = torch.cat([part.data for part in of_each])
        return stacked

    def select(self, indices: Sequence[int]) -> "PolicyNetwork":
        """A copy that holds some of the seeds, by their places among these."""
        chosen = deepcopy(self)
        chosen.keep_seeds(indices)
        return chosen

    def keep_seeds(self, indices: Sequence[int]) -> None:
        """Go on with some of the seeds, by their places among these; an optimizer of these parameters has to follow."""
        for parameter in self.parameters():
            parameter.data = parameter.data[list(indices)]
        self.num_seeds = len(indices)

    def seed_state(self, index: int) -> dict[str, Tensor]:
        """The parameters of one seed, as a network with S = 1 loads them."""
        return {
            key: value[index : index + 1].clone(memory_format=torch.contiguous_format)
            for key, value in self.state_dict().items()
        }


def _build_head(architecture: Architecture, initial_log_std: Float[Tensor, "S"]) -> CategoricalHead | GaussianHead:
    actions = architecture.actions
    if isinstance(actions, Discrete):
        return CategoricalHead(actions.n)
    return GaussianHead(actions, initial_log_std=initial_log_std, squash=architecture.squash)


class Beside(nn.Module):
    """A layer for the first O numbers; the rest goes by it, and follows what it makes of them."""

    def __init__(self, layer: nn.Module, observation_size: int) -> None:
        super().__init__()
        self.layer, self.observation_size = layer, observation_size

    def forward(self, x: Float[Tensor, "S B wide"]) -> Float[Tensor, "S B features"]:
        return torch.cat([self.layer.forward(x[..., : self.observation_size]), x[..., self.observation_size :]], dim=-1)


def _trunk(
    architecture: Architecture, streams: Streams, outputs: int, output_gain: float, num_extras: int = 0
) -> Trunk:
    activation = {"tanh": nn.Tanh, "relu": nn.ReLU}[architecture.activation]
    layers: list[nn.Module] = []
    inputs = architecture.observation_size
    if architecture.features != "raw":
        features = build_features(architecture.features, streams.device)
        layers, inputs = [features], features.num_features
        if num_extras:
            layers = [Beside(features, architecture.observation_size)]
    inputs += num_extras
    for index, size in enumerate(architecture.hidden_sizes):
        layers += [StackedLinear(streams, f"layer{index}", inputs, size, gain=math.sqrt(2)), activation()]
        inputs = size
    return Trunk(*layers, StackedLinear(streams, "output", inputs, outputs, gain=output_gain))


def _orthogonal(noise: Float[Tensor, "rows columns"]) -> Float[Tensor, "rows columns"]:
    """Orthonormal columns, uniformly distributed: the sign makes the QR decomposition unique."""
    q: Tensor
    r: Tensor
    q, r = torch.linalg.qr(noise)
    return q * r.diagonal().sign()
