"""Ctrl-C and SIGTERM while something long is under way."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EXIT_INTERRUPTED = 130
STOPPING = "stopping after this iteration; Ctrl-C again stops at once"
STOPPING_WORKERS = "stopping; what the workers are at is lost, and done again by --resume"


@contextmanager
def stop_on_signal(
    request_stop: Callable[[], None], acknowledge: Callable[[str], None], text: str = STOPPING
) -> Iterator[None]:
    """The first signal asks what is under way to stop at its next report; a second one ends it at once."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def stop(_number: int, _frame: object) -> None:
        request_stop()
        restore()
        acknowledge(text)

    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        restore()
