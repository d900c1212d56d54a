"""Policy -> one ONNX file that a web page runs as it is: let out if it does what the policy does."""

from collections.abc import Mapping
from dataclasses import dataclass

from cartpole_cli.deploy.graph import build_model
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.deploy.verify import Verification


@dataclass(frozen=True, slots=True)
class OnnxExport:
    """A verified file's content, and pairs of observations and outputs to test other runtimes with."""

    model: bytes
    golden: dict[str, list[list[float]]]


def export_onnx(verification: Verification, *, opset: int, metadata: Mapping[str, str]) -> OnnxExport:
    """The file of the policy verified against; `build_model` says what it takes and gives.

    Raises:
        CartpoleError: what was built does not do what the policy does.
    """
    content = build_model(verification.policy, opset, metadata).SerializeToString()
    exported = OnnxPolicy(content, "the exported file")
    verification.check(exported)
    states = verification.golden_states
    golden = {"observation": states.tolist(), verification.output_name: exported.values(states).tolist()}
    return OnnxExport(content, golden)
