"""Policies as the page computes them: the data of the exported JavaScript, verified like an export."""

import base64
import json
from typing import Any

import numpy as np

from cartpole_cli.deploy.javascript import TEMPLATE, export_javascript, numbers_of
from cartpole_cli.deploy.layers import layers_of, value_layers_of
from cartpole_cli.deploy.template import data_of
from cartpole_cli.deploy.verify import Verification
from cartpole_cli.policy.action_heads import LOG_STD_RANGE, GaussianHead
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.runs.history import History


def network_of(policy: PolicyNetwork) -> dict[str, Any]:
    """A policy (S = 1) as the page's data: what is exported of it, its value network, and how it samples.

    Raises:
        CartpoleError: it is no cart-pole policy, or what is exported does something else.
    """
    text = export_javascript(Verification(policy), {})
    value = value_layers_of(policy)
    return {
        "export": json.loads(data_of(TEMPLATE, text)["POLICY"]),
        "value": None if value is None else numbers_of(value),
        "log_std": log_std_of(policy),
    }


def log_std_of(policy: PolicyNetwork) -> float | None:
    """The logarithm of the standard deviation, in units of half the range of forces; None of two pushes."""
    if not isinstance(policy.head, GaussianHead):
        return None
    return float(policy.head.log_std.detach().clamp(*LOG_STD_RANGE).item())


def frames_of(history: History) -> list[dict[str, Any]]:
    """The moments of a training, first to last."""
    frames = []
    for place, moment in enumerate(history.moments):
        policy = history.policy(place)
        halves = layers_of(policy).numbers.astype("<f2").tobytes()
        frames.append(
            {
                "iteration": moment.iteration,
                "env_steps": moment.env_steps,
                "mean_return": moment.mean_return,
                "log_std": log_std_of(policy),
                "halves": base64.b64encode(halves).decode(),
            }
        )
    return frames


def base64_of(numbers: "np.typing.NDArray[np.float32]") -> str:
    """float32, little endian."""
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()
