"""Which folder or file a user means by a name: a path, or what has that name in the runs folder."""

from collections.abc import Callable
from pathlib import Path

from cartpole_cli.errors import CartpoleError, did_you_mean, reading
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Reader
from cartpole_cli.runs.folders import finalist_folders, is_sweep, manifest_of, seed_folders
from cartpole_cli.runs.ranking import ranked, winner
from cartpole_cli.runs.reading import RUN_FILES, read_runs


def find_run(name: str, runs_dir: Path) -> RunDirectory:
    """The folder of a run, a study or a sweep.

    Raises:
        CartpoleError: there is none.
    """
    with reading(Path(name)):
        folders = [folder for folder in (Path(name), runs_dir / name) if folder.is_dir()]
        for folder in folders:
            if any((folder / file).is_file() for file in RUN_FILES):
                return RunDirectory(folder)
        names = [entry.name for entry in runs_dir.iterdir()] if runs_dir.is_dir() else []
    if folders:
        raise CartpoleError(f"{folders[0]}: neither a run nor a study; expected a folder with {', '.join(RUN_FILES)}")
    raise CartpoleError(f"{name}: no such file or folder, and no run in {runs_dir}{did_you_mean(name, names)}")


def find_checkpoint(name: str, runs_dir: Path) -> Path:
    """A file, or best.pth of a run; of a study's best seed; of a sweep's best finalist.

    Raises:
        CartpoleError: there is none.
    """
    with reading(Path(name)):
        for path in (Path(name), runs_dir / name):
            if path.exists() and not path.is_dir():
                return path
        directory = find_run(name, runs_dir)
        if is_sweep(directory.path):
            directory = RunDirectory(best_finalist(directory.path))
        of_study = winner(ranked(read_runs(directory.path))) if seed_folders(directory.path) else None
        best = (of_study.directory if of_study else directory).best
        if not best.exists() or best.is_dir():
            raise CartpoleError(f"{directory.path}: has no best.pth; expected a run that has been evaluated")
    return best


def best_finalist(path: Path) -> Path:
    """The study in a sweep's folder that its report names as best; if it names none, that of the best run.

    Where the one it names was trained once more to be confirmed, it is that study.

    Raises:
        CartpoleError: no finalist was trained.
    """
    studies = {study.name: study for study in finalist_folders(path)}
    best = Reader().fields(path / "report.json").get("best")
    named = best.get("study") if isinstance(best, dict) else None
    if isinstance(named, str):
        for name in (f"{named}-confirmed", named):
            if name in studies:
                return studies[name]
    of_all = winner(run for run in ranked(read_runs(path)) if run.study)
    if of_all is not None:
        return of_all.directory.path.parent
    recipe = path / "best.toml"
    advice = f"train --recipe {recipe}" if recipe.is_file() else f"sweep --resume {path}"
    raise CartpoleError(f"{path}: a sweep without a trained finalist; to go on: cartpole {advice}")


def runs_of(name: str, runs_dir: Path, tell: Callable[[str], None]) -> list[str]:
    """The name itself, or those of a study's runs that have a best.pth; `tell` is told of the others.

    It is told, too, which run of a sweep is meant.
    """
    for folder in (Path(name), runs_dir / name):
        if is_sweep(folder):
            tell(f"note: {name}: the best run of its best finalist, {find_checkpoint(name, runs_dir).parent}")
            return [name]
        seeds = seed_folders(folder)
        found = [run.name for run in seeds if RunDirectory(run).best.is_file()]
        if found:
            planned = manifest_of(folder).get("seeds")
            count = max(len(seeds), len(planned) if isinstance(planned, list) else 0)
            if len(found) < count:
                tell(f"note: {name}: {count - len(found)} of {count} seeds have no best.pth: left out")
            return [f"{name}/{seed}" for seed in found]
    return [name]
