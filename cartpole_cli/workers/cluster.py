"""A Ray cluster: one that is started for this command alone, or one that is there."""

import json
import logging
import socket
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.runs.manifest import processor, versions
from cartpole_cli.workers.frames import ERROR, RESULT, Frame
from cartpole_cli.workers.interface import MAX_TRIES, Lost, Said
from cartpole_cli.workers.private import private_cluster
from cartpole_cli.workers.task import answers

SECONDS_BETWEEN_LOOKS, SECONDS_TO_ANSWER = 1.0, 10.0
SHARES_PER_SECOND = 100
"""Of all workers together: one costs the driver about a millisecond."""


class RayWorkers:
    """As many workers as the cluster has CPUs. A job whose worker or node is lost is done again, `MAX_TRIES` times.

    Args:
        address: of a cluster that is there, as `ray.init` takes it; None: one is started, and ended.
        tell: is told, in a line, of each worker that is lost, and each node that is not used.
    """

    def __init__(self, address: str | None, tell: Callable[[str], None]) -> None:
        self._address, self._tell = address, tell
        self._free: Counter[str] = Counter()
        self._addresses: dict[str, str] = {}
        self._doubts: dict[Any, tuple[str, list[str]]] = {}
        self._cluster = ExitStack()

    @property
    def count(self) -> int:
        return max(1, sum(self._free.values()))

    def __str__(self) -> str:
        where = "a Ray cluster of this machine" if self._address is None else f"the Ray cluster at {self._address}"
        return f"{self.count} on {where}"

    def __enter__(self) -> "RayWorkers":
        with ExitStack() as cluster:
            self._connect(self._address or cluster.enter_context(private_cluster()))
            cluster.callback(ray.shutdown)
            self._choose_nodes()
            self._cluster = cluster.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the cluster; one that was started here ends, whatever it is at."""
        self._cluster.close()

    def run(self, function: str, jobs: Sequence[bytes]) -> Iterator[tuple[int, Said]]:
        """As `Workers.run`."""
        waiting, tries, left = deque(range(len(jobs))), [0] * len(jobs), len(jobs)
        under_way: dict[Any, tuple[int, str]] = {}
        shares = [0.0] * len(jobs)
        between = max(SECONDS_BETWEEN_LOOKS, self.count / SHARES_PER_SECOND)

        def hand_out() -> None:
            while waiting and (node := self._free_node()):
                place = waiting.popleft()
                tries[place] += 1
                self._free[node] -= 1
                task = _on(node, _compute, num_returns="streaming")
                under_way[task.remote(function, place, jobs[place], between)] = place, node

        while left:
            hand_out()
            if not under_way and not self._doubts:
                raise CartpoleError("--workers ray: no node of the cluster is left")
            ready, _ = ray.wait([*under_way, *self._doubts], num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            if not ready and under_way:
                place, _ = next(iter(under_way.values()))
                yield place, shares[place]
            for answer in ready:
                if answer in self._doubts:
                    self._decide(answer)
                    continue
                place, node = under_way[answer]
                frame = _next_frame(answer)
                if frame is None or frame.kind == RESULT:
                    del under_way[answer]
                    self._free[node] += 1
                if frame is None:
                    is_last_try = tries[place] == MAX_TRIES
                    self._doubt(node, "given up" if is_last_try else "done again")
                    if is_last_try:
                        left -= 1
                        yield place, Lost(MAX_TRIES)
                    else:
                        waiting.appendleft(place)
                elif frame.kind == ERROR:
                    raise CartpoleError(*frame.content.decode().splitlines())
                elif frame.kind == RESULT:
                    left -= 1
                    hand_out()  # before the result is looked at, so that nobody waits
                    yield place, frame.content
                else:
                    shares[place] = float(frame.content)
                    yield place, shares[place]

    def _connect(self, address: str) -> None:
        try:
            _check_listens(address)
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except Exception as error:  # Ray raises anything
            where = "ray" if self._address is None else f"ray:{self._address}"
            raise CartpoleError(f"--workers {where}: no cluster to connect to: {one_line(error)}") from error

    def _choose_nodes(self) -> None:
        """Those on which the same computation gives the same bits.

        Raises:
            CartpoleError: there are none.
        """
        nodes = {node["NodeID"]: node for node in _nodes() if node["Resources"].get("CPU", 0) >= 1}
        asked = {node: _on(node, _surroundings).remote() for node in nodes}
        for node, answer in asked.items():
            name = nodes[node]["NodeManagerAddress"]
            try:
                there = json.loads(ray.get(answer))
            except Exception as error:  # its worker cannot import us, or died
                self._tell(f"note: node {name} is not used: {one_line(error)}")
                continue
            differences = _differences(json.loads(_surroundings()), there)
            if differences:
                self._tell(f"note: node {name} is not used: {differences}; its numbers would differ")
            else:
                self._free[node], self._addresses[node] = int(nodes[node]["Resources"]["CPU"]), name
        if not self._free:
            raise CartpoleError("--workers ray: no node of the cluster can be used")

    def _free_node(self) -> str | None:
        """One that has a CPU to spare, and has not just lost a worker."""
        doubted = {node for node, _ in self._doubts.values()}
        return next((node for node, free in self._free.items() if free > 0 and node not in doubted), None)

    def _doubt(self, node: str, fate: str) -> None:
        """A worker of the node was lost: it gets no more work before it has answered."""
        for other, fates in self._doubts.values():
            if other == node:
                fates.append(fate)
                return
        self._doubts[_on(node, _surroundings).remote()] = node, [fate]

    def _decide(self, answer: Any) -> None:
        """Whether the node is there."""
        node, fates = self._doubts.pop(answer)
        try:
            ray.get(answer)
            what = f"a worker on {self._addresses[node]} was lost"
        except ray.exceptions.RayError:
            del self._free[node]
            what = f"node {self._addresses[node]} was lost"
        self._tell(f"note: {what}; its work is {' and '.join(sorted(set(fates)))}")


def _nodes() -> list[dict[str, Any]]:
    """Those that are alive."""
    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    return [node for node in nodes() if node["Alive"]]


def _check_listens(address: str) -> None:
    """Raises OSError if nobody does: Ray itself would ask again for half a minute."""
    host, colon, port = address.rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), SECONDS_TO_ANSWER).close()


def _compute(function: str, place: int, job: bytes, between: float) -> Iterator[bytes]:
    for frame in answers(function, place, job, between):
        yield frame.encoded()


def _surroundings() -> bytes:
    return json.dumps(versions() | {"processor": processor()}).encode()


def _on(node: str, function: Callable[..., Any], **options: Any) -> Any:
    """The function as a task for that node alone; Ray names it, and pickles none of it, as every node has it."""
    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(function).options(num_cpus=1, max_retries=0, scheduling_strategy=there, **options)


def _next_frame(answer: Any) -> Frame | None:
    """The next message of a task; None if there is none any more, as its worker or node is lost."""
    try:
        return Frame.decoded(ray.get(next(answer)))
    except (StopIteration, ray.exceptions.RayError, ValueError):
        return None


def _differences(here: dict[str, str], there: dict[str, str]) -> str:
    return ", ".join(
        f"{name} {there.get(name)} there, {value} here" for name, value in here.items() if there.get(name) != value
    )
