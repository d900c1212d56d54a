"""A Ray cluster: one that is started for this command alone, or one that is there."""

import json
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.runs.manifest import processor, versions
from cartpole_cli.workers.frames import Frame
from cartpole_cli.workers.interface import Said
from cartpole_cli.workers.ledger import Ledger, fate
from cartpole_cli.workers.private import private_cluster
from cartpole_cli.workers.task import answers

SECONDS_BETWEEN_LOOKS, SECONDS_TO_ANSWER = 1.0, 10.0
SECONDS_TO_IMPORT = 120.0
"""For a node's first worker, torch included, from a slow disk."""
SHARES_PER_SECOND = 100
"""Of all workers together: one costs the driver about a millisecond."""


class RayWorkers:
    """As many workers as the cluster has CPUs. A job whose worker or node is lost is done again, `MAX_TRIES` times.

    Args:
        address: of a cluster that is there, as `ray.init` takes it; None: one is started, and ended.
        tell: is told, in a line, of each worker that is lost, and each node that is not used.
    """

    seconds_to_begin = 10

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
        ledger = Ledger(len(jobs))
        under_way: dict[Any, tuple[int, str]] = {}
        between = max(SECONDS_BETWEEN_LOOKS, self.count / SHARES_PER_SECOND)

        def hand_out() -> None:
            while ledger.waiting and (node := self._free_node()):
                place = ledger.take()
                self._free[node] -= 1
                task = _on(node, _compute, num_returns="streaming")
                under_way[task.remote(function, place, jobs[place], between)] = place, node

        while ledger.left:
            hand_out()
            if not under_way and not self._doubts:
                raise CartpoleError("--workers ray: no node of the cluster is left")
            ready, _ = ray.wait([*under_way, *self._doubts], num_returns=1, timeout=SECONDS_BETWEEN_LOOKS)
            if not ready and under_way:
                place, _ = next(iter(under_way.values()))
                yield place, ledger.share(place)
            for answer in ready:
                if answer in self._doubts:
                    self._decide(answer)
                    continue
                place, node = under_way[answer]
                frame = _next_frame(answer)
                said = ledger.lost(place) if frame is None else ledger.heard(frame)
                if not isinstance(said, float):
                    del under_way[answer]
                    self._free[node] += 1
                    if not isinstance(said, bytes):
                        self._doubt(node, fate(said))
                    hand_out()  # before the result is looked at, so that nobody waits
                if said is not None:
                    yield place, said
        for answer in list(self._doubts):
            self._decide(answer)

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
        asked = {node: _on(node, _surroundings, num_cpus=0).remote() for node in nodes}
        for node, answer in asked.items():
            name = nodes[node]["NodeManagerAddress"]
            try:
                there = json.loads(ray.get(answer, timeout=SECONDS_TO_IMPORT))
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

    def _doubt(self, node: str, its_fate: str) -> None:
        """A worker of the node was lost: it gets no more work before it has answered."""
        for other, fates in self._doubts.values():
            if other == node:
                fates.append(its_fate)
                return
        self._doubts[_on(node, _surroundings, num_cpus=0).remote()] = node, [its_fate]

    def _decide(self, answer: Any) -> None:
        """Whether the node is there."""
        node, fates = self._doubts.pop(answer)
        try:
            ray.get(answer, timeout=SECONDS_TO_IMPORT)
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


def _on(node: str, function: Callable[..., Any], *, num_cpus: int = 1, **options: Any) -> Any:
    """The function as a task for that node alone; Ray names it, and pickles none of it, as every node has it."""
    there = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
    return ray.remote(function).options(num_cpus=num_cpus, max_retries=0, scheduling_strategy=there, **options)


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
