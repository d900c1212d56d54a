"""The last line of a checkpoint: format version and SHA-256 of what stands before it. No torch, as in `reading.py`."""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

from cartpole_cli.files import open_regular

FORMAT_VERSION = 1
TRAILER = re.compile(rb"\ncartpole-checkpoint (\d{1,9}) ([0-9a-f]{64})\n\Z")
TRAILER_LENGTH = 200
ANY_SIZE = 2**62
CHECKPOINT = "checkpoint_sha256"
"""The key that names a score's checkpoint; a score without its checkpoint is ignored."""


def with_trailer(payload: bytes) -> bytes:
    """A checkpoint file's content."""
    return payload + f"\ncartpole-checkpoint {FORMAT_VERSION} {hashlib.sha256(payload).hexdigest()}\n".encode()


def digest_of(path: Path) -> str | None:
    """The SHA-256 that names a checkpoint, as its trailer says; None if there is no such file."""
    with suppress(OSError), open_regular(path, ANY_SIZE) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TRAILER_LENGTH))
        trailer = TRAILER.search(file.read())
        return trailer[2].decode() if trailer else None
    return None
