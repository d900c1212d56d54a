"""history.pth: the policies that a run had at its evaluations, thinned so that the file stays small.

Of N evaluations so far those are kept whose number is divisible by 2^k, with the least k that leaves at most
MAX_FRAMES, the untrained policy as number 0 among them. What is kept depends on N alone: a run that is killed and goes
on ends with the file it would have had. It is written right before last.pth, so that it is never behind it.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float16
from torch import Tensor

from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.files import aside, move
from cartpole_cli.policy.build import num_weights, read_architecture
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.runs.checkpoint import load_checkpoint, save_checkpoint

MAX_FRAMES = 32
LARGEST = torch.finfo(torch.float16).max


@dataclass(frozen=True, slots=True)
class Moment:
    """When a frame's policy was: after that many evaluations, iterations and steps; None before the first score."""

    evaluation: int
    iteration: int
    env_steps: int
    mean_return: float | None


class History:
    """The frames of one seed, in memory and in its file.

    Args:
        path: the file.
        architecture: of the policy, whose value network is left out.
    """

    def __init__(self, path: Path, architecture: Architecture) -> None:
        self.path, self.architecture = path, replace(architecture, value_network=False)
        self.moments: list[Moment] = []
        self.weights: list[Float16[Tensor, "W"]] = []
        self._is_written = True

    def add(self, moment: Moment, policy: PolicyNetwork, place: int) -> None:
        """Keep the weights that `policy` has at `place`, if this is a moment to be kept."""
        stride = _stride(moment.evaluation)
        if moment.evaluation % stride:
            return
        self._keep(lambda kept: kept.evaluation % stride == 0 and kept.evaluation < moment.evaluation)
        self.moments.append(moment)
        self.weights.append(_half(policy, place))
        self._is_written = False

    def trim(self, evaluation: int) -> None:
        """Forget what is of later evaluations."""
        if any(moment.evaluation > evaluation for moment in self.moments):
            self._keep(lambda kept: kept.evaluation <= evaluation)
            self._is_written = False

    def save(self) -> None:
        """Write the file, if it is not as it should be.

        Raises:
            CartpoleError: it cannot be written.
        """
        if self._is_written:
            return
        content = {
            "kind": "history",
            "architecture": self.architecture.as_plain_data(),
            "moments": [asdict(moment) for moment in self.moments],
            "weights": torch.stack(self.weights) if self.weights else torch.empty(0, 0, dtype=torch.float16),
        }
        save_checkpoint(self.path, content)
        self._is_written = True

    def policy(self, index: int) -> PolicyNetwork:
        """The policy of a frame, S = 1, without a value network."""
        policy = PolicyNetwork(self.architecture, Streams([0], "cpu"))
        state = policy.state_dict()
        parts = torch.split(self.weights[index].float(), [value.nelement() for value in state.values()])
        shaped = {name: part.view(state[name].shape) for name, part in zip(state, parts, strict=True)}
        policy.load_state_dict(shaped)
        return policy

    def _keep(self, wanted: Callable[[Moment], bool]) -> None:
        kept = [place for place, moment in enumerate(self.moments) if wanted(moment)]
        self.moments, self.weights = [self.moments[place] for place in kept], [self.weights[place] for place in kept]


def read_history(path: Path) -> History:
    """What a history file holds.

    Raises:
        CartpoleError: it is none, or damaged.
    """
    content = load_checkpoint(path, "history")
    try:
        history = History(path, read_architecture(content["architecture"]))
        history.moments = [_moment(each) for each in content["moments"]]
        history.weights = _rows(content["weights"], len(history.moments), num_weights(history.architecture))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CartpoleError(f"{path}: no history of policies: {one_line(error)}") from error
    return history


def continued(path: Path, policy: PolicyNetwork, evaluation: int, tell: Callable[[str], None]) -> History:
    """The history to continue after that many evaluations; a new one if there is none.

    A file that cannot be gone on with gets another name, and `tell` is told.

    Raises:
        CartpoleError: a file cannot be renamed.
    """
    history = History(path, policy.architecture)
    if not path.exists():
        return history
    try:
        found = read_history(path)
        if found.architecture != history.architecture:
            raise CartpoleError(f"{path}: belongs to another network")
    except CartpoleError as error:
        other = aside(path, "damaged")
        move(path, other)
        tell(f"warning: {error}: renamed to {other.name}; the run's history starts again")
        return history
    found.trim(evaluation)
    return found


def _stride(evaluation: int) -> int:
    """The least 2^k that leaves at most MAX_FRAMES of the evaluations 0 .. `evaluation`."""
    stride = 1
    while evaluation // stride >= MAX_FRAMES:
        stride *= 2
    return stride


@torch.no_grad()
def _half(policy: PolicyNetwork, place: int) -> Float16[Tensor, "W"]:
    """One seed's parameters but those of the value network, in the order of `state_dict`."""
    parts = [
        value[place].reshape(-1) for name, value in policy.state_dict().items() if not name.startswith("value_network.")
    ]
    return torch.cat(parts).clamp(-LARGEST, LARGEST).half().cpu()


def _moment(given: dict[str, Any]) -> Moment:
    moment = Moment(**given)
    counts = (moment.evaluation, moment.iteration, moment.env_steps)
    score = moment.mean_return
    if not all(type(count) is int and 0 <= count < 2**53 for count in counts):
        raise ValueError("a moment that none was")
    if score is not None and not (isinstance(score, float) and math.isfinite(score)):
        raise ValueError("a score that is no number")
    return moment


def _rows(weights: Any, num_frames: int, least: int) -> list[Float16[Tensor, "W"]]:
    if not isinstance(weights, Tensor) or weights.dtype != torch.float16 or weights.ndim != 2:
        raise ValueError("no weights as float16")
    if len(weights) != num_frames or (num_frames and weights.shape[1] < least):
        raise ValueError("weights that do not fit the network")
    if not weights.isfinite().all():
        raise ValueError("weights that are not finite")
    return list(weights)
