"""Policies with random weights, what torch says they do, and states to ask them about."""

import itertools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cartpole_cli.actions import FORCE, PUSHES, Continuous
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.policy.build import build_policy
from cartpole_cli.policy.network import Architecture, PolicyNetwork, StackedLinear
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import Recipe

FORCES = {"actions": FORCE}
KINDS = {"discrete": {"actions": PUSHES}, "clip": FORCES | {"squash": "clip"}, "tanh": FORCES | {"squash": "tanh"}}
LARGEST = float(np.finfo(np.float32).max)
EXTREMES = (LARGEST, -LARGEST, 3e38, -3e38, 1e6, -0.0, 1e-38, -1e-45)


def policy_of(
    kind: str, activation: str = "tanh", *, seed: int = 0, gain: float = 100.0, **other: Any
) -> PolicyNetwork:
    """Random weights and biases; the force reaches both ends of its range."""
    sizes = {"observation_size": 4, "hidden_sizes": (16, 16), "activation": activation, "value_network": True}
    return _shaken(PolicyNetwork(Architecture(**sizes | KINDS[kind] | other), Streams([seed], "cpu")), seed, gain)


def policy_of_recipe(recipe: Recipe) -> PolicyNetwork:
    """A recipe's network, untrained, whose outputs are as large as a trained one's."""
    actions = FORCE if recipe.environment.id.startswith("Continuous") else PUSHES
    streams = Streams([0], "cpu")
    policy = build_policy([recipe.policy], streams, observation_size=4, actions=actions, value_network=False)
    return _shaken(policy, 0, 100.0)


@torch.no_grad()
def _shaken(policy: PolicyNetwork, seed: int, gain: float) -> PolicyNetwork:
    generator = torch.Generator().manual_seed(seed)
    layers = [layer for layer in policy.torso if isinstance(layer, StackedLinear)]
    layers[-1].weight.mul_(gain)
    for layer in layers:
        layer.bias.copy_(torch.randn(layer.bias.shape, generator=generator) * 0.3)
    return policy


@torch.no_grad()
def by_torch(policy: PolicyNetwork, states: np.ndarray) -> np.ndarray:
    """The outputs that a file has to give."""
    distribution = policy.distribution(torch.from_numpy(states).unsqueeze(0))
    if not isinstance(policy.actions, Continuous):
        return distribution.logits[0].numpy()
    return policy.greedy_action(torch.from_numpy(states).unsqueeze(0))[0].numpy()


@torch.no_grad()
def visited(policy: PolicyNetwork) -> np.ndarray:
    judge = GymnasiumCartPole(Streams([9]), 20, policy.actions, max_episode_steps=60)
    states: list[Tensor] = []
    for _ in range(60):
        states.append(judge.observation[0])
        judge.step(policy.greedy_action(judge.observation))
    return torch.cat(states).numpy()


def ordinary() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(2000, 4)).astype(np.float32)


def extreme() -> np.ndarray:
    return np.array(list(itertools.product(EXTREMES, repeat=4)), dtype=np.float32)
