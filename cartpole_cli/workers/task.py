"""What any worker does with a job."""

import time
from collections.abc import Iterator

from cartpole_cli.errors import CartpoleError, memory_asked, one_line
from cartpole_cli.workers.frames import ERROR, RESULT, SHARE, Frame
from cartpole_cli.workers.interface import job_named

SECONDS_BETWEEN_SHARES = 0.2


def answers(function: str, place: int, job: bytes, between: float = SECONDS_BETWEEN_SHARES) -> Iterator[Frame]:
    """Do the job at that place: how far it is, every so many seconds; its result, or in a line why there is none."""
    last = 0.0
    try:
        for said in job_named(function)(job):
            if isinstance(said, bytes):
                yield Frame(RESULT, place, said)
            elif time.monotonic() - last >= between:
                last = time.monotonic()
                yield Frame(SHARE, place, repr(said).encode())
    except CartpoleError as error:
        yield Frame(ERROR, place, str(error).encode())
    except Exception as error:  # whatever it is, the driver is who tells it
        asked = memory_asked(error)
        reason = f"{type(error).__name__}: {one_line(error)}" if asked is None else f"not enough memory ({asked})"
        yield Frame(ERROR, place, f"{reason}, in a worker".encode())
