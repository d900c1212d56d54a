"""Policy -> one ES module without dependencies, read back and let out if it does what the policy does.

The code is that of `templates/policy.mjs`, the data two lines of JSON. It adds up in float64.
"""

import base64
import json
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cartpole_cli.deploy.layers import Layers, layers_of, let_out
from cartpole_cli.deploy.template import LIMITS, ascii_json, data_of, fill
from cartpole_cli.deploy.verify import Verification

TEMPLATE = "policy.mjs"


def export_javascript(verification: Verification, info: dict[str, Any]) -> str:
    """The module of the policy verified against.

    Raises:
        CartpoleError: what was written does not do what the policy does.
    """
    layers, golden = layers_of(verification.policy), verification.golden_rows.numpy()
    return let_out(partial(_written, layers, golden, info), read_javascript, verification, info, np.float64)


def read_javascript(text: str) -> tuple[Layers, dict[str, Any]]:
    """What a module holds, and what it says of the policy.

    Raises:
        ValueError: it is none of ours.
    """
    data = data_of(TEMPLATE, text)
    policy = json.loads(data["POLICY"])
    layers = Layers(
        scale=tuple(policy["scale"]),
        trig=policy["trig"],
        magnification=tuple(policy["magnification"]),
        sizes=tuple(policy["sizes"]),
        activation=policy["activation"],
        squash=policy["squash"],
        center=policy["center"],
        half_range=policy["halfRange"],
        numbers=np.frombuffer(base64.b64decode(policy["numbers"], validate=True), "<f4"),
    )
    return layers, json.loads(data["INFO"])


def numbers_of(layers: Layers) -> dict[str, Any]:
    """What the code is given to compute: plain data; the numbers are base64 of float32, little endian."""
    return {
        "scale": layers.scale,
        "trig": layers.trig,
        "magnification": layers.magnification,
        "sizes": layers.sizes,
        "activation": layers.activation,
        "squash": layers.squash,
        "center": layers.center,
        "halfRange": layers.half_range,
        "numbers": _base64(layers.numbers),
    }


def _written(layers: Layers, golden: NDArray[np.float32], info: dict[str, Any]) -> str:
    policy = numbers_of(layers) | {"golden": _base64(golden)}
    limits = {name: f"{limit:g}" for name, limit in LIMITS.items()}
    return fill(TEMPLATE, limits | {"POLICY": ascii_json(policy), "INFO": ascii_json(info)})


def _base64(numbers: NDArray[np.float32]) -> str:
    return base64.b64encode(numbers.astype("<f4").tobytes()).decode()
