"""A checkpoint leaves the house: as ONNX, with pairs to test it with beside it, as JavaScript or as C."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cartpole_cli.deploy.c_header import export_c
from cartpole_cli.deploy.facts import control_hz, info_of, metadata_of
from cartpole_cli.deploy.javascript import export_javascript
from cartpole_cli.deploy.onnx_file import export_onnx
from cartpole_cli.deploy.verify import NUM_EPISODES, NUM_GOLDEN, NUM_STATES, Verification
from cartpole_cli.errors import CartpoleError, reading
from cartpole_cli.files import folders_for, open_regular, write_file
from cartpole_cli.runs.saved_policy import SavedPolicy, load_saved_policy

ANY_SIZE = 2**62


def publish(source: Path, outputs: Mapping[str, Path], opset: int, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Export the policy in the checkpoint `source`; what was written, as plain data for each file.

    Args:
        source: a run's best.pth, or a snapshot.
        outputs: the file to write for each format, all in one folder.
        opset: ONNX operator set.
        tell: receives a note if the recipe inside is not understood.

    Raises:
        CartpoleError: no checkpoint of a cart-pole's policy, a file that fails its verification, or one that cannot be
            written; everything is as it was then.
    """
    torch.set_num_threads(1)
    saved = load_saved_policy(source, torch.device("cpu"))
    files: dict[Path, bytes] = {}
    published = []
    try:
        if not isinstance(saved.recipe, str) and not saved.recipe.environment.is_cart_pole:
            raise CartpoleError(f"trained on {saved.recipe.environment.id}: only cart-pole policies can be exported")
        verification = Verification(saved.policy)
        for name, path in outputs.items():
            made, said = _made(name, path, saved, verification, opset)
            files |= made
            published.append(
                {"format": name, "output": str(path), "bytes": len(made[path]), **said}
                | {"output_name": verification.output_name, "states": NUM_STATES, "episodes": NUM_EPISODES}
                | {"pairs": NUM_GOLDEN}
            )
    except CartpoleError as error:
        raise CartpoleError(*(f"{source}: {problem}" for problem in error.problems)) from error
    if isinstance(saved.recipe, str):
        tell(f"note: {saved.recipe}: exported without the recipe")
    _write_all(files)
    return published


def _made(
    name: str, path: Path, saved: SavedPolicy, verification: Verification, opset: int
) -> tuple[dict[Path, bytes], dict[str, Any]]:
    """The verified content of one format's files, and the facts that only this format has."""
    if name == "onnx":
        exported = export_onnx(verification, opset=opset, metadata=metadata_of(saved))
        golden = path.with_name(f"{path.name}.json")
        files = {golden: json.dumps(exported.golden).encode(), path: exported.model}
        return files, {"opset": opset, "golden": str(golden)}
    exports: dict[str, Callable[[Verification, dict[str, Any]], str]] = {
        "js": export_javascript,
        "c": partial(export_c, control_hz=control_hz(saved)),
    }
    return {path: exports[name](verification, info_of(saved)).encode("ascii")}, {}


def _write_all(files: Mapping[Path, bytes]) -> None:
    """If one cannot be written, all are as they were."""
    before = {path: _content(path) for path in files}
    with folders_for(next(iter(files))):
        written: list[Path] = []
        try:
            for path, content in files.items():
                write_file(path, content)
                written.append(path)
        except CartpoleError:
            for path in written:
                content_before = before[path]
                path.unlink() if content_before is None else write_file(path, content_before)
            raise


def _content(path: Path) -> bytes | None:
    """Of a file, if it is one."""
    with reading(path):
        if not path.is_file():
            return None
        with open_regular(path, ANY_SIZE) as file:
            return file.read()
