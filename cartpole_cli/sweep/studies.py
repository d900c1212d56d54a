"""Finalists are trained: one study after the other here, each resumable; or several at once by workers."""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from cartpole_cli.errors import doing
from cartpole_cli.files import write_file
from cartpole_cli.recipe.files import recipe_from_text
from cartpole_cli.runs.parcel import pack, unpack
from cartpole_cli.runs.resume import Resumable
from cartpole_cli.runs.session import Session
from cartpole_cli.sweep.finalists import Finalist, load_study
from cartpole_cli.sweep.folder import SweepFolder
from cartpole_cli.training.build import set_up_torch
from cartpole_cli.workers.interface import Workers

TRAIN = "cartpole_cli.sweep.studies:train"
"""What workers are asked to run."""


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
        """Stop after the iteration under way; what workers are at is lost."""
        self._stop_requested = True

    def train(self, finalists: list[Finalist]) -> Iterator[tuple[int, float]]:
        """Train those that have not ended: how far each is, by its place."""
        studies = self._in_turn(finalists) if self._workers.count == 1 else self._at_once(finalists)
        for place, share in studies:
            yield place, share
            if self._stop_requested and self._workers.count > 1:
                return

    def _in_turn(self, finalists: list[Finalist]) -> Iterator[tuple[int, float]]:
        for place, finalist in enumerate(finalists):
            session = self._session(finalist)
            if session is not None:
                for share in follow(session):
                    yield place, share
                    if self._stop_requested:
                        session.request_stop()
            if self._stop_requested:
                return
            yield place, 1.0

    def _at_once(self, finalists: list[Finalist]) -> Iterator[tuple[int, float]]:
        """By workers, each study whole or not at all."""
        missing = [place for place, each in enumerate(finalists) if not self._has_ended(each)]
        jobs = [self._job(finalists[place]) for place in missing]
        for number, said in self._workers.run(TRAIN, jobs):
            place = missing[number]
            if isinstance(said, bytes):
                unpack(said, self._folder.study(finalists[place].name).path)
            yield place, 1.0 if isinstance(said, bytes) else said

    def _job(self, finalist: Finalist) -> bytes:
        return job_of(finalist, self._folder.study(finalist.name).path, self._recipe_name, self._device.type)

    def _has_ended(self, finalist: Finalist) -> bool:
        """Whether its study has; one that has not is removed."""
        run = self._begun(finalist)
        if run is not None and run.has_ended:
            return True
        if run is not None:
            shutil.rmtree(run.directory.path)
        half_written = self._folder.study(f".{finalist.name}.tmp").path
        shutil.rmtree(half_written, ignore_errors=True)
        return False

    def _session(self, finalist: Finalist) -> Session | None:
        """The finalist's training, as far as it is; None if it has ended."""
        run = self._begun(finalist)
        if run is not None:
            return None if run.has_ended else Session.resume(run, device=self._device, tell=self._tell)
        return Session.create(
            finalist.recipe,
            device=self._device,
            recipe_name=self._recipe_name,
            runs_dir=self._folder.path,
            name=finalist.name,
            tell=self._tell,
        )

    def _begun(self, finalist: Finalist) -> Resumable | None:
        """Its study, if one was begun; what a process leaves that is killed before that is removed.

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


def job_of(finalist: Finalist, folder: Path, recipe_name: str, device: str) -> bytes:
    """What `train` is to be given; `folder` is where the study will be."""
    asked = {"folder": str(folder), "recipe": finalist.recipe.to_toml(), "recipe_name": recipe_name}
    return json.dumps(asked | {"device": device, "command": sys.argv}).encode()


def train(job: bytes) -> Iterator[float | bytes]:
    """Train a finalist's study, in a folder that is sent and then gone: shares of its budget, then the folder."""
    asked = json.loads(job)
    path, sys.argv = Path(asked["folder"]), asked["command"]
    recipe = recipe_from_text(asked["recipe"], source="recipe")
    device = set_up_torch(recipe.trainer.model_copy(update={"device": asked["device"]}))
    with tempfile.TemporaryDirectory() as folder:
        session = Session.create(
            recipe,
            device=device,
            recipe_name=asked["recipe_name"],
            runs_dir=Path(folder),
            name=path.name,
            tell=lambda note: print(note, file=sys.stderr, flush=True),
        )
        yield from follow(session)
        summary = session.directory.study  # it names folders: those that the files are for
        write_file(summary, summary.read_text().replace(_quoted(Path(folder)), _quoted(path.parent)).encode())
        yield pack(session.directory.path)


def _quoted(path: Path) -> str:
    """As JSON has it, without the quotes."""
    return json.dumps(str(path))[1:-1]


def follow(session: Session) -> Iterator[float]:
    """Train to the end, or until the session is asked to stop: the share of its budget that is done."""
    budget = session.recipe.trainer.num_steps
    steps = [run.progress.env_steps for run in session.runs]
    with session:
        for report in session.reports():
            for seed in report.seeds:
                steps[seed.member] = budget if seed.finished else min(seed.env_steps, budget)
            yield sum(steps) / (budget * len(steps))
        session.finish()
