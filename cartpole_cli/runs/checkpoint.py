"""Checkpoints: tensors and plain data in torch's own format, with a version and a hash that are checked first.

A file is what `torch.save` wrote, followed by one line `cartpole-checkpoint <version> <SHA-256>`: the hash is
verified before anything is unpickled, and `torch.load(path, weights_only=True)` still opens the file anywhere.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from cartpole_cli.errors import CartpoleError
from cartpole_cli.files import write_file
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.runs.trailer import FORMAT_VERSION, TRAILER, TRAILER_LENGTH, with_trailer


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write tensors and plain data.

    Raises:
        CartpoleError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(path, with_trailer(buffer.getvalue()))


def load_checkpoint(path: Path, kind: str) -> dict[str, Any]:
    """Read what `save_checkpoint` wrote, onto the CPU.

    Args:
        path: the file.
        kind: "policy" (best.pth, snapshots) or "training" (last.pth).

    Raises:
        CartpoleError: missing, foreign, damaged, of another version or of another kind.
    """
    if path.exists() and not path.is_file():
        raise CartpoleError(f"{path}: cannot be read (not a file)")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CartpoleError(f"{path}: cannot be read ({error.strerror})") from error
    trailer = TRAILER.search(data[-TRAILER_LENGTH:])
    if trailer is None:
        raise CartpoleError(f"{path}: not a checkpoint of cartpole, or cut short")
    version, digest = int(trailer[1]), trailer[2].decode()
    if version != FORMAT_VERSION:
        raise CartpoleError(f"{path}: checkpoint format {version}; this version of cartpole reads {FORMAT_VERSION}")
    payload = data[: len(data) - len(trailer[0])]
    if hashlib.sha256(payload).hexdigest() != digest:
        raise CartpoleError(f"{path}: damaged (its content does not match its SHA-256)")
    try:
        content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises anything on bytes that are not its own
        raise CartpoleError(f"{path}: not a checkpoint of cartpole: no tensors and plain data inside") from error
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise CartpoleError(f"{path}: not a {kind} checkpoint; right would be a {_example(kind)}")
    return content


def load_policy(path: Path, device: torch.device) -> PolicyNetwork:
    """The policy in best.pth or a snapshot, with S = 1.

    Raises:
        CartpoleError: as `load_checkpoint`, or the weights do not fit the architecture.
    """
    return build_saved_policy(load_checkpoint(path, "policy"), path, device)


def build_saved_policy(content: dict[str, Any], path: Path, device: torch.device) -> PolicyNetwork:
    """The policy in the content of the checkpoint at `path`.

    Raises:
        CartpoleError: the weights do not fit the architecture.
    """
    try:
        architecture = Architecture.from_plain_data(content["architecture"])
        policy = PolicyNetwork(architecture, Streams([0], device))
        policy.load_state_dict(content["policy"])
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]  # torch explains at length
        raise CartpoleError(f"{path}: its weights do not fit its architecture: {reason}") from error
    return policy


def _example(kind: str) -> str:
    return {"policy": "run's best.pth", "training": "run's last.pth"}[kind]
