"""A cart-pole's policy as plain numbers: what files in other languages hold, and what these compute, in NumPy."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import DTypeLike, NDArray
from torch import Tensor, nn

from cartpole_cli.deploy.page_policy import OBSERVATION_SIZE, PagePolicy
from cartpole_cli.deploy.verify import Verification
from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.policy.action_heads import GaussianHead
from cartpole_cli.policy.features import FineFeatures, ScaledFeatures, TrigFeatures
from cartpole_cli.policy.network import OBSERVATION_LIMIT, PolicyNetwork, StackedLinear, Trunk

Activation = Literal["tanh", "relu"]
Squash = Literal["none", "clip", "tanh"]
ROWS_AT_ONCE = 200
"""As many as a processor's cache has room for."""


@dataclass(frozen=True, slots=True)
class Layers:
    """A policy with S = 1, all its numbers float32."""

    scale: tuple[float, ...]
    """What x, x_dot, theta and theta_dot are multiplied with; with `trig` x, x_dot and theta_dot."""
    trig: bool
    """Whether theta's sine and cosine come behind these, instead of theta."""
    magnification: tuple[float, ...]
    """With four numbers: behind these comes tanh of each of the first four times its number."""
    sizes: tuple[int, ...]
    """How many numbers go in, how many units each hidden layer has, how many numbers come out."""
    activation: Activation
    squash: Squash
    """What is done to the last layer's number: nothing to logits; a force is brought within -1 and 1."""
    center: float
    half_range: float
    """N: a force is center + half_range * what was squashed."""
    numbers: NDArray[np.float32]
    """Layer by layer, unit by unit: its bias, then its weights in the order of what it weighs."""

    @property
    def units(self) -> Iterator[NDArray[np.float32]]:
        """Each layer's part of the numbers, [units, 1 + inputs]."""
        start = 0
        for inputs, outputs in zip(self.sizes, self.sizes[1:], strict=False):
            end = start + outputs * (1 + inputs)
            yield self.numbers[start:end].reshape(outputs, 1 + inputs)
            start = end


def layers_of(policy: PolicyNetwork) -> Layers:
    """The numbers of a cart-pole's policy with S = 1."""
    return _layers_of(policy.torso, policy.head if isinstance(policy.head, GaussianHead) else None)


def value_layers_of(policy: PolicyNetwork) -> Layers | None:
    """Those of its value network, whose one output is V(observation); None if it has none, or sees the physics, too."""
    if policy.value_network is None or policy.architecture.value_extras:
        return None
    return _layers_of(policy.value_network, None)


def _layers_of(trunk: Trunk, force: GaussianHead | None) -> Layers:
    scale, trig, magnification = [1.0] * OBSERVATION_SIZE, False, []
    activation: Activation = "tanh"
    units: list[NDArray[Any]] = []
    for layer in trunk:
        match layer:
            case ScaledFeatures() | TrigFeatures():
                scale, trig = layer.scale.tolist(), isinstance(layer, TrigFeatures)
            case FineFeatures():
                scale, trig, magnification = layer.trig.scale.tolist(), True, layer.magnification.tolist()
            case StackedLinear():
                units.append(torch.cat([layer.bias[0], layer.weight[0]]).detach().T.cpu().numpy())
            case nn.Tanh() | nn.ReLU():
                activation = "tanh" if isinstance(layer, nn.Tanh) else "relu"
            case _:
                raise NotImplementedError(f"{type(layer).__name__}: a new kind of layer has to be written here, too")
    return Layers(
        scale=tuple(scale),
        trig=trig,
        magnification=tuple(magnification),
        sizes=(units[0].shape[1] - 1, *(layer.shape[0] for layer in units)),
        activation=activation,
        squash=force.squash if force else "none",
        center=force.center.item() if force else 0.0,
        half_range=force.half_range.item() if force else 1.0,
        numbers=np.concatenate([layer.reshape(-1) for layer in units]),
    )


class LayersPolicy(PagePolicy):
    """What a file computes that holds these numbers.

    Args:
        layers: read from the file.
        precision: of what is computed, float64 or float32; observations are float32.
    """

    def __init__(self, layers: Layers, precision: DTypeLike) -> None:
        self._layers, self._precision = layers, precision
        self._by_input = [np.ascontiguousarray(units.T, precision) for units in layers.units]
        self.num_values = layers.sizes[-1]

    def values(self, observation: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch V"]:
        """The outputs, each sum added up in the order in which the files do it."""
        rows = observation.reshape(-1, OBSERVATION_SIZE).cpu().numpy().astype(np.float32)
        parts = [self._outputs(rows[start : start + ROWS_AT_ONCE]) for start in range(0, len(rows), ROWS_AT_ONCE)]
        outputs = np.concatenate(parts) if parts else np.empty((0, self.num_values), self._precision)
        return torch.from_numpy(outputs).view(*observation.shape[:-1], -1).to(observation.device)

    def _outputs(self, rows: NDArray[np.float32]) -> NDArray[Any]:
        given = self._features(rows.clip(-OBSERVATION_LIMIT, OBSERVATION_LIMIT).astype(self._precision))
        for bias, *weights in self._by_input:
            sums = np.repeat(bias[None], len(rows), axis=0)
            product = np.empty_like(sums)
            for index, weight in enumerate(weights):
                sums += np.multiply(given[:, index, None], weight, out=product)
            given = np.tanh(sums) if self._layers.activation == "tanh" else np.maximum(sums, 0)
        return self._squashed(sums)

    def _features(self, state: NDArray[Any]) -> NDArray[Any]:
        scale = np.array(self._layers.scale, self._precision)
        theta = state[:, 2:3]
        parts = [state[:, [0, 1, 3]], np.sin(theta), np.cos(theta)] if self._layers.trig else [state]
        parts[0] = parts[0] * scale
        features = np.concatenate(parts, axis=1)
        magnification = np.array(self._layers.magnification, self._precision)
        return np.concatenate([features, np.tanh(features[:, : len(magnification)] * magnification)], axis=1)

    def _squashed(self, sums: NDArray[Any]) -> NDArray[Any]:
        if self._layers.squash == "none":
            return sums
        squashed = np.tanh(sums) if self._layers.squash == "tanh" else sums.clip(-1, 1)
        center, half_range = np.array([self._layers.center, self._layers.half_range], self._precision)
        force: NDArray[Any] = center + half_range * squashed
        return force


def let_out(
    write: Callable[[], str],
    read: Callable[[str], tuple[Layers, dict[str, Any]]],
    verification: Verification,
    info: dict[str, Any],
    precision: DTypeLike,
) -> str:
    """The text to write, if it reads back as the policy and the facts about it.

    Args:
        write: makes the text.
        read: reads what it holds and says; ValueError if it is no such text.
        verification: of the policy.
        info: what it has to say.
        precision: of what it computes.

    Raises:
        CartpoleError: it does not.
    """
    try:
        text = write()
        layers, told = read(text)
    except ValueError as error:
        raise CartpoleError(f"the exported file is wrong: {one_line(error)}; nothing written") from error
    if told != info:
        raise CartpoleError("the exported file is wrong: it describes another policy; nothing written")
    verification.check(LayersPolicy(layers, precision))
    return text
