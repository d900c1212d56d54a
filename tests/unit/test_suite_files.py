"""Suite files, right and wrong."""

from pathlib import Path

import pytest

from cartpole_cli.errors import CartpoleError
from cartpole_cli.scoring.page.suite_files import load_suite, shipped_suites

RIGHT = """
seconds = 10
[[condition]]
name = "calm"
"""


def suite(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def problems(tmp_path: Path, text: str) -> tuple[str, ...]:
    with pytest.raises(CartpoleError) as raised:
        load_suite(suite(tmp_path, text))
    return raised.value.problems


def test_every_shipped_suite_is_valid():
    assert "page" in shipped_suites()
    for name in shipped_suites():
        load_suite(name)


def test_a_number_is_a_list_or_a_range_of_one(tmp_path):
    text = RIGHT + "gravity = 5\nmodel_after = 2\n[condition.pushes]\nstrength = 1\nevery = [1, 3]\n"
    (condition,) = load_suite(suite(tmp_path, text)).condition
    assert condition.gravity == (5.0,)
    assert condition.model_after == (2.0, 2.0)
    assert condition.pushes.strength == (1.0, 1.0)


MISTAKES = {
    "a field's typo": (RIGHT + "cart_mas = 5", "condition[1].cart_mas = 5: unknown field; did you mean 'cart_mass'?"),
    "a top field's typo": ("secnds = 3\n" + RIGHT, "secnds = 3: unknown field; did you mean 'seconds'?"),
    "a push's typo": (
        RIGHT + "pushes = { strength = 1, every = 2, untill = 3 }",
        "condition[1].pushes.untill = 3: unknown field; did you mean 'until'?",
    ),
    "a push without a strength": (RIGHT + "pushes = { every = 2 }", "condition[1].pushes.strength: missing"),
    "a strange start": (
        RIGHT + 'start = "hangin"',
        "condition[1].start = 'hangin': allowed: 'still', 'hanging' or 'wild'; did you mean 'hanging'?",
    ),
    "a text for a number": (
        RIGHT + 'gravity = "moon"',
        "condition[1].gravity = 'moon': allowed: a number, or a list of numbers",
    ),
    "a text in a list": (RIGHT + 'gravity = ["moon"]', "condition[1].gravity[1] = 'moon': allowed: a valid number"),
    "too heavy": (
        RIGHT + "cart_mass = [1, 1000]",
        "condition[1].cart_mass[2] = 1000: allowed: less than or equal to 100",
    ),
    "a range upside down": (
        RIGHT + "model_after = [3, 1]",
        "condition[1].model_after = [3, 1]: allowed: a range, the lower number first",
    ),
    "a range of three": (
        RIGHT + "model_after = [1, 2, 3]",
        "condition[1].model_after = [1, 2, 3]: allowed: a number, or [lowest, highest]",
    ),
    "a number out of its range": (
        RIGHT + "model_after = -1",
        "condition[1].model_after = -1: allowed: greater than or equal to 0",
    ),
    "an empty list": (RIGHT + "gravity = []", "condition[1].gravity = []: allowed: at least 1"),
    "no name": ("[[condition]]\nepisodes = 3", "condition[1].name: missing"),
    "no condition": ("seconds = 10", "condition: missing"),
    "a condition that is a table": ('[condition]\nname = "calm"', "condition = {'name': 'calm'}: allowed: tables"),
    "two of a name": (RIGHT + '[[condition]]\nname = "calm"', "condition.name = 'calm': given twice"),
    "too short": (RIGHT.replace("10", "2"), "seconds = 2: allowed: greater than or equal to 6"),
    "true for a number": (RIGHT + "gravity = true", "condition[1].gravity"),
    "pushes that are a number": (RIGHT + "pushes = 3", "condition[1].pushes = 3: allowed: a table, [condition.pushes]"),
    "a condition that is a number": ("condition = [3]", "condition[1] = 3: allowed: tables, each [[condition]]"),
    "more than memory has room for": (
        RIGHT + "episodes = 10000\ngravity = [1, 2, 3]\ncart_mass = [1, 2, 3, 4, 5, 6]",
        "condition 'calm': 10000 episodes in each of 18 cells; allowed: at most 8333",
    ),
    "no TOML": ("seconds = = 3", "not valid TOML"),
    "not a number": (RIGHT + "gravity = nan", "condition[1].gravity[1] = nan: allowed: a finite number"),
    "thousands of digits": (RIGHT + "episodes = " + "9" * 5000, ""),
}


@pytest.mark.parametrize(("text", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_that_names_file_and_field(tmp_path, text, reason):
    (problem,) = problems(tmp_path, text)
    assert problem.startswith(f"{tmp_path / 'mine.toml'}: {reason}")
    assert len(problem) < 400


def test_all_problems_are_told_at_once(tmp_path):
    assert len(problems(tmp_path, RIGHT + "gravit = 1\nepisodes = 0\npole_length = 0.4\nstart = 3")) == 3


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(CartpoleError, match="not valid TOML"):
        load_suite(str(tmp_path / "mine.toml"))


@pytest.mark.parametrize("name", ["pgae", "none.toml", "", "x\0y", "a" * 5000])
def test_a_suite_that_is_not_there(name):
    with pytest.raises(CartpoleError) as raised:
        load_suite(name)
    (problem,) = raised.value.problems
    assert "shipped: page" in problem
    assert ("did you mean 'page'?" in problem) == (name == "pgae")
