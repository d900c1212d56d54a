"""Checkpoints: tensors and plain data in torch's own format, with a version and a hash that are checked first.

A file is what `torch.save` wrote, followed by one line `cartpole-checkpoint <version> <SHA-256>`: the hash is
verified before anything is unpickled, and `torch.load(path, weights_only=True)` still opens the file anywhere.
"""

import hashlib
import io
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cartpole_cli.errors import CartpoleError, one_line, reading
from cartpole_cli.files import open_regular, write_file
from cartpole_cli.policy.build import num_weights, read_architecture
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.runs.contents import check_archive, check_contents
from cartpole_cli.runs.trailer import FORMAT_VERSION, TRAILER, TRAILER_LENGTH, with_trailer

MAX_BYTES = {"policy": 3 << 30, "training": 8 << 30, "history": 8 << 30}
"""By kind: what the largest network of a recipe needs, with Adam's moments, and at half the bytes many times."""
BLOCK = 1 << 20


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
        kind: "policy" (best.pth, snapshots), "training" (last.pth) or "history" (history.pth).

    Raises:
        CartpoleError: missing, foreign, damaged, too large, of another version or of another kind.
    """
    payload = _payload(path, MAX_BYTES[kind])
    try:
        check_archive(payload)
        with warnings.catch_warnings(action="ignore"):  # of tensors that are refused below
            content: dict[str, Any] = torch.load(io.BytesIO(payload), map_location="cpu", weights_only=True)
        check_contents(content, len(payload))
    except Exception as error:  # torch raises anything on bytes that are not its own
        reason = f" ({one_line(error)})" if isinstance(error, ValueError) else ""
        problem = f"not a cartpole checkpoint: no tensors and plain data inside{reason}"
        raise CartpoleError(f"{path}: {problem}") from error
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise CartpoleError(f"{path}: not a {kind} checkpoint; expected a {_example(kind)}")
    return content


def _payload(path: Path, most: int) -> bytes:
    """What stands before the trailer, which is read first; then the hash is compared, a block at a time."""
    with reading(path), open_regular(path, most) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - TRAILER_LENGTH))
        trailer = TRAILER.search(file.read())
        if trailer is None:
            raise CartpoleError(f"{path}: not a cartpole checkpoint, or cut short")
        version, digest = int(trailer[1]), trailer[2].decode()
        if version != FORMAT_VERSION:
            reads = f"this version of cartpole reads {FORMAT_VERSION}"
            raise CartpoleError(f"{path}: checkpoint format {version}; {reads}")
        left = length = size - len(trailer[0])
        found = hashlib.sha256()
        file.seek(0)
        while left > 0 and (block := file.read(min(left, BLOCK))):
            found.update(block)
            left -= len(block)
        if found.hexdigest() != digest:
            raise CartpoleError(f"{path}: damaged (its content does not match its SHA-256)")
        file.seek(0)
        return file.read(length)


def load_policy(path: Path, device: torch.device) -> PolicyNetwork:
    """The policy in best.pth or a snapshot, with S = 1.

    Raises:
        CartpoleError: as `load_checkpoint`, or the weights do not fit the architecture.
    """
    return build_saved_policy(load_checkpoint(path, "policy"), path, device)


def build_saved_policy(content: dict[str, Any], path: Path, device: torch.device) -> PolicyNetwork:
    """The policy in the content of the checkpoint at `path`.

    Raises:
        CartpoleError: the weights do not fit the architecture, or are not finite.
    """
    try:
        architecture, weights = read_architecture(content["architecture"]), content["policy"]
        _check_weights(weights, num_weights(architecture))
        policy = PolicyNetwork(architecture, Streams([0], device))
        policy.load_state_dict(weights)
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CartpoleError(f"{path}: its weights do not fit its architecture: {one_line(error)}") from error
    if not all(weight.isfinite().all() for weight in weights.values()):
        raise CartpoleError(f"{path}: its weights are not finite; expected an earlier checkpoint")
    return policy


def _check_weights(weights: Any, least: int) -> None:
    """Raises ValueError if they are no float32 tensors, or fewer numbers than a network is about to be made for."""
    if not isinstance(weights, dict) or not all(isinstance(weight, Tensor) for weight in weights.values()):
        raise ValueError("no weights by name")
    if any(weight.dtype != torch.float32 for weight in weights.values()):
        raise ValueError("weights that are not float32")
    given = sum(weight.nelement() for weight in weights.values())
    if given < least:
        raise ValueError(f"{given:,} numbers, where it has {least:,} weights")


def _example(kind: str) -> str:
    return {"policy": "run's best.pth", "training": "run's last.pth", "history": "run's history.pth"}[kind]
