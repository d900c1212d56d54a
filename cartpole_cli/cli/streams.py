"""Standard error for notes, and standard output when it is of no use any more."""

import os
import sys
from contextlib import suppress

from cartpole_cli.errors import printable

EXIT_BROKEN_PIPE = 141
"""What a shell says of a process that SIGPIPE ended."""


def tell(note: str) -> None:
    """Print a line for the user that is no result."""
    print(printable(note), file=sys.stderr, flush=True)


def forget_stdout() -> None:
    """What is left to be printed goes nowhere, or Python would try it again as it exits."""
    with suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
