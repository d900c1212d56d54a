"""Tiny runs, and what the files of a run say, for tests that do damage."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import Ended, captured

from cartpole_cli.runs.checkpoint import load_checkpoint

TINY = """
[algorithm]
name = "ppo"
steps_per_iteration = 8
num_epochs = 1
minibatch_size = 32
[environment]
num_envs = 4
max_episode_steps = 12
[policy]
hidden_sizes = [16]
[trainer]
num_steps = 96
evaluate_every = 1
evaluation_episodes = 2
checkpoint_every = 2
save_every = 2
"""
"""Three iterations of 32 steps."""
KINDS = {"last.pth": "training", "history.pth": "history"}
ENDLESS = ("trainer.num_steps=1_000_000_000", "trainer.evaluate_every=1000", "trainer.save_every=0")


def train(capsys: pytest.CaptureFixture[str], *arguments: object) -> Ended:
    return captured(capsys, "train", "--recipe", "tiny.toml", "--quiet", *arguments)


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def check_undamaged(folder: Path) -> None:
    """Whatever is there is whole, and nothing temporary is."""
    for path in files_in(folder):
        assert not path.name.startswith("."), path
        match path.suffix:
            case ".pth":
                load_checkpoint(path, KINDS.get(path.name, "policy"))
            case ".json":
                json.loads(path.read_text())
            case ".jsonl":
                *whole, torn = path.read_text().split("\n")
                assert [json.loads(line)["iteration"] for line in whole] == list(range(1, len(whole) + 1))
                assert "\n" not in torn


def contents(folder: Path) -> dict[str, Any]:
    """All that a run wrote, less what differs between two of the same bits: times and names."""
    found = {path.relative_to(folder).as_posix(): _content(path) for path in files_in(folder)}
    return {name: content for name, content in found.items() if content is not None}


def _content(path: Path) -> Any:
    match path.name, path.suffix:
        case "last.pth", _:
            state = load_checkpoint(path, "training")
            seconds = {"seconds": 0, "evaluation_seconds": 0}
            runs = [run | seconds | {"tracker_id": ""} for run in state["runs"].values()]
            return state | seconds | {"runs": runs}
        case _, ".pth":
            return load_checkpoint(path, KINDS.get(path.name, "policy"))
        case _, ".jsonl":
            return [json.loads(line) | {"seconds": 0} for line in path.read_text().splitlines()]
        case "run.json", _:
            return json.loads(path.read_text())["status"]
        case "study.json", _:
            return json.loads(path.read_text()).keys()
        case _, ".json" | ".toml":
            return path.read_text()
    raise AssertionError(f"no file of a run: {path}")


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)
