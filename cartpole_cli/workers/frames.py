"""Messages between processes: a kind, a place, a length, the SHA-256 of all that, and so many bytes."""

import hashlib
import io
import struct
from dataclasses import dataclass
from typing import IO, Protocol, runtime_checkable

from cartpole_cli.workers.interface import MAX_RESULT

HEADER = struct.Struct(">cIQ32s")
JOB, SHARE, RESULT, ERROR = b"j", b"s", b"r", b"e"


@runtime_checkable
class Source(Protocol):
    """Where messages come from."""

    def read(self, size: int, /) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Frame:
    """A message: `place` is the job that it is about."""

    kind: bytes
    place: int
    content: bytes

    def encoded(self) -> bytes:
        return HEADER.pack(self.kind, self.place, len(self.content), self._digest()) + self.content

    def _digest(self) -> bytes:
        digest = hashlib.sha256(struct.pack(">cIQ", self.kind, self.place, len(self.content)))
        digest.update(self.content)
        return digest.digest()

    @classmethod
    def decoded(cls, message: bytes) -> "Frame":
        """Raises ValueError if it is none, too large, or was damaged on its way."""
        frame = read(io.BytesIO(message))
        if frame is None:
            raise ValueError("a message that was cut short")
        return frame


def write(stream: IO[bytes], frame: Frame) -> None:
    stream.write(frame.encoded())
    stream.flush()


def read(stream: Source) -> Frame | None:
    """The next message; None where the other end is gone.

    Raises:
        ValueError: it is too large, or was damaged on its way.
    """
    head = _exactly(stream, HEADER.size)
    if head is None:
        return None
    kind, place, length, digest = HEADER.unpack(head)
    if length > MAX_RESULT:
        raise ValueError(f"a message of {length:,} bytes; allowed: at most {MAX_RESULT:,}")
    content = _exactly(stream, length)
    if content is None:
        return None
    frame = Frame(kind, place, content)
    if frame._digest() != digest:
        raise ValueError("a message that was damaged on its way")
    return frame


def _exactly(stream: Source, length: int) -> bytes | None:
    parts, left = [], length
    while left:
        part = stream.read(left)
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
