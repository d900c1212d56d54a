"""What a folder holds, as its run.json says: a run, a study or a sweep. No torch, as in `reading.py`."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader

SWEEP = "sweep"
LARGEST_SEED = 2**63


def is_sweep(path: Path) -> bool:
    """Whether a folder holds a sweep."""
    return manifest_of(path).get("kind") == SWEEP


def finalist_folders(path: Path) -> list[Path]:
    """The studies in a sweep's folder, by name."""
    with suppress(OSError):
        return [folder for folder in sorted(path.iterdir()) if seed_folders(folder)]
    return []


def seed_folders(path: Path) -> list[Path]:
    """The runs of the study in a folder, by seed; none if it holds no study."""
    return seeds_of(path, manifest_of(path))


def manifest_of(path: Path) -> dict[str, Any]:
    """What a folder's run.json says; nothing where it cannot be read."""
    return Reader().fields(RunDirectory(path).manifest)


def seeds_of(path: Path, manifest: dict[str, Any]) -> list[Path]:
    """The same as `seed_folders`, by a manifest that was read already."""
    seeds = manifest.get("seeds") if manifest.get("kind") == "study" else None
    if not isinstance(seeds, list):
        return []
    numbers = {seed for seed in seeds if isinstance(seed, int) and 0 <= seed < LARGEST_SEED}
    return [folder for seed in sorted(numbers) if (folder := RunDirectory(path).of_seed(seed).path).is_dir()]
