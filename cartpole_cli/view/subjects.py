"""What a user names -> the policies that a page shows, each with all that is known about it, as plain data."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from cartpole_cli.deploy.facts import info_of
from cartpole_cli.errors import CartpoleError
from cartpole_cli.plots.curves import Curve, SeedCurve, over_seeds, read_seed
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.find import find_checkpoint, find_run
from cartpole_cli.runs.folders import finalist_folders, is_sweep, seed_folders
from cartpole_cli.runs.history import read_history
from cartpole_cli.runs.ranking import ranked
from cartpole_cli.runs.reading import read_runs
from cartpole_cli.runs.saved_policy import load_saved_policy
from cartpole_cli.view.chain import load_chain
from cartpole_cli.view.metrics import diagnostics_of
from cartpole_cli.view.networks import frames_of, network_of
from cartpole_cli.view.room import fit

MAX_POLICIES = 12
"""Of a page: they are chosen from a list, and the page is to stay small."""


@dataclass
class Page:
    """What a page shows: policies, the curves of studies, and notes about what was left out."""

    policies: list[dict[str, Any]] = field(default_factory=list)
    curves: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, name: str, runs_dir: Path) -> None:
        """Add what is meant by a name: a run, a study, a sweep, a checkpoint, or an ONNX file.

        Raises:
            CartpoleError: there is nothing of that name, or nothing that can be shown.
        """
        for path in (Path(name), runs_dir / name):
            if path.exists() and not path.is_dir():
                self.policies.append(_of_file(name, path))
                return
        folder = find_run(name, runs_dir).path
        if is_sweep(folder):
            self._add_sweep(name, folder)
        elif seed_folders(folder):
            self._add_study(name, folder)
        else:
            self.policies.append(_of_run(name, RunDirectory(folder), with_history=True))

    def _add_sweep(self, name: str, folder: Path) -> None:
        """Each finalist's best seed, and its curve."""
        for study in finalist_folders(folder)[:MAX_POLICIES]:
            best = _best_first(study)[:1]
            for directory in best:
                label = f"{name}/{study.name}/{directory.path.name}"
                self.policies.append(_of_run(label, directory, with_history=True))
            self._add_curve(f"{name}/{study.name}", study)
        if not self.policies:
            find_checkpoint(name, folder.parent)  # says how to go on

    def _add_study(self, name: str, folder: Path) -> None:
        """Final policies, best first; the best and the worst with their histories."""
        best_first = _best_first(folder)
        if not best_first:
            raise CartpoleError(f"{folder}: no seed has a best.pth; expected a study that has been evaluated")
        shown = _spread(best_first, MAX_POLICIES)
        for directory in shown:
            extreme = directory in (best_first[0], best_first[-1])
            label = f"{name}/{directory.path.name}"
            self.policies.append(_of_run(label, directory, with_history=extreme))
        if len(shown) < len(best_first):
            self.notes.append(f"{name}: {len(shown)} of {len(best_first)} seeds are shown, from the best to the worst")
        self._add_curve(name, folder)

    def _add_curve(self, name: str, folder: Path) -> None:
        seeds = [_seed_curve(RunDirectory(path)) for path in seed_folders(folder)]
        measured = [seed for seed in seeds if len(seed.x)]
        if measured:
            self.curves.append(_curve_data(over_seeds(name, measured, num_left_out=len(seeds) - len(measured))))


def build(names: list[str], runs_dir: Path) -> Page:
    """What the page of these names shows.

    Raises:
        CartpoleError: one of them is nothing that can be shown.
    """
    torch.set_num_threads(1)
    page = Page()
    for name in names:
        page.add(name, runs_dir)
    if len(page.policies) > MAX_POLICIES:
        page.notes.append(f"{MAX_POLICIES} of {len(page.policies)} policies are shown")
        page.policies = page.policies[:MAX_POLICIES]
    fit(page.policies, page.notes)
    return page


def _of_file(name: str, path: Path) -> dict[str, Any]:
    if path.suffix.lower() == ".onnx":
        return {"name": name, **load_chain(path)}
    return _of_checkpoint(name, path)


def _of_checkpoint(name: str, path: Path) -> dict[str, Any]:
    saved = load_saved_policy(path, torch.device("cpu"))
    if not isinstance(saved.recipe, str) and not saved.recipe.environment.is_cart_pole:
        raise CartpoleError(f"{path}: trained on {saved.recipe.environment.id}: only cart-pole policies can be viewed")
    try:
        network = network_of(saved.policy)
    except CartpoleError as error:
        raise CartpoleError(*(f"{path}: {problem}" for problem in error.problems)) from error
    return {"name": name, "info": info_of(saved), **network}


def _of_run(name: str, directory: RunDirectory, *, with_history: bool) -> dict[str, Any]:
    if not directory.best.is_file():
        raise CartpoleError(f"{directory.path}: has no best.pth; expected a run that has been evaluated")
    data = _of_checkpoint(name, directory.best)
    curve = _seed_curve(directory)
    data["curve"] = {"x": curve.x.tolist(), "y": curve.y.tolist()} if len(curve.x) else None
    data["diagnostics"] = list(diagnostics_of(directory))
    if with_history and directory.history.is_file():
        data["history"] = frames_of(read_history(directory.history))
    return data


def _best_first(folder: Path) -> list[RunDirectory]:
    """The seeds of a study that have a policy to show."""
    return [run.directory for run in ranked(read_runs(folder)) if run.directory.best.is_file()]


def _spread(items: list[RunDirectory], most: int) -> list[RunDirectory]:
    """At most so many of a list, evenly spaced, its first and its last among them."""
    if len(items) <= most:
        return items
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def _seed_curve(directory: RunDirectory) -> SeedCurve:
    return read_seed(directory, x="steps", y="held-out")


def _curve_data(curve: Curve) -> dict[str, Any]:
    points: Iterator[tuple[str, Any]] = ((name, getattr(curve, name)) for name in ("x", "y", "low", "high"))
    return {"name": curve.label} | {name: None if values is None else values.tolist() for name, values in points}
