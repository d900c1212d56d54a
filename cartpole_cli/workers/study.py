"""Studies whose seeds are trained in parts by workers."""

import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from cartpole_cli.environments.registered import import_module_of
from cartpole_cli.errors import CartpoleError
from cartpole_cli.files import write_file
from cartpole_cli.recipe.files import recipe_from_text
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.directory import RunDirectory, write_json
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.lock import FolderLock
from cartpole_cli.runs.manifest import new_manifest, resumed_manifest
from cartpole_cli.runs.parcel import pack
from cartpole_cli.runs.parts import add_part, clear_scratch, join, read_parts
from cartpole_cli.runs.resume import Resumable
from cartpole_cli.runs.session import STOPPED, Session
from cartpole_cli.runs.summary import StudySummary
from cartpole_cli.training.build import set_up_torch
from cartpole_cli.workers.interface import MEMBERS_AT_ONCE, Lost, Workers

TRAIN = "cartpole_cli.workers.study:train"
"""What workers are asked to run."""


class StudyInParts:
    """A study at work in its folder, whose parts come from workers; made by `create`, or of a folder to resume.

    Use as a context manager: it holds the folder's lock, and leaving it by an exception marks the study as failed.

    Args:
        recipe: the study's.
        directory: its folder.
        device: what the workers train on.
        before: what run.json said, of one that goes on.
        recipe_name: what the recipe of a new one is called.
        tell: receives notes for the user.

    Raises:
        CartpoleError: a part is damaged, or another process is at work in the folder.
    """

    def __init__(
        self,
        recipe: Recipe,
        directory: RunDirectory,
        *,
        device: torch.device,
        recipe_name: str | None,
        tell: Callable[[str], None],
        before: dict[str, Any] | None = None,
    ) -> None:
        self.recipe, self.directory, self.device = recipe, directory, device
        self.summary: StudySummary | None = None
        self._recipe_name, self._is_new = recipe_name, before is None
        spent = Reader().number((before or {}).get("seconds"), "seconds", 0.0) or 0.0
        self._started = time.perf_counter() - spent
        self._manifest = (
            resumed_manifest(before, recipe, device) if before else new_manifest(recipe, recipe_name, device)
        )
        self._lock = FolderLock(directory.path)
        try:
            clear_scratch(directory)
            self.parts = read_parts(directory, recipe, tell)
            write_file(directory.recipe, recipe.to_toml().encode())
            self._write_manifest("running")
        except BaseException:
            self._lock.release()
            raise

    @classmethod
    def create(
        cls,
        recipe: Recipe,
        *,
        device: torch.device,
        recipe_name: str,
        runs_dir: Path,
        name: str | None,
        tell: Callable[[str], None],
    ) -> "StudyInParts":
        """A new study, in a folder of that name or of one made from time, recipe and number of seeds.

        Raises:
            CartpoleError: the environment or the folder cannot be made.
        """
        import_module_of(recipe.environment.id)
        suffix = f"x{recipe.trainer.num_seeds}"
        directory = RunDirectory.create(runs_dir, recipe_name=recipe_name, suffix=suffix, name=name)
        with directory.gone_on_failure():
            return cls(recipe, directory, device=device, recipe_name=recipe_name, tell=tell)

    def __enter__(self) -> "StudyInParts":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(CartpoleError):  # what ended the study is the news
            if self.summary is None:
                self._write_manifest("interrupted" if kind is None or kind in STOPPED else "failed")
        if isinstance(error, CartpoleError) and self._is_new and not self.parts:
            shutil.rmtree(self.directory.path, ignore_errors=True)  # nothing came of it: the name is free again
        self._lock.release()  # not before: another process could have gone on with it

    @property
    def missing(self) -> list[int]:
        """Places of the seeds that are not trained yet."""
        done = {member for part in self.parts for member in part.members}
        return [member for member in range(len(self.recipe.seeds)) if member not in done]

    def job(self, members: Sequence[int]) -> bytes:
        """What `train` is to be given to train these seeds."""
        asked = {
            "recipe": self.recipe.to_toml(),
            "device": self.device.type,
            "members": list(members),
            "name": self.directory.path.name,
            "recipe_name": self._recipe_name,
            "command": sys.argv,
        }
        return json.dumps(asked).encode()

    def accept(self, members: Sequence[int], parcel: bytes) -> None:
        """Take what `train` has sent; with the last part the study is finished.

        Raises:
            CartpoleError: it cannot be written.
        """
        part = add_part(parcel, self.directory, self.recipe, members)
        self.parts = sorted([*self.parts, part], key=lambda each: each.members)
        self._write_manifest("running")
        if not self.missing:
            self.finish()

    def finish(self) -> None:
        """Make one study of its parts, and close the books."""
        state = join(self.directory, self.parts, self._seconds)
        whole = Resumable(self.directory, self.recipe, state, None, self._manifest, True, (), ())
        summary = whole.summary()
        assert isinstance(summary, StudySummary)
        write_json(self.directory.study, summary.as_plain_data())
        self.summary = summary
        self._write_manifest(summary.status)

    @property
    def _seconds(self) -> float:
        """Since the study began, less what it lay there."""
        return time.perf_counter() - self._started

    def _write_manifest(self, status: str) -> None:
        runs = [run for part in self.parts for run in part.state["runs"].values()]
        progress = {
            "status": status,
            "seconds": round(self._seconds, 3),
            "env_steps": sum(run["env_steps"] for run in runs),
        }
        write_json(self.directory.manifest, self._manifest | progress)


def split(members: Sequence[int], most: int) -> list[list[int]]:
    """Parts of neighbours, of at most so many."""
    parts: list[list[int]] = []
    for member in members:
        if not parts or len(parts[-1]) == most or parts[-1][-1] != member - 1:
            parts.append([])
        parts[-1].append(member)
    return parts


def train_studies(studies: Sequence[StudyInParts], workers: Workers) -> Iterator[tuple[int, float]]:
    """Train what is missing of each: how far it is, by its place.

    Raises:
        CartpoleError: in the end, if a part's worker was lost as often as it was tried; what workers raise, at once.
    """
    missing = sum(len(study.missing) for study in studies)
    most = max(1, min(MEMBERS_AT_ONCE, -(-missing // workers.count)))
    parts = [(place, part) for place, study in enumerate(studies) for part in split(study.missing, most)]
    jobs = [studies[place].job(part) for place, part in parts]
    shares, problems = [0.0] * len(parts), []
    for study in studies:
        if not study.missing and study.summary is None:
            study.finish()
    for number, said in workers.run(TRAIN, jobs):
        place, part = parts[number]
        if isinstance(said, Lost):
            problems.append(f"{studies[place].directory.path}: {_seeds(studies[place], part)}: {said}")
        elif isinstance(said, bytes):
            studies[place].accept(part, said)
        shares[number] = said if isinstance(said, float) else 1.0
        under_way = sum(share * len(one) for share, (study, one) in zip(shares, parts, strict=True) if study == place)
        total = len(studies[place].recipe.seeds)
        known = total - sum(len(one) for study, one in parts if study == place)
        yield place, (known + under_way) / total
    if problems:
        raise CartpoleError(*problems)


def _seeds(study: StudyInParts, members: Sequence[int]) -> str:
    first, last = (study.recipe.seeds[member] for member in (members[0], members[-1]))
    return f"seed {first}" if first == last else f"seeds {first} to {last}"


def train(job: bytes) -> Iterator[float | bytes]:
    """Train some seeds of a study, in a folder that is sent and then gone: shares of their budgets, then the folder."""
    asked = json.loads(job)
    sys.argv = asked["command"]
    recipe = recipe_from_text(asked["recipe"], source="recipe")
    device = set_up_torch(recipe.trainer.model_copy(update={"device": asked["device"]}))
    with tempfile.TemporaryDirectory() as folder:
        session = Session.create(
            recipe,
            device=device,
            recipe_name=asked["recipe_name"],
            runs_dir=Path(folder),
            name=asked["name"],
            tell=_tell,
            members=asked["members"],
        )
        yield from follow(session)
        yield pack(session.directory.path)


def _tell(note: str) -> None:
    print(note, file=sys.stderr, flush=True)


def follow(session: Session) -> Iterator[float]:
    """Train to the end, or until the session is asked to stop: the share of its budget that is done."""
    budget = session.recipe.trainer.num_steps
    steps = {member: run.progress.env_steps for member, run in session.runs.items()}
    with session:
        for report in session.reports():
            for seed in report.seeds:
                steps[seed.member] = budget if seed.finished else min(seed.env_steps, budget)
            yield sum(steps.values()) / (budget * len(steps))
        session.finish()
