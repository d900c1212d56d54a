"""Where computations run: in this process, in processes of this machine, or on a Ray cluster.

A job is bytes that say what to compute, its result the bytes that came out: no objects of ours travel, and whoever asks
keeps the only hands on folders. The same jobs give the same results wherever they run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import TracebackType
from typing import Protocol, runtime_checkable

Job = Callable[[bytes], Iterator[float | bytes]]
"""Yields shares of the work done, between 0 and 1, and its result at the end."""
MAX_RESULT = 1 << 30
"""Bytes of a result."""
MAX_TRIES = 3
"""Of a job whose worker is lost."""
MEMBERS_AT_ONCE = 64
"""In a computation: more cost as much per member, and take their memory."""


@dataclass(frozen=True, slots=True)
class Lost:
    """What becomes of a job whose worker was lost each time it was tried."""

    tries: int

    def __str__(self) -> str:
        return f"lost: the worker died, {self.tries} times; is there enough memory?"


Said = float | bytes | Lost
"""Of a job: how far it is, its result, or that there will be none."""


@runtime_checkable
class Workers(Protocol):
    """Does jobs; a context manager that ends all it started."""

    seconds_to_begin: int
    """How long `__enter__` takes, about."""

    @property
    def count(self) -> int:
        """How many jobs are done at once."""
        ...

    def __enter__(self) -> object: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, function: str, jobs: Sequence[bytes]) -> Iterator[tuple[int, Said]]:
        """How far each job is, by its place, and its result when it is done, in any order.

        Args:
            function: `module:name` of a `Job` in this package.
            jobs: what to compute.

        Raises:
            CartpoleError: one of them cannot be done.
        """
        ...


def job_named(function: str) -> Job:
    """The function of that name, one of this package."""
    module, _, name = function.partition(":")
    assert module.startswith("cartpole_cli."), function
    job: Job = getattr(import_module(module), name)
    return job
