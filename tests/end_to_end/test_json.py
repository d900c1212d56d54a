"""`--json` prints the keys and types that docs/json.md lists, and no others."""

import io
import json
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
from commands import TINY, command

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "json.md").read_text(encoding="utf-8")
TABLES = {
    title: dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", content, re.MULTILINE))
    for title, content in re.findall(r"^### (.+)\n\n((?:\|.*\n)+)", DOCUMENT, re.MULTILINE)
}
"""The type of each key, by the name of its table."""
ESTIMATES = {"figure": "value", "IQM": "iqm"}
PLAIN: dict[str, Callable[[Any], bool]] = {
    "text": lambda value: isinstance(value, str),
    "integer": lambda value: type(value) is int,
    "number": lambda value: type(value) in {int, float},
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "map": lambda value: isinstance(value, dict),
    "range": lambda value: isinstance(value, list) and list(map(type, value)) == [float, float],
}
SUITE = """
seconds = 6
cart_pole_episodes = 2

[[condition]]
name = "a grid"
episodes = 2
gravity = [5, 20]
"""
SWEEP = ("trainer.learning_rate=1e-3,1e-2", "--trials", "2", "--seeds", "2", "--finalists", "1", "--confirm-seeds", "2")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a few commands print, by a name for each."""
    folder = tmp_path_factory.mktemp("json")
    (folder / "suite.toml").write_text(SUITE, encoding="utf-8")
    where = ("--runs-dir", folder)
    tiny = ("--recipe", "ppo", "--quiet", *where, *TINY)
    commands: dict[str, tuple[object, ...]] = {
        "run": ("train", *tiny, "--name", "first"),
        "study": ("train", *tiny, "--name", "study", "--seeds", "2"),
        "one": ("eval", "first", *where, "--episodes", "2"),
        "many": ("eval", "first", "study", folder / "first" / "best.pth", *where, "--episodes", "2"),
        "suite": ("eval", "first", *where, "--suite", folder / "suite.toml"),
        "best": ("best", folder, "--confirm", "2"),
        "sweep": ("sweep", *tiny, *SWEEP, "--name", "search"),
        "export": ("export", "first", *where, "--format", "onnx", "--format", "js", "--format", "c"),
    }
    printed = {}
    for name, words in commands.items():
        with redirect_stdout(io.StringIO()) as out:
            assert command(*words, "--json") == 0, name
        printed[name] = out.getvalue()
    return printed


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("run", "run"),
        ("study", "study"),
        ("one", "scores"),
        ("many", "scores"),
        ("suite", "suite scores"),
        ("sweep", "report"),
    ],
)
def test_a_command_prints_one_object_as_documented(outputs: dict[str, str], name: str, table: str) -> None:
    check(json.loads(outputs[name]), table, name)


def test_best_prints_a_list_of_rows(outputs: dict[str, str]) -> None:
    rows = json.loads(outputs["best"])
    assert len(rows) == 2
    for row in rows:
        check(row, "row", "best")


def test_export_prints_an_object_per_line(outputs: dict[str, str]) -> None:
    files = [json.loads(line) for line in outputs["export"].splitlines()]
    assert [file["format"] for file in files] == ["onnx", "js", "c"]
    for file in files:
        check(file, "file", "export")


def test_the_parts_that_the_tables_name_are_there(outputs: dict[str, str]) -> None:
    many, sweep = json.loads(outputs["many"]), json.loads(outputs["sweep"])
    assert len(many["targets"]) == 4
    assert len(many["comparisons"]) == len(many["studies"]) == 1
    assert len(json.loads(outputs["suite"])["targets"][0]["conditions"][0]["cells"]) == 2
    assert len(sweep["finalists"]) == 2


def check(given: Any, table: str, where: str) -> None:
    """That an object has the keys and types of a table."""
    assert isinstance(given, dict), where
    fields = TABLES[table]
    required = {key for key, kind in fields.items() if not kind.endswith(", optional")}
    assert required <= set(given) <= set(fields), (where, set(given) ^ set(fields))
    for key, value in given.items():
        check_value(value, fields[key].removesuffix(", optional"), f"{where}: {key}")


def check_value(value: Any, kinds: str, where: str) -> None:
    """That a value is of one of the types in a table's cell."""
    for kind in kinds.split(" or "):
        item = kind.removeprefix("list of ")
        table = re.sub(r"\[(.+)\]\(#.*\)", r"\1", item)
        if item != kind:
            if isinstance(value, list):
                for each in value:
                    check_value(each, item, where)
                return
        elif kind in ESTIMATES:
            if isinstance(value, dict):
                assert list(value) == [ESTIMATES[kind], "ci95"], where
                assert PLAIN["number"](value[ESTIMATES[kind]]), where
                assert PLAIN["range"](value["ci95"]), where
                return
        elif kind in PLAIN:
            if PLAIN[kind](value):
                return
        elif isinstance(value, dict):
            check(value, table, where)
            return
    raise AssertionError(f"{where}: {value!r} is not {kinds}")
