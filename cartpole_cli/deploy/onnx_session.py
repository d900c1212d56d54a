"""onnxruntime on one CPU thread, with errors of one line."""

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.libraries import quiet_onnxruntime

quiet_onnxruntime()
import onnxruntime  # noqa: E402  # not before that

FloatArray = NDArray[np.float32]

SILENT = 4
PROBE = np.array([[0.1, -0.2, 0.03, 0.4], [-1.0, 0.5, -0.1, -0.6], [0.0, 0.0, 0.0, 0.0]], dtype=np.float32)
"""Ordinary observations."""


@runtime_checkable
class Session(Protocol):
    """A loaded model, here or in a process of its own."""

    metadata: dict[str, str]

    def run(self, observation: FloatArray) -> FloatArray: ...
    def run_each(self, observation: FloatArray) -> FloatArray: ...


class OnnxSession:
    """A model of one float32 input.

    Args:
        model: a file's content.

    Raises:
        CartpoleError: onnxruntime does not load it, or it has other inputs.
    """

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = SILENT
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                model, options, providers=["CPUExecutionProvider"], enable_fallback=0
            )
            self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)
            inputs = [(entry.name, entry.type) for entry in self._session.get_inputs()]
            self._output = self._session.get_outputs()[0].name
        except Exception as error:  # onnxruntime's errors share no class of their own
            raise CartpoleError(f"not an ONNX file that onnxruntime can load: {one_line(error)}") from error
        if [kind for _, kind in inputs] != ["tensor(float)"]:
            given = ", ".join(" ".join(entry) for entry in inputs) or "none"
            raise CartpoleError(f"its inputs are: {given}; allowed: one float32 input of 4 numbers")
        ((self._input, _),) = inputs

    def run(self, observation: FloatArray) -> FloatArray:
        """The first output.

        Raises:
            CartpoleError: the input does not take that, or the output is no float32 tensor.
        """
        try:
            output = self._session.run([self._output], {self._input: observation})[0]
        except Exception as error:
            problem = f"does not take a page's 4 numbers, a tensor of shape [4]: {one_line(error)}"
            raise CartpoleError(problem) from error
        if not isinstance(output, np.ndarray) or output.dtype != np.float32 or output.size == 0:
            raise CartpoleError("its first output is not a float32 tensor; allowed: a force, or logits")
        return output

    def run_each(self, observation: FloatArray) -> FloatArray:
        """The first output, [N, V], for each of the rows, [N, 4], by itself.

        Raises:
            CartpoleError: as `run`, or it has more numbers for one row than for another.
        """
        outputs = [self.run(row).reshape(-1) for row in observation]
        sizes = sorted({output.size for output in outputs})
        if len(sizes) > 1:
            raise CartpoleError(f"its first output has {sizes[0]} numbers for one observation, {sizes[-1]} for another")
        return np.stack(outputs)
