"""Which folder or file a user means by a name."""

from pathlib import Path

from cartpole_cli.errors import CartpoleError, did_you_mean
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.ranking import ranked, winner
from cartpole_cli.runs.reading import read_runs, seed_folders


def find_checkpoint(target: str, runs_dir: Path) -> Path:
    """The file a user means: a file, a run's folder, or a run's name in the runs folder; a study's best seed.

    Raises:
        CartpoleError: there is none.
    """
    path = Path(target)
    try:
        for folder in (path, runs_dir / target):
            if folder.is_dir():
                of_study = winner(ranked(read_runs(folder))) if seed_folders(folder) else None
                best = (of_study.directory if of_study else RunDirectory(folder)).best
                if best.exists() and not best.is_dir():
                    return best
                raise CartpoleError(f"{folder}: has no best.pth; expected a run that has been evaluated")
            if folder.exists():
                return folder
        names = [entry.name for entry in runs_dir.iterdir()] if runs_dir.is_dir() else []
    except OSError as error:
        raise CartpoleError(f"{target}: cannot be read ({error.strerror})") from error
    raise CartpoleError(f"{target}: no such file, and no run in {runs_dir}{did_you_mean(target, names)}")


def runs_of(target: str, runs_dir: Path) -> list[str]:
    """The target itself, or a study's runs that have a best.pth."""
    for folder in (Path(target), runs_dir / target):
        found = [run.name for run in seed_folders(folder) if RunDirectory(run).best.is_file()]
        if found:
            return [f"{target}/{name}" for name in found]
    return [target]
