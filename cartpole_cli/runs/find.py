"""Which folder or file a user means by a name: a path, or what has that name in the runs folder."""

from collections.abc import Callable
from pathlib import Path

from cartpole_cli.errors import CartpoleError, did_you_mean, reading
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.ranking import ranked, winner
from cartpole_cli.runs.reading import RUN_FILES, read_runs, seed_folders


def find_run(name: str, runs_dir: Path) -> RunDirectory:
    """The folder of a run or a study.

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
    """A file, or best.pth of a run; of a study's best seed.

    Raises:
        CartpoleError: there is none.
    """
    with reading(Path(name)):
        for path in (Path(name), runs_dir / name):
            if path.exists() and not path.is_dir():
                return path
        directory = find_run(name, runs_dir)
        of_study = winner(ranked(read_runs(directory.path))) if seed_folders(directory.path) else None
        best = (of_study.directory if of_study else directory).best
        if not best.exists() or best.is_dir():
            raise CartpoleError(f"{directory.path}: has no best.pth; expected a run that has been evaluated")
    return best


def runs_of(name: str, runs_dir: Path, tell: Callable[[str], None]) -> list[str]:
    """The name itself, or those of a study's runs that have a best.pth; `tell` is told of the others."""
    for folder in (Path(name), runs_dir / name):
        seeds = seed_folders(folder)
        found = [run.name for run in seeds if RunDirectory(run).best.is_file()]
        if found:
            if len(found) < len(seeds):
                tell(f"note: {name}: {len(seeds) - len(found)} of {len(seeds)} seeds have no best.pth: left out")
            return [f"{name}/{seed}" for seed in found]
    return [name]
