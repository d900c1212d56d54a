"""What tests of the networks and of the algorithms share."""

from typing import Any

import torch
from torch import Tensor

from cartpole_cli.actions import FORCE, PUSHES

HEADS: dict[str, dict[str, Any]] = {"categorical": {"actions": PUSHES}, "gaussian": {"actions": FORCE}}


def close(actual: Tensor, expected: Any, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(actual, torch.as_tensor(expected), rtol=tolerance, atol=tolerance)
