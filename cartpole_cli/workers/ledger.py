"""What has become of some jobs: which wait, how far the others are, and how often each was tried."""

from collections import deque

from cartpole_cli.errors import CartpoleError
from cartpole_cli.workers.frames import ERROR, RESULT, Frame
from cartpole_cli.workers.interface import MAX_TRIES, Lost, Said


class Ledger:
    """Of jobs, by their places."""

    def __init__(self, num_jobs: int) -> None:
        self.waiting = deque(range(num_jobs))
        self.left = num_jobs
        self._tries, self._shares = [0] * num_jobs, [0.0] * num_jobs

    def take(self) -> int:
        """The next one that waits; it is tried."""
        place = self.waiting.popleft()
        self._tries[place] += 1
        return place

    def share(self, place: int) -> float:
        """How far it was when it was last heard of."""
        return self._shares[place]

    def heard(self, frame: Frame) -> Said:
        """What a worker says of a job.

        Raises:
            CartpoleError: it cannot be done.
        """
        if frame.kind == ERROR:
            raise CartpoleError(*frame.content.decode().splitlines())
        if frame.kind == RESULT:
            self.left -= 1
            return frame.content
        self._shares[frame.place] = float(frame.content)
        return self._shares[frame.place]

    def lost(self, place: int) -> Lost | None:
        """Its worker was lost: it waits again, or is given up."""
        if self._tries[place] < MAX_TRIES:
            self.waiting.appendleft(place)
            return None
        self.left -= 1
        return Lost(MAX_TRIES)


def fate(lost: Lost | None) -> str:
    """Of the work, in words."""
    return "done again" if lost is None else "given up"
