"""metrics.jsonl of a resumed run: lines beyond the run's last checkpoint are removed."""

import json
from collections.abc import Callable
from pathlib import Path

from cartpole_cli.errors import reading
from cartpole_cli.files import MAX_METRICS, aside, read_bytes, write_file

DAMAGED = 2**63
"""Later than any iteration."""


def trim_metrics(path: Path, iteration: int, tell: Callable[[str], None]) -> None:
    """Drop the lines of later iterations, and one that a killed process cut short; end the last one.

    Lines that are damaged otherwise go as well, but the file as it was stays beside the new one, and `tell` is told.

    Raises:
        CartpoleError: the file cannot be read or written.
    """
    with reading(path):
        content = read_bytes(path, MAX_METRICS) if path.exists() else b""
    lines = content.splitlines(keepends=True)
    numbers = [_iteration(line) for line in lines]
    kept = [
        line.removesuffix(b"\n") + b"\n" for line, number in zip(lines, numbers, strict=True) if number <= iteration
    ]
    damaged = [place for place, number in enumerate(numbers, start=1) if number == DAMAGED]
    if damaged == [len(lines)] and not content.endswith(b"\n"):
        damaged = []
    if damaged:
        old = aside(path, "damaged")
        write_file(old, content)
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        tell(f"warning: {path}: line {damaged[0]}{more}: damaged and left out; the original file is now {old.name}")
    if kept != lines:
        write_file(path, b"".join(kept))


def _iteration(line: bytes) -> int:
    try:
        number = json.loads(line)["iteration"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return DAMAGED
    return number if isinstance(number, int) and number < DAMAGED else DAMAGED
