"""How many workers are chosen, how seeds are split, and messages that are none."""

import io

import pytest

from cartpole_cli.cli.workers import PAYS_FROM, workers_of
from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.training.joined import joined
from cartpole_cli.workers import frames
from cartpole_cli.workers.frames import Frame
from cartpole_cli.workers.study import split


def recipe(**trainer: object) -> Recipe:
    given = {"num_steps": 100_000, "device": "cpu", "stop_at_return": "null"} | trainer
    return load_recipe(find_recipe("ppo"), [f"trainer.{key}={value}" for key, value in given.items()])


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartpole_cli.workers.local.cores", lambda: 8)
    monkeypatch.setattr("os.cpu_count", lambda: 8)


@pytest.mark.parametrize(
    ("num_members", "at_once", "trainer", "count"),
    [
        (PAYS_FROM // 100_000, 0, {}, 8),
        (PAYS_FROM // 100_000 - 1, 0, {}, 1),
        (256, 256, {}, 1),
        (256, 64, {}, 8),
        (256, 64, {"num_threads": 3}, 2),
        (4, 0, {"num_steps": PAYS_FROM}, 4),
    ],
)
def test_as_many_as_pay_are_chosen(num_members: int, at_once: int, trainer: dict[str, object], count: int) -> None:
    workers = workers_of(None, recipe(**trainer), num_members, at_once=at_once)
    assert (1 if workers is None else workers.count) == count


def test_what_is_asked_for_is_taken() -> None:
    workers = workers_of("3", recipe(), 2)
    assert workers is not None
    assert workers.count == 3
    assert workers_of("1", recipe(), 1_000_000) is None


def test_without_ray_a_line_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartpole_cli.cli.workers.find_spec", lambda name: None)
    with pytest.raises(CartpoleError, match=r"^--workers ray needs Ray: pip install 'cartpole-cli\[ray\]'$"):
        workers_of("ray", recipe(), 2)


def test_parts_are_of_neighbours() -> None:
    assert split([0, 1, 2, 3, 4], 2) == [[0, 1], [2, 3], [4]]
    assert split([0, 3, 4, 5, 6, 9], 3) == [[0], [3, 4, 5], [6], [9]]
    assert split([], 3) == []


def test_parts_that_went_on_longest_are_joined() -> None:
    states = [{"iteration": 3, "members": [0], "none": None}, {"iteration": 5, "members": [2, 3], "none": None}]
    assert joined([*states, {"iteration": 5, "members": [7], "none": None}]) == {
        "iteration": 5,
        "members": [2, 3, 7],
        "none": None,
    }


def test_a_message_that_was_changed_on_its_way_is_refused() -> None:
    message = Frame(frames.RESULT, 3, b"some bytes").encoded()
    assert Frame.decoded(message) == Frame(frames.RESULT, 3, b"some bytes")
    for place in range(len(message)):
        changed = bytearray(message)
        changed[place] ^= 1
        with pytest.raises(ValueError, match=r"damaged|cut short|at most"):
            Frame.decoded(bytes(changed))
    assert frames.read(io.BytesIO(message[:-1])) is None
