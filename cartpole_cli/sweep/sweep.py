"""A search from its first trial to its report, on disk."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from cartpole_cli.environments.registered import check_registered_or_repeated, import_module_of
from cartpole_cli.errors import CartpoleError
from cartpole_cli.files import write_file
from cartpole_cli.plots.pictures import can_draw, draw_slices
from cartpole_cli.runs.directory import RunDirectory, write_json
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.folders import SWEEP
from cartpole_cli.runs.lock import FolderLock
from cartpole_cli.runs.manifest import new_manifest, resumed_manifest
from cartpole_cli.runs.session import STOPPED
from cartpole_cli.sweep.finalists import Finalist, finalists_of, ranked, read_outcome
from cartpole_cli.sweep.folder import SweepFolder
from cartpole_cli.sweep.report import SweepReport, best_first, to_confirm
from cartpole_cli.sweep.sampler import generations, settings_of
from cartpole_cli.sweep.search import Search, read_search
from cartpole_cli.sweep.studies import Studies
from cartpole_cli.sweep.trials import COMPUTE, Planned, Trial, grouped, job_of, lost, trials_of
from cartpole_cli.training.build import set_up_torch
from cartpole_cli.workers.interface import Workers


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a search is: the trials that have ended, the best of them, and how much of a stage is done."""

    trials_done: int
    best: Trial | None
    stage: str
    share: float


class Sweep:
    """A search at work in its folder; made by `create` or `resume`.

    Use as a context manager: leaving it by an exception marks the search as failed. `tell` receives notes for the user.
    """

    def __init__(
        self,
        search: Search,
        folder: SweepFolder,
        *,
        device: torch.device,
        manifest: dict[str, Any],
        tell: Callable[[str], None],
    ) -> None:
        self.search, self.folder, self.stop_requested, self.report = search, folder, False, None
        self._device, self._manifest, self._tell = device, manifest, tell
        spent = Reader().number(manifest.get("seconds"), "seconds", 0.0) or 0.0
        self._started = time.perf_counter() - spent
        self._lock = FolderLock(folder.path)
        try:
            self.trials = folder.read_trials(search)
            self._write_manifest("running")
        except BaseException:
            self._lock.release()
            raise

    report: SweepReport | None

    @classmethod
    def create(cls, search: Search, *, runs_dir: Path, name: str | None, tell: Callable[[str], None]) -> "Sweep":
        """A new search, in a folder of that name or of one made from time, recipe and number of trials.

        Raises:
            CartpoleError: the device is not there, or the environment or the folder cannot be made.
        """
        device = set_up_torch(search.recipe.trainer)
        import_module_of(search.recipe.environment.id)
        suffix = f"t{search.num_trials}"
        directory = RunDirectory.create(runs_dir, recipe_name=search.recipe_name, suffix=suffix, name=name)
        folder = SweepFolder(directory.path)
        with directory.gone_on_failure():
            folder.write_search(search)
            manifest = _kind(new_manifest(search.recipe, search.recipe_name, device), folder)
            return cls(search, folder, device=device, manifest=manifest, tell=tell)

    @classmethod
    def resume(cls, path: Path, *, repeated: Sequence[str], device: str | None, tell: Callable[[str], None]) -> "Sweep":
        """Resume the search in a folder, on its own device or the named one.

        `repeated` is `environment.id=ID` where its environment is of a module: no file has one imported.

        Raises:
            CartpoleError: it is none, was edited, or another process is at work in the folder.
        """
        folder = SweepFolder(path)
        before = folder.read_manifest()
        search = read_search(folder.search, str(before.get("recipe")))
        own = search.recipe.environment.id
        if any(word != f"environment.id={own}" for word in repeated):
            raise CartpoleError(f"{repeated[0]}: cannot change in the middle of a search; it was {own!r}")
        check_registered_or_repeated(own, str(folder.search), repeated)
        settings = search.recipe.trainer
        there = set_up_torch(settings if device is None else settings.model_copy(update={"device": device}))
        manifest = _kind(resumed_manifest(before | {"kind": "run"}, search.recipe, there), folder)
        return cls(search, folder, device=there, manifest=manifest, tell=tell)

    def __enter__(self) -> "Sweep":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        status = "finished" if self.report else "interrupted" if kind is None or kind in STOPPED else "failed"
        try:
            if kind is None:
                self._write_manifest(status)
            else:
                with suppress(CartpoleError):  # what ended the search is the news
                    self._write_manifest(status)
        finally:
            self._lock.release()

    def request_stop(self) -> None:
        """Stop after the iteration under way."""
        self.stop_requested = True

    def run(self, workers: Workers) -> Iterator[Progress]:
        """Run the trials that are missing, train the finalists, and write what was found; or stop on request.

        Raises:
            CartpoleError: a finalist's worker was lost as often as it was tried; what the others did is kept.
        """
        yield from self._run_trials(workers)
        if self.stop_requested:
            return
        trials = tuple(self.trials[number] for number in sorted(self.trials))
        outcomes, confirmed = [], []
        if self.search.settings.finalists:
            finalists = finalists_of(self.search, trials, 1)
            yield from self._train(workers, finalists, "finalists")
            if self.stop_requested:
                return
            metric = self.search.settings.metric
            outcomes = best_first([read_outcome(each, self.folder.path, metric) for each in finalists])
            again = {each.name: each.again() for each in finalists_of(self.search, trials, 2)}
            last = [again[each.name] for each in to_confirm(outcomes)]
            yield from self._train(workers, last, "last comparison")
            if self.stop_requested:
                return
            confirmed = [read_outcome(each, self.folder.path, metric) for each in last]
        pair = (confirmed[0], confirmed[1]) if confirmed else None
        report = SweepReport(self.search, trials, tuple(outcomes), pair)
        write_json(self.folder.report, report.as_plain_data())
        write_file(self.folder.best, report.best_recipe().encode())
        if can_draw() and report.slices:
            draw_slices(report.slices, self.folder.picture)
        self.report = report

    def _run_trials(self, workers: Workers) -> Iterator[Progress]:
        seeds, metric = self.search.seeds(0), self.search.settings.metric
        for generation in generations(self.search):
            before = [self.trials[number] for number in range(generation.start)]
            settings = settings_of(self.search, generation, before)
            planned = [
                Planned(number, setting, self.search.space.recipe_of(setting))
                for number, setting in zip(generation, settings, strict=True)
            ]
            self._check_known(planned)
            missing = [trial for trial in planned if trial.number not in self.trials]
            groups = grouped(missing, len(seeds), workers.count)
            jobs = [job_of(group, seeds, metric, self._device.type) for group in groups]
            under_way = [0.0] * len(groups)
            for place, said in workers.run(COMPUTE, jobs):
                under_way[place] = said * len(groups[place]) if isinstance(said, float) else 0.0
                if not isinstance(said, float):
                    done = trials_of(said) if isinstance(said, bytes) else lost(groups[place], seeds)
                    self.folder.record(done)
                    self.trials |= {trial.number: trial for trial in done}
                yield self._progress(sum(under_way))
                if self.stop_requested:
                    return
        self.folder.put_in_order([self.trials[number] for number in sorted(self.trials)])

    def _check_known(self, planned: list[Planned]) -> None:
        """Raises CartpoleError if a trial that has ended is not the one that would be asked for."""
        for trial in planned:
            known = self.trials.get(trial.number)
            if known is not None and known.setting != trial.setting:
                reason = f"trial {trial.number} is not what the sampler asks for here; did another version write it?"
                raise CartpoleError(f"{self.folder.trials}: {reason}")

    def _progress(self, under_way: float) -> Progress:
        best = next(iter(ranked(self.trials.values())), None)
        share = (len(self.trials) + under_way) / self.search.num_trials
        return Progress(len(self.trials), best, "trials", share)

    def _train(self, workers: Workers, finalists: list[Finalist], stage: str) -> Iterator[Progress]:
        """Train the studies, and resume those that were cut short."""
        best = next(iter(ranked(self.trials.values())), None)
        studies = Studies(self.search.recipe_name, self.folder, self._device, workers, self._tell)
        shares = [0.0] * len(finalists)
        for place, share in studies.train(finalists):
            shares[place] = share
            yield Progress(len(self.trials), best, stage, sum(shares) / len(finalists))
            if self.stop_requested:
                studies.request_stop()

    def _write_manifest(self, status: str) -> None:
        progress = {
            "status": status,
            "seconds": round(time.perf_counter() - self._started, 3),
            "env_steps": sum(trial.env_steps for trial in self.trials.values()),
        }
        self.folder.write_manifest(self._manifest | progress)


def _kind(manifest: dict[str, Any], folder: SweepFolder) -> dict[str, Any]:
    """A run's manifest as a sweep's."""
    return manifest | {"kind": SWEEP, "search_sha256": folder.digest()}
