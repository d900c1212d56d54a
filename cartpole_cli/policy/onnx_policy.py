"""A policy read from an ONNX file: ours, or any that a web page can run.

What a page does with a file is the contract. It feeds `[x, x_dot, theta, theta_dot]` (m, m/s, rad, rad/s) as one
float32 tensor without a batch axis, and reads the first output by its number of values:

    1        a force in newtons, positive to the right
    2        logits of pushing with 10 N to the left and to the right
    n > 2    logits of n forces, evenly spaced from -10 to 10 N
"""

import numpy as np
import onnxruntime
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cartpole_cli.errors import CartpoleError

FloatArray = NDArray[np.float32]

MAX_FORCE = 10.0
OBSERVATION_SIZE = 4
SILENT = 4
PROBE = np.array([[0.1, -0.2, 0.03, 0.4], [-1.0, 0.5, -0.1, -0.6], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)


class OnnxPolicy:
    """A greedy policy on the CPU.

    Args:
        model: a file's content.
        name: what to call it in messages.

    Raises:
        CartpoleError: it cannot be loaded, or a page could not run it.
    """

    def __init__(self, model: bytes, name: str) -> None:
        self._name = name
        options = onnxruntime.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise CartpoleError(f"{name}: not an ONNX file that onnxruntime loads: {_one_line(error)}") from error
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
        inputs = self._session.get_inputs()
        if [entry.type for entry in inputs] != ["tensor(float)"]:
            given = ", ".join(f"{entry.name} {entry.type}" for entry in inputs) or "none"
            raise CartpoleError(f"{name}: its inputs are: {given}; allowed: one of float32, which takes 4 numbers")
        self._input, self._output = inputs[0].name, self._session.get_outputs()[0].name
        alone = np.stack([self._run(row).reshape(-1) for row in PROBE])
        if not np.isfinite(alone).all():
            raise CartpoleError(f"{name}: its first output is not finite for ordinary observations")
        self.num_values = int(alone.shape[1])
        """How many numbers the first output has: what they mean is said above."""
        self.takes_batches = self._same_in_a_batch(alone)
        """Whether several observations at once, [N, 4], are understood; else they are run one by one."""

    def values(self, observation: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch V"]:
        """The first output."""
        rows = observation.reshape(-1, OBSERVATION_SIZE).cpu().numpy().astype(np.float32)
        if self.takes_batches:
            values = self._run(rows).reshape(len(rows), -1)
        else:
            values = np.stack([self._run(row).reshape(-1) for row in rows])
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
        return self.values(observation).argmax(dim=-1) if self.num_values == 2 else self.force(observation)

    def _run(self, observation: FloatArray) -> FloatArray:
        try:
            output = self._session.run([self._output], {self._input: observation})[0]
        except Exception as error:
            raise CartpoleError(
                f"{self._name}: does not take a page's 4 numbers, a tensor of shape [4]: {_one_line(error)}"
            ) from error
        if not isinstance(output, np.ndarray) or output.dtype != np.float32 or output.size == 0:
            raise CartpoleError(f"{self._name}: its first output is no float32 tensor; allowed: a force, or logits")
        return output

    def _same_in_a_batch(self, alone: FloatArray) -> bool:
        try:
            together = self._run(PROBE)
        except CartpoleError:
            return False
        return together.size == alone.size and np.allclose(together.reshape(alone.shape), alone, rtol=1e-4, atol=1e-5)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
