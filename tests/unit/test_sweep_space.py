"""Search spaces: how values are written, and what is refused before anything runs."""

import datetime
import tomllib
from typing import Any

import pytest

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import find_recipe, load_recipe
from cartpole_cli.sweep.dimensions import Choice, Interval, is_dimension
from cartpole_cli.sweep.space import Space, space_of

RECIPE = load_recipe(find_recipe("ppo"))
GAMMA, RATE, EPOCHS, BATCH = (
    "algorithm.gamma",
    "trainer.learning_rate",
    "algorithm.num_epochs",
    "algorithm.minibatch_size",
)


def space(**written: Any) -> Space:
    return space_of(RECIPE, {key.replace("__", "."): value for key, value in written.items()}, "here")


def problems(**written: Any) -> tuple[str, ...]:
    with pytest.raises(CartpoleError) as raised:
        space(**written)
    return raised.value.problems


@pytest.mark.parametrize(
    ("key", "written", "expected"),
    [
        (BATCH, "64,128, 256", Choice(BATCH, (64, 128, 256))),
        (BATCH, "choice(64,128)", Choice(BATCH, (64, 128))),
        (BATCH, [64, 128], Choice(BATCH, (64, 128))),
        (BATCH, 64, Choice(BATCH, (64,))),
        (EPOCHS, "range(1,4)", Choice(EPOCHS, (1, 2, 3))),
        (EPOCHS, "range(1, 10, 3)", Choice(EPOCHS, (1, 4, 7))),
        (GAMMA, "range(0.9,0.96,0.02)", Choice(GAMMA, (0.9, 0.92, 0.94))),
        (GAMMA, "interval(0.9,0.999)", Interval(GAMMA, 0.9, 0.999, is_log=False, is_whole=False)),
        (RATE, "log(1e-4,1e-1)", Interval(RATE, 1e-4, 1e-1, is_log=True, is_whole=False)),
        (RATE, "tag(log, interval(1e-4, 1e-1))", Interval(RATE, 1e-4, 1e-1, is_log=True, is_whole=False)),
        (EPOCHS, "interval(2,8)", Interval(EPOCHS, 2.0, 8.0, is_log=False, is_whole=True)),
        (EPOCHS, "log(1,16)", Interval(EPOCHS, 1.0, 16.0, is_log=True, is_whole=True)),
        ("algorithm.target_kl", "null,0.02", Choice("algorithm.target_kl", (None, 0.02))),
        ("policy.hidden_sizes", "[64],[32,32]", Choice("policy.hidden_sizes", ([64], [32, 32]))),
        ("policy.activation", 'tanh,"relu"', Choice("policy.activation", ("tanh", "relu"))),
        ("algorithm.normalize_advantage", "true,false", Choice("algorithm.normalize_advantage", (True, False))),
    ],
)
def test_values_are_written_as_hydra_users_write_them(key: str, written: Any, expected: Any) -> None:
    found = space_of(RECIPE, {key: written}, "here")
    assert found.dimensions == (expected,)
    assert found.written == {key: written}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1,2", True),
        ("interval(0,1)", True),
        ("lgo(0,1)", True),
        ("[64,64]", False),
        ("[64],[64,64]", True),
        ('"a,b"', False),
        ("0.9", False),
        ("", False),
        ("{a=1,b=2}", False),
    ],
)
def test_a_list_is_one_value(value: str, expected: bool) -> None:
    assert is_dimension(value) is expected


def test_places_in_a_dimension() -> None:
    whole = Interval(EPOCHS, 2.0, 4.0, is_log=False, is_whole=True)
    assert [whole.at(share) for share in (0.0, 0.33, 0.34, 0.67, 0.999999)] == [2, 2, 3, 4, 4]
    assert all(isinstance(whole.at(share), int) for share in (0.0, 0.5))
    linear = Interval(GAMMA, 0.5, 1.0, is_log=False, is_whole=False)
    assert (linear.at(0.0), linear.at(0.5)) == (0.5, 0.75)
    powers = Interval(RATE, 1e-4, 1e-2, is_log=True, is_whole=False)
    assert powers.at(0.5) == pytest.approx(1e-3)
    assert powers.at(0.0) == 1e-4
    assert powers.at(1 - 1e-9) <= 1e-2
    choice = Choice(BATCH, (64, 128, 256))
    assert [choice.at(share) for share in (0.0, 0.34, 0.99)] == [64, 128, 256]


def test_whole_numbers_on_a_log_scale_are_all_reached() -> None:
    powers = Interval(EPOCHS, 1.0, 4.0, is_log=True, is_whole=True)
    assert {powers.at(place / 1000) for place in range(1000)} == {1, 2, 3, 4}


def test_powers_are_drawn_between_any_two_numbers() -> None:
    powers = Interval(RATE, 5e-324, 1e-1, is_log=True, is_whole=False)
    assert 1e-170 < powers.at(0.5) < 1e-150


def test_a_setting_makes_a_recipe_that_has_its_values_to_the_last_digit() -> None:
    rate = 0.1 + 1e-17 + 2 / 3
    recipe = space(trainer__learning_rate="log(1e-4,1)").recipe_of({RATE: rate, "algorithm.target_kl": None})
    assert recipe.trainer.learning_rate == rate
    assert recipe.algorithm == RECIPE.algorithm


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({GAMMA: "interval(0.9,1.2)"}, "here: algorithm.gamma = 1.2: allowed: less than or equal to 1"),
        ({RATE: "log(0,1)"}, "a logarithmic interval begins above 0"),
        ({RATE: "log(1,0.1)"}, "expected two numbers, the lower first"),
        ({RATE: "interval(1)"}, "expected two numbers, the lower first"),
        ({RATE: "interval(a,b)"}, "'a' is not a number"),
        ({RATE: "interval(nan,1)"}, "nan is not a number"),
        ({RATE: "lgo(1,2)"}, "unknown function lgo; did you mean 'log'?"),
        ({RATE: "tag(lin, interval(1,2))"}, "expected tag(log, interval(LOW, HIGH))"),
        ({EPOCHS: "interval(1.5,3)"}, "expected whole numbers"),
        ({EPOCHS: "range(3,1)"}, "no values; expected 1 to 10,000"),
        ({EPOCHS: "range(1,2,0)"}, "expected range(START, STOP) or range(START, STOP, STEP), the step above 0"),
        ({EPOCHS: "range(0,1000000000)"}, "too many values; expected 1 to 10,000"),
        ({GAMMA: "0.9,0.9"}, "a value is given twice; expected each once"),
        ({"algorithm.gama": "interval(0.9,0.99)"}, "here: algorithm.gama = 0.9: unknown field; did you mean 'gamma'?"),
        ({"environment.id": "a,b"}, "cannot differ between trials; allowed: algorithm.*"),
        ({"trainer.num_steps": "1,2"}, "cannot differ between trials; allowed: algorithm.*"),
        ({"trainer.seed": "1,2"}, "cannot differ between trials; allowed: algorithm.*"),
        ({"trainer.learnin_rate": "1,2"}, "did you mean 'trainer.learning_rate'?"),
        ({"policy.activation": "tanh,gelu"}, "policy.activation = 'gelu'"),
        ({GAMMA: "range(0.1,1,1e-320)"}, "too many values"),
        ({EPOCHS: f"range(1,1{'0' * 400})"}, "is not a number to search with"),
        ({RATE: f"interval(0.1,1{'0' * 400})"}, "is not a number to search with"),
        ({RATE: "0.01,,0.1"}, "an empty value"),
        ({RATE: "choice()"}, "an empty value"),
        ({"algorithm.": "1,2"}, "expected SECTION.FIELD=VALUES"),
        ({EPOCHS: [2, datetime.date(1979, 1, 1)]}, "1979-01-01: not a number, word or list"),
        ({EPOCHS: "1,1.5,3"}, "algorithm.num_epochs = 1.5"),
        ({RATE: "0.01,nan,0.02"}, "trainer.learning_rate = nan"),
        ({EPOCHS: "1,true,3"}, "algorithm.num_epochs = True"),
        ({}, "nothing to search over"),
    ],
)
def test_what_cannot_be_searched_is_told_in_a_line(written: dict[str, Any], expected: str) -> None:
    with pytest.raises(CartpoleError) as raised:
        space_of(RECIPE, written, "here")
    (line,) = raised.value.problems
    assert line.startswith("here: ")
    assert expected in line


def test_all_problems_are_told_at_once() -> None:
    assert len(problems(algorithm__gamma="interval(1,0)", trainer__learning_rate="log(0,1)")) == 2
    assert len(problems(algorithm__gamma="interval(-1,2)", trainer__learning_rate="-1.0,0.1")) == 3


def test_what_only_a_corner_forbids_is_found() -> None:
    (line,) = problems(algorithm__minibatch_size="64,512", environment__num_envs="4,16")
    assert "algorithm.minibatch_size = 512: larger than the rollout; allowed: at most 128" in line


def test_a_space_of_too_many_corners_is_refused() -> None:
    names = [name for name, value in RECIPE.algorithm if isinstance(value, float) and value]
    many = {f"algorithm.{name}": "0.1,0.2" for name in names}
    words = {"policy.activation": "tanh,relu", "policy.features": "raw,scaled,trig", "policy.squash": "clip,tanh"}
    whole = {EPOCHS: "1,2", BATCH: "64,128", RATE: "0.1,0.2", "trainer.max_grad_norm": "0.1,0.2"}
    more = {"trainer.learning_rate_schedule": "constant,linear", "algorithm.entropy_coefficient": "0.1,0.2"}
    with pytest.raises(CartpoleError, match="corners to be checked; allowed: at most 4,096"):
        space_of(RECIPE, many | words | whole | more, "here")


def test_a_space_does_not_change_its_recipe() -> None:
    before = RECIPE.to_toml()
    space(algorithm__gamma="interval(0.9,0.99)").recipe_of({GAMMA: 0.95})
    assert RECIPE.to_toml() == before
    assert tomllib.loads(before)["algorithm"]["gamma"] != 0.95
