"""The state of one trainer, from those of several that trained parts of its members."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def joined(states: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What `Trainer.state_dict` of all members would be, from those of its parts, in order of the members.

    Members that finished before the last ones have left the computation, so the parts that were longest under way
    are in it.
    """
    longest = max(state["iteration"] for state in states)
    whole: dict[str, Any] = _joined([state for state in states if state["iteration"] == longest])
    return whole


def _joined(parts: Sequence[Any]) -> Any:
    first = parts[0]
    if isinstance(first, Tensor):
        return torch.cat(list(parts))
    if isinstance(first, list):
        return [entry for part in parts for entry in part]
    if isinstance(first, dict):
        return {key: _joined([part[key] for part in parts]) for key in first}
    return None if first is None else max(parts)  # whole episodes are collected until the longest ends
