"""Where an iteration's numbers go: metrics.jsonl always, Weights & Biases when asked."""

import atexit
import errno
import json
import math
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from cartpole_cli.errors import writing
from cartpole_cli.libraries import quiet_wandb
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.recipe.sections import LoggerRecipe

ONLINE_TIMEOUT = 5.0
WandbMode = Literal["online", "offline"]


@runtime_checkable
class Tracker(Protocol):
    """Takes a flat record of numbers per iteration, and now and then a film."""

    def log(self, record: dict[str, Any]) -> None: ...
    def log_video(self, path: Path, iteration: int) -> None: ...
    def close(self) -> None: ...


class MetricsFile:
    """metrics.jsonl: a JSON object per line, readable while the run goes on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with writing(path):
            self._file = path.open("a", encoding="utf-8")

    def log(self, record: dict[str, Any]) -> None:
        finite = {key: None if _not_finite(value) else value for key, value in record.items()}
        with writing(self._path):
            if not self._path.exists():  # what is written to a removed file, nobody reads
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
            self._file.write(json.dumps(finite) + "\n")
            self._file.flush()

    def log_video(self, path: Path, iteration: int) -> None:
        """The file in the run's folder is enough."""

    def close(self) -> None:
        with suppress(OSError):  # what could not be written, `log` has told
            self._file.close()


class WandbTracker:
    """A run on Weights & Biases. Whatever goes wrong there costs one warning and never the training.

    Args:
        recipe: what to record as the run's configuration, and `logger` with mode and project.
        run_path: the run's folder; W&B's files go to its `wandb` folder.
        run_id: W&B's name for it.
        tell: receives the warnings and, for an offline run, the command that uploads it.
        modes: those to try, in turn. One that fails is taken out, and all of them if W&B breaks later, so that a
            study's seeds, which share the list, neither wait for it again nor tell of it.
        resumed: whether a run of that name goes on.
        study: the study it is a part of, W&B's group.
    """

    def __init__(
        self,
        recipe: Recipe,
        run_path: Path,
        run_id: str,
        tell: Callable[[str], None],
        modes: list[WandbMode],
        *,
        resumed: bool = False,
        study: str | None = None,
    ) -> None:
        self._tell, self._modes = tell, modes
        self._id, self._resumed, self._study = run_id, resumed, study
        self._run: Any = None
        quiet_wandb()
        problems = []
        while modes:
            problem = self._start(modes[0], recipe, run_path)
            if problem is None:
                break
            problems.append(problem)
            modes.pop(0)
        if problems:
            instead = "logging to metrics.jsonl only" if self._run is None else "logging offline instead"
            tell(f"warning: W&B failed: {problems[0]}; {instead}")

    def _start(self, mode: WandbMode, recipe: Recipe, run_path: Path) -> str | None:
        """Begin the run there; what went wrong, if anything."""
        try:
            import wandb  # noqa: PLC0415  # half a second, and only when asked for

            settings = wandb.Settings(
                silent=True,
                console="off",
                init_timeout=ONLINE_TIMEOUT,
                x_disable_stats=True,
                disable_git=True,
                disable_code=True,
            )
            if mode == "online":
                wandb.setup(settings=settings)
                if not wandb.login(prompt=False, verify=False):
                    raise ConnectionError("no API key: run `wandb login` or set WANDB_API_KEY")
            self._run = wandb.init(
                project=recipe.logger.project,
                # W&B keeps the name of a run that it could not begin online.
                id=self._id if mode == recipe.logger.mode else f"{self._id}-{mode}",
                resume="allow" if self._resumed and mode == "online" else None,
                name=run_path.name if self._study is None else f"{self._study}-{run_path.name}",
                group=self._study,
                reinit="create_new",
                dir=str(run_path),
                config=recipe.model_dump(mode="json"),
                mode=mode,
                settings=settings,
            )
        except Exception as error:  # W&B raises anything, and none of it may end the training
            return _first_line(error)
        return None

    def log(self, record: dict[str, Any]) -> None:
        self._guarded(lambda run: run.log(record, step=record["iteration"]))

    def log_video(self, path: Path, iteration: int) -> None:
        self._guarded(lambda run: run.log({"video": _video(path)}, step=iteration))

    def close(self) -> None:
        run = self._run
        self._guarded(lambda run: run.finish())
        if run is not None and run.settings.mode == "offline":
            self._tell(f"W&B files are local; upload them with: wandb sync {Path(run.dir).parent}")

    def _guarded(self, action: Callable[[Any], None]) -> None:
        if self._run is None:
            return
        try:
            action(self._run)
        except Exception as error:  # as above
            self._run = None
            if self._modes:
                self._tell(f"warning: W&B failed: {_first_line(error)}; logging to metrics.jsonl only")
                self._modes.clear()
            atexit.register(_leave_quietly)


def wandb_modes(logger: LoggerRecipe) -> list[WandbMode]:
    """W&B's modes that a recipe lets be tried, in turn: none where it is off."""
    if logger.type != "wandb" or logger.mode == "disabled":
        return []
    return ["online", "offline"] if logger.mode == "online" else ["offline"]


def build_trackers(
    recipe: Recipe,
    metrics: Path,
    run_id: str,
    tell: Callable[[str], None],
    *,
    resumed: bool,
    study: str | None,
    wandb_modes: list[WandbMode],
) -> list[Tracker]:
    """metrics.jsonl, and W&B in the first of the modes that works (`WandbTracker` takes out the others)."""
    trackers: list[Tracker] = [MetricsFile(metrics)]
    if wandb_modes:
        trackers.append(WandbTracker(recipe, metrics.parent, run_id, tell, wandb_modes, resumed=resumed, study=study))
    return trackers


def _leave_quietly() -> None:
    """What W&B does at exit, where it may have no service left to tell: before it prints a traceback of its own."""
    import wandb  # noqa: PLC0415  # as above

    with suppress(Exception, SystemExit):
        wandb.teardown()


def _video(path: Path) -> Any:
    import wandb  # noqa: PLC0415  # as above

    return wandb.Video(str(path))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _not_finite(value: Any) -> bool:
    return isinstance(value, float) and not math.isfinite(value)
