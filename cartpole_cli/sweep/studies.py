"""Finalists are trained: one study after the other here, each resumable; or several at once, in parts, by workers."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch

from cartpole_cli.errors import doing
from cartpole_cli.runs.folders import manifest_of
from cartpole_cli.runs.parts import has_parts
from cartpole_cli.runs.resume import Resumable
from cartpole_cli.runs.session import Session
from cartpole_cli.sweep.finalists import Finalist, load_study
from cartpole_cli.sweep.folder import SweepFolder
from cartpole_cli.workers.interface import Workers
from cartpole_cli.workers.study import StudyInParts, follow, train_studies


class Studies:
    """Trains finalists in a sweep's folder."""

    def __init__(
        self,
        recipe_name: str,
        folder: SweepFolder,
        device: torch.device,
        workers: Workers,
        tell: Callable[[str], None],
    ) -> None:
        self._recipe_name, self._folder, self._device = recipe_name, folder, device
        self._workers, self._tell, self._stop_requested = workers, tell, False

    def request_stop(self) -> None:
        """Stop after the current iteration; unfinished work of workers is lost."""
        self._stop_requested = True

    def train(self, finalists: Sequence[Finalist]) -> Iterator[tuple[int, float]]:
        """Train those that have not ended: how far each is, by its place."""
        in_parts = []
        for place, finalist in enumerate(finalists):
            if has_parts(self._folder.study(finalist.name)):
                in_parts.append(place)
                continue
            run = self._begun(finalist)
            if run is not None and run.has_ended:
                yield place, 1.0
            elif self._workers.count > 1:
                in_parts.append(place)
            else:
                for share in self._in_one(finalist, run):
                    yield place, share
            if self._stop_requested:
                return
        for place, share in self._in_parts([finalists[place] for place in in_parts]):
            yield in_parts[place], share

    def _in_one(self, finalist: Finalist, begun: Resumable | None) -> Iterator[float]:
        """By this process, from wherever it is."""
        if begun is not None:
            session = Session.resume(begun, device=self._device, tell=self._tell)
        else:
            session = Session.create(finalist.recipe, **self._new(finalist))
        for share in follow(session):
            yield share
            if self._stop_requested:
                session.request_stop()

    def _in_parts(self, finalists: Sequence[Finalist]) -> Iterator[tuple[int, float]]:
        """By workers, all at once."""
        with ExitStack() as open_studies:
            studies = [open_studies.enter_context(self._study(finalist)) for finalist in finalists]
            for place, share in train_studies(studies, self._workers):
                yield place, share
                if self._stop_requested:
                    return

    def _study(self, finalist: Finalist) -> StudyInParts:
        """The finalist's study with its finished parts; a study that one process began starts again."""
        directory = self._folder.study(finalist.name)
        if has_parts(directory):
            known: dict[str, Any] = {"recipe_name": self._recipe_name, "before": manifest_of(directory.path)}
            return StudyInParts(finalist.recipe, directory, device=self._device, tell=self._tell, **known)
        with doing(directory.path, "removed"):
            if directory.path.exists():
                shutil.rmtree(directory.path)
        return StudyInParts.create(finalist.recipe, **self._new(finalist))

    def _new(self, finalist: Finalist) -> dict[str, Any]:
        """What a study is made with."""
        folder, name = self._folder.path, finalist.name
        known = {"device": self._device, "tell": self._tell, "recipe_name": self._recipe_name}
        return known | {"runs_dir": folder, "name": name}

    def _begun(self, finalist: Finalist) -> Resumable | None:
        """Its study, if one was begun; removes what a process left that was killed before.

        Raises:
            CartpoleError: there is something else in its place.
        """
        directory = self._folder.study(finalist.name)
        if directory.recipe.exists():
            return load_study(finalist, self._folder.path)
        with doing(directory.path, "made: something else is there"):
            if directory.path.exists():
                for path in directory.path.glob(".*"):
                    path.unlink()
                directory.path.rmdir()
        return None
