"""A policy read from an ONNX file: ours, or any that a web page can run.

What a page does with a file is the contract. It feeds `[x, x_dot, theta, theta_dot]` (m, m/s, rad, rad/s) as one
float32 tensor without a batch axis, and reads the first output by its number of values:

    1        a force in newtons, positive to the right
    2        logits of pushing with 10 N to the left and to the right
    n > 2    logits of n forces, evenly spaced from -10 to 10 N
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.actions import FORCE, MAX_FORCE, PUSHES, Actions
from cartpole_cli.deploy.onnx_session import PROBE, FloatArray, OnnxSession, Session
from cartpole_cli.errors import CartpoleError

OBSERVATION_SIZE = 4


class OnnxPolicy:
    """A greedy policy on the CPU.

    Args:
        model: a file's content.
        name: what to call it in messages.
        open_session: what loads it; a stranger's file is for a `Sandbox` to load.

    Raises:
        CartpoleError: it cannot be loaded, or a page could not run it.
    """

    def __init__(self, model: bytes, name: str, open_session: Callable[[bytes], Session] = OnnxSession) -> None:
        self.model, self.name, self.open_session = model, name, open_session
        with self._named():
            self._session = open_session(model)
            alone = self._session.run_each(PROBE)
        self.metadata = self._session.metadata
        if not np.isfinite(alone).all():
            raise CartpoleError(f"{name}: its first output is not finite for ordinary observations")
        self.num_values = int(alone.shape[1])
        """How many numbers the first output has: what they mean is said above."""
        self.takes_batches = self._same_in_a_batch(alone)
        """Whether several observations at once, [N, 4], are understood; else they are run one by one."""

    def values(self, observation: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch V"]:
        """The first output."""
        rows = observation.reshape(-1, OBSERVATION_SIZE).cpu().numpy().astype(np.float32)
        with self._named():
            values = self._session.run(rows) if self.takes_batches else self._session.run_each(rows)
            if values.size != len(rows) * self.num_values:
                raise CartpoleError(f"its first output has {self.num_values} numbers for some observations only")
        return torch.from_numpy(values).view(*observation.shape[:-1], -1).to(observation.device)

    def force(self, observation: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 1"]:
        """What the page pushes with, in newtons."""
        values = self.values(observation)
        if self.num_values == 1:
            return values.clamp(-MAX_FORCE, MAX_FORCE)
        choice = values.argmax(dim=-1, keepdim=True)
        return choice * (2 * MAX_FORCE / (self.num_values - 1)) - MAX_FORCE

    def greedy_action(self, observation: Float[Tensor, "*batch 4"]) -> Tensor:
        """The action for CartPole-v1 where there are two values, for ContinuousCartPole-v1 otherwise."""
        return self.values(observation).argmax(dim=-1) if self.actions == PUSHES else self.force(observation)

    @property
    def observation_size(self) -> int:
        return OBSERVATION_SIZE

    @property
    def actions(self) -> Actions:
        """The cart-pole's that `greedy_action` gives."""
        return PUSHES if self.num_values == PUSHES.n else FORCE

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except CartpoleError as error:
            raise CartpoleError(f"{self.name}: {error}") from error

    def _same_in_a_batch(self, alone: FloatArray) -> bool:
        try:
            together = self._session.run(PROBE)
        except CartpoleError:
            return False
        return together.size == alone.size and np.allclose(together.reshape(alone.shape), alone, rtol=1e-4, atol=1e-5)
