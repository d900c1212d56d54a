"""This process: one job after the other."""

from collections.abc import Iterator, Sequence
from types import TracebackType

from cartpole_cli.workers.interface import Said, job_named


class Here:
    """The only worker there is without any."""

    count = 1
    seconds_to_begin = 0

    def __str__(self) -> str:
        return "this process"

    def __enter__(self) -> "Here":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing was started."""

    def run(self, function: str, jobs: Sequence[bytes]) -> Iterator[tuple[int, Said]]:
        """As `Workers.run`; raises whatever a job raises."""
        job = job_named(function)
        for place, content in enumerate(jobs):
            for said in job(content):
                yield place, said
