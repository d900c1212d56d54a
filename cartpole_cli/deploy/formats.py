"""Which files a policy can leave the house as, and how they are called."""

from collections.abc import Sequence
from pathlib import Path

from cartpole_cli.errors import CartpoleError, did_you_mean

ENDINGS = {"onnx": (".onnx",), "js": (".mjs", ".js"), "c": (".h",)}
"""Of file names, the usual one first."""


def outputs_for(formats: Sequence[str], source: Path, output: Path | None) -> dict[str, Path]:
    """The file to write for each format.

    Args:
        formats: as asked for.
        source: a checkpoint, beside which files are written.
        output: the one file, if it has a name of its own.

    Raises:
        CartpoleError: there is no such format, or `output` is no name for it, or for several.
    """
    wanted = list(dict.fromkeys(formats))
    for name in wanted:
        if name not in ENDINGS:
            allowed = f"unknown; allowed: {', '.join(ENDINGS)}"
            raise CartpoleError(f"--format {name!r}: {allowed}{did_you_mean(name, list(ENDINGS))}")
    if output is None:
        outputs = {name: source.with_suffix(ENDINGS[name][0]) for name in wanted}
    elif len(wanted) == 1:
        outputs = {wanted[0]: output}
    else:
        raise CartpoleError(f"{output}: one name for {len(wanted)} files; --output goes with one --format")
    for name, path in outputs.items():
        if path.suffix not in ENDINGS[name] or path == source:
            others = [other for other, endings in ENDINGS.items() if path.suffix in endings and other != name]
            hint = f", or --format {others[0]}" if others else ""
            ending = " or ".join(ENDINGS[name])
            raise CartpoleError(f"{path}: not a name to export to; expected another one that ends in {ending}{hint}")
    return outputs
