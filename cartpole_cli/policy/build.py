"""Recipe -> policy network; and what a checkpoint says of one, held to the limits of a recipe."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from pydantic import ValidationError

from cartpole_cli.actions import Actions, Continuous
from cartpole_cli.errors import CartpoleError
from cartpole_cli.memory import memory_of
from cartpole_cli.policy.features import FEATURES
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.sections import PolicyRecipe

BYTES_PER_WEIGHT = 16
"""A float32, its gradient and Adam's two moments."""
MAX_SIZE = 2**24
"""Of observations and actions."""


def build_policy(
    recipes: Sequence[PolicyRecipe],
    streams: Streams,
    *,
    observation_size: int,
    actions: Actions,
    value_network: bool,
    value_extras: int = 0,
) -> PolicyNetwork:
    """The network a recipe describes, for an environment's sizes.

    Args:
        recipes: of each member; only numbers may differ.
        streams: seeds of the initial weights, one network each.
        observation_size: O.
        actions: the environment's.
        value_network: whether the algorithm learns a value function.
        value_extras: numbers that follow an observation, and that only the value network sees.

    Raises:
        CartpoleError: the recipe's action head does not fit the environment's actions, or the network the memory.
    """
    recipe = recipes[0]
    fitting = "gaussian" if isinstance(actions, Continuous) else "categorical"
    if recipe.action_head not in {"auto", fitting}:
        raise CartpoleError(
            f"policy.action_head = {recipe.action_head!r}: does not fit the environment's actions; "
            f"allowed: 'auto', {fitting!r}"
        )
    architecture = Architecture(
        observation_size=observation_size,
        hidden_sizes=recipe.hidden_sizes,
        activation=recipe.activation,
        value_network=value_network,
        actions=actions,
        squash=recipe.squash,
        features=recipe.features,
        value_extras=value_extras,
    )
    _check_fits(num_weights(architecture), streams)
    initial_log_std = torch.tensor([each.initial_log_std for each in recipes], device=streams.device)
    return PolicyNetwork(architecture, streams, initial_log_std=initial_log_std)


def _check_fits(num_weights: int, streams: Streams) -> None:
    """Raises CartpoleError if the device has no memory for the weights of all seeds."""
    num_seeds, memory = len(streams.seeds), memory_of(streams.device)
    needed = BYTES_PER_WEIGHT * num_weights * num_seeds
    if memory is not None and needed > memory:
        seeds = f" x {num_seeds:,} seeds" if num_seeds > 1 else ""
        raise CartpoleError(
            f"policy.hidden_sizes: {num_weights:,} weights{seeds} take {needed / 2**30:,.0f} GiB at least, and "
            f"{streams.device.type} has {memory / 2**30:,.0f}; allowed: smaller layers or fewer seeds"
        )


def read_architecture(data: dict[str, Any]) -> Architecture:
    """An architecture as a checkpoint holds it.

    Raises:
        ValueError, TypeError, KeyError or AttributeError: it is none, or one that no recipe describes.
    """
    architecture = Architecture.from_plain_data(data)
    described = PolicyRecipe.model_fields.keys() & data.keys()
    try:
        PolicyRecipe.model_validate({name: data[name] for name in described})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    actions, sizes = architecture.actions, (architecture.observation_size, architecture.actions.size)
    extras = architecture.value_extras
    if type(extras) is not int or not 0 <= extras <= MAX_SIZE:
        raise ValueError(f"{extras} numbers more for the value network; allowed: from 0 to {MAX_SIZE}")
    if not all(type(size) is int and 1 <= size <= MAX_SIZE for size in sizes):
        raise ValueError(f"{list(sizes)} observations and actions; allowed: from 1 to {MAX_SIZE}")
    if isinstance(actions, Continuous):
        low, high = actions.low, actions.high
        if len(low) != len(high) or not all(map(math.isfinite, low + high)):
            raise ValueError("no range of actions")
    return architecture


def num_weights(architecture: Architecture) -> int:
    """How many numbers the layers of the network have, less biases."""
    raw, features = architecture.observation_size, architecture.features
    observed = raw if features == "raw" else FEATURES[features].num_features
    widths = (observed, *architecture.hidden_sizes)
    num_trunks = 2 if architecture.value_network else 1
    hidden = sum(inputs * size for inputs, size in itertools.pairwise(widths))
    extras = architecture.value_extras * widths[1]
    return num_trunks * hidden + extras + widths[-1] * architecture.actions.size
