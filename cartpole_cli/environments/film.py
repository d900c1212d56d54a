"""A film of a recorded episode ([video] extra: pygame and PyAV)."""

import importlib.util
import itertools
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

from cartpole_cli.environments.recording import Recording
from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.files import check_can_write, folders_for, replacing

FORMATS = {".mp4": ("libx264", "yuv420p"), ".gif": ("gif", "rgb8")}


def check_can_film(path: Path | None = None) -> None:
    """Raises CartpoleError if a package is missing, or the file has another ending than .mp4 or .gif, or could
    not be written."""
    missing = [name for name in ("av", "pygame") if importlib.util.find_spec(name) is None]
    if missing:
        raise CartpoleError(f"filming needs {' and '.join(missing)}: pip install 'cartpole-cli[video]'")
    if path is not None and path.suffix not in FORMATS:
        raise CartpoleError(f"{path}: not a name for a film; allowed: {' or '.join(FORMATS)}")
    if path is not None:
        check_can_write(path)


def film(recording: Recording, path: Path) -> None:
    """Draw an episode into a .mp4 or .gif file.

    Raises:
        CartpoleError: as `check_can_film`, or the episode cannot be drawn, or the file cannot be written.
    """
    check_can_film(path)
    import av  # noqa: PLC0415 (an extra)

    for device in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        os.environ.setdefault(device, "dummy")  # a file needs neither screen nor sound card
    codec, pixel_format = FORMATS[path.suffix]
    try:
        with (
            folders_for(path),
            replacing(path, ending=path.suffix) as temporary,
            av.open(str(temporary), "w") as container,
        ):
            pictures = recording.pictures()
            first = next(pictures)
            rate = Fraction(recording.frames_per_second).limit_denominator(1000)
            stream: Any = container.add_stream(codec, rate=rate)
            stream.pix_fmt, (stream.height, stream.width) = pixel_format, first.shape[:2]
            for picture in itertools.chain([first], pictures):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise CartpoleError(f"{path}: cannot be written ({error.strerror or one_line(error)})") from error
