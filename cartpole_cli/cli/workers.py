"""`--workers`: how many processes, or which cluster, and the default."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from cartpole_cli.cli.streams import tell
from cartpole_cli.errors import CartpoleError

if TYPE_CHECKING:
    from cartpole_cli.recipe.recipe import Recipe
    from cartpole_cli.workers.interface import Workers

MOST = 1_024
PAYS_FROM = 3_000_000
"""Env steps, about a minute of one core: ten times what two processes take to end before one."""
WorkersOption = Annotated[
    str | None,
    typer.Option(
        "--workers",
        metavar="N|ray|ray:ADDRESS",
        help="Train in N processes, or on a Ray cluster ([ray] extra): a new one on this machine, "
        "or the one at ADDRESS. Default: one process per core if that is faster, otherwise this process only.",
        show_default=False,
    ),
]


def workers_of(asked: str | None, recipe: "Recipe", num_members: int, *, at_once: int = 0) -> "Workers | None":
    """The workers that train so many members by a recipe; None: this process.

    Args:
        asked: what the command line says.
        recipe: names the budget of a member, the device and the threads.
        num_members: seeds, or settings times seeds.
        at_once: how many one process had better train alone: it can be gone on with from any iteration.

    Raises:
        CartpoleError: as `asked_workers`.
    """
    from cartpole_cli.workers.local import LocalWorkers

    if asked is not None:
        return asked_workers(asked)
    count = _default(recipe, num_members, at_once)
    return None if count == 1 else LocalWorkers(count, tell)


def asked_workers(asked: str) -> "Workers | None":
    """The workers that the command line asks for; None: this process.

    Raises:
        CartpoleError: no number from 1 to 1,024, and no cluster.
    """
    from cartpole_cli.workers.local import LocalWorkers

    kind, colon, address = asked.partition(":")
    if kind == "ray" and (address or not colon):
        return _ray(address or None)
    count = int(asked) if asked.isascii() and asked.isdecimal() else 0
    if not 1 <= count <= MOST:
        raise CartpoleError(f"--workers {asked!r}: expected a number from 1 to {MOST:,}, ray, or ray:ADDRESS")
    return None if count == 1 else LocalWorkers(count, tell)


def announce(workers: "Workers", say: Callable[[str], None]) -> None:
    """Say so if starting the workers takes long."""
    if workers.seconds_to_begin > 1:
        say(f"workers: connecting to Ray takes about {workers.seconds_to_begin} s")


def _ray(address: str | None) -> "Workers":
    """Raises CartpoleError if Ray is not installed."""
    from cartpole_cli.libraries import quiet_ray

    if find_spec("ray") is None:
        raise CartpoleError("--workers ray needs Ray: pip install 'cartpole-cli[ray]'")
    quiet_ray(on_this_machine=address is None)
    from cartpole_cli.workers.cluster import RayWorkers

    return RayWorkers(address, tell)


def _default(recipe: "Recipe", num_members: int, at_once: int) -> int:
    settings = recipe.trainer
    if num_members <= at_once or num_members * settings.num_steps < PAYS_FROM:
        return 1
    from cartpole_cli.training.build import choose_device
    from cartpole_cli.workers.local import cores

    if choose_device(settings.device).type != "cpu":
        return 1  # they would wait for one another
    return max(1, min(cores() // settings.num_threads, num_members, MOST))
