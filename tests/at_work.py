"""Folders that several processes had a hand in, and these processes."""

import hashlib
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor

from cartpole_cli.runs.checkpoint import load_checkpoint

OF_A_SEARCH = ("sweep.toml", "trials.jsonl", "report.json", "best.toml", "slices.svg")
UNTIMED = (*OF_A_SEARCH, "recipe.toml", "best.pth", "best.json", "evaluation.json", "history.pth")
TIMES = ("seconds", "evaluation_seconds")


def content(folder: Path) -> dict[str, object]:
    """Every file without what differs from run to run: times, and W&B's names."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name in UNTIMED:
            found[name] = path.read_bytes()
        elif path.name == "metrics.jsonl":
            found[name] = [untimed(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name == "study.json":
            study = json.loads(path.read_text().replace(f"runs/{folder.name}", ""))
            found[name] = [untimed(each) for each in (study, *study.pop("seeds"))]
        elif path.name == "last.pth":
            state = load_checkpoint(path, "training")
            runs = {member: untimed(run) | {"tracker_id": ""} for member, run in state["runs"].items()}
            found[name] = [plain(untimed(state) | {"runs": runs})]
        elif path.is_file():
            found[name] = path.name
    return found


def untimed(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in TIMES}


def plain(value: Any) -> Any:
    """With tensors as their shapes and bytes."""
    if isinstance(value, Tensor):
        return tuple(value.shape), hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def processes() -> dict[int, tuple[int, str]]:
    """All that live, by number: the session, and the command line."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found[int(entry.name)] = os.getsid(int(entry.name)), words
        except OSError:
            continue
    return {number: (session, words) for number, (session, words) in found.items() if alive(number)}


def workers_of(parent: int, module: str = "process") -> list[int]:
    """The worker processes that a process has started, and that live."""
    return [
        number
        for number, (_, words) in processes().items()
        if f"cartpole_cli.workers.{module}" in words and parent_of(number) == parent
    ]


def parent_of(number: int) -> int:
    try:
        return int(Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def alive(number: int) -> bool:
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_for(what: Callable[[], object], seconds: float = 60.0) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.05)
