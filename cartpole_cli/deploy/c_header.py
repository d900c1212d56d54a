"""Policy -> one C99 header, read back and let out if it does what the policy does.

The code is that of `templates/policy.h`, the data numbers with nine significant digits, enough to name a float32, and
one string. It adds up in float32, which microcontrollers have units for.
"""

import json
import re
from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from cartpole_cli.deploy.layers import Activation, Layers, Squash, layers_of, let_out
from cartpole_cli.deploy.template import LIMITS, ascii_json, data_of, fill
from cartpole_cli.deploy.verify import Verification

TEMPLATE = "policy.h"
ACTIVATIONS: tuple[Activation, ...] = ("relu", "tanh")
SQUASHES: tuple[Squash, ...] = ("none", "clip", "tanh")
PER_LINE = 8
ESCAPED = re.compile(r'[\\"?]')
"""A string's end, its escapes, and what two question marks would begin."""


def export_c(verification: Verification, info: dict[str, Any], control_hz: float) -> str:
    """The header of the policy verified against; `control_hz`: how often it is to be asked, 1/s.

    Raises:
        CartpoleError: what was written does not do what the policy does.
    """
    layers, golden = layers_of(verification.policy), verification.golden_rows.tolist()
    return let_out(partial(_written, layers, golden, info, control_hz), read_c, verification, info, np.float32)


def read_c(text: str) -> tuple[Layers, dict[str, Any]]:
    """What a header holds, and what it says of the policy.

    Raises:
        ValueError: it is none of ours.
    """
    data = data_of(TEMPLATE, text)
    layers = Layers(
        scale=tuple(_floats(data["SCALE"])),
        trig=bool(int(data["TRIG"])),
        magnification=tuple(_floats(data["MAGNIFICATION"])),
        sizes=tuple(map(int, data["SIZES"].split(","))),
        activation=ACTIVATIONS[int(data["TANH"])],
        squash=SQUASHES[int(data["SQUASH"])],
        center=_floats(data["CENTER"])[0],
        half_range=_floats(data["HALF_RANGE"])[0],
        numbers=np.array(_floats(data["NUMBERS"]), np.float32),
    )
    return layers, json.loads(re.sub(r"\\(.)", r"\1", data["INFO"][1:-1]))


def _written(layers: Layers, golden: list[list[float]], info: dict[str, Any], control_hz: float) -> str:
    numbers = {
        "CONTROL_HZ": control_hz,
        "CENTER": layers.center,
        "HALF_RANGE": layers.half_range,
        **LIMITS,
    }
    counts = {
        "OUTPUTS": layers.sizes[-1],
        "TRIG": int(layers.trig),
        "MAGNIFIED": len(layers.magnification),
        "TANH": ACTIVATIONS.index(layers.activation),
        "SQUASH": SQUASHES.index(layers.squash),
        "LAYERS": len(layers.sizes) - 1,
        "WIDTH": max(layers.sizes),
        "PAIRS": len(golden),
    }
    texts = {
        "SIZES": ", ".join(map(str, layers.sizes)),
        "SCALE": ", ".join(map(_literal, layers.scale)),
        "MAGNIFICATION": ", ".join(map(_literal, layers.magnification)),
        "NUMBERS": _lines(layers.numbers.tolist()),
        "GOLDEN": _lines(number for row in golden for number in row),
        "INFO": '"' + ESCAPED.sub(r"\\\g<0>", ascii_json(info)) + '"',
    }
    written = {name: _literal(number) for name, number in numbers.items()}
    return fill(TEMPLATE, written | {name: str(number) for name, number in counts.items()} | texts)


def _literal(number: float) -> str:
    """A float32, so that it is read back as the same."""
    digits = f"{number:.9g}"
    return f"{digits}f" if "." in digits or "e" in digits else f"{digits}.0f"


def _lines(numbers: Iterable[float]) -> str:
    literals = [_literal(number) for number in numbers]
    rows = (literals[start : start + PER_LINE] for start in range(0, len(literals), PER_LINE))
    return "\n".join(f"    {', '.join(row)}," for row in rows)


def _floats(text: str) -> list[float]:
    return [float(literal.strip().removesuffix("f")) for literal in text.split(",") if literal.strip()]
