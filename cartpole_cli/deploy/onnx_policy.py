"""A policy read from an ONNX file: ours, or any that a web page can run.

The page feeds one float32 tensor without a batch axis; `page_policy` says what it does with the first output.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.deploy.onnx_session import PROBE, FloatArray, OnnxSession, Session
from cartpole_cli.deploy.page_policy import OBSERVATION_SIZE, PagePolicy
from cartpole_cli.errors import CartpoleError


class OnnxPolicy(PagePolicy):
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
