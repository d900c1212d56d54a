"""A run's folder as bytes, for a process that has no hands on ours."""

import io
import tarfile
from pathlib import Path, PurePosixPath

from cartpole_cli.errors import CartpoleError, writing
from cartpole_cli.files import make_folder

LOCK = ".lock"


def pack(folder: Path) -> bytes:
    """All regular files in a folder."""
    parcel = io.BytesIO()
    with tarfile.open(fileobj=parcel, mode="w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != LOCK:
                entry = tarfile.TarInfo(path.relative_to(folder).as_posix())
                content = path.read_bytes()
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return parcel.getvalue()


def unpack(parcel: bytes, folder: Path) -> None:
    """Write what `pack` took into a new folder: it is whole, or not there.

    Raises:
        CartpoleError: it cannot be written, or is no parcel.
    """
    half_done = folder.with_name(f".{folder.name}.tmp")
    try:
        with tarfile.open(fileobj=io.BytesIO(parcel)) as archive:
            for entry in archive:
                name = PurePosixPath(entry.name)
                source = archive.extractfile(entry) if entry.isreg() else None
                if source is None or name.is_absolute() or ".." in name.parts:
                    raise CartpoleError(f"{folder}: its worker sent {entry.name!r}, which is not a file of a run")
                path = half_done / name
                make_folder(path.parent, parents=True)
                with writing(path):
                    path.write_bytes(source.read())
    except tarfile.TarError as error:
        raise CartpoleError(f"{folder}: its worker sent no run") from error
    with writing(folder):
        half_done.rename(folder)
