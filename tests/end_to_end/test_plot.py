"""`cartpole plot`, as a user types it."""

import importlib.util
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import TINY, command, process, train_tiny

from cartpole_cli.errors import printable


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run and a study of two seeds."""
    runs_dir = tmp_path_factory.mktemp("trained")
    train_tiny(runs_dir, "run")
    train_tiny(runs_dir, "study", "trainer.num_seeds=2")
    return runs_dir


@pytest.fixture
def plot(cartpole, trained):
    return lambda *arguments: cartpole("plot", *arguments, "--runs-dir", trained)


@pytest.mark.parametrize("options", [(), ("--x", "seconds"), ("--y", "return")])
def test_a_run_and_a_study_in_one_chart(plot, options):
    ended = plot("run", "study", *options)
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    lines = ended.out.splitlines()
    assert [line.split(" ", 1)[1] for line in lines[-2:]] == ["run", "study (IQM, 2 seeds)"]
    marks = {line[0] for line in lines[-2:]}
    assert len(marks) == 2
    assert all(any(mark in line for line in lines[:-2]) for mark in marks)


def test_a_seed_of_a_study_is_a_run(plot):
    assert plot("study/s0").out.splitlines()[-1].endswith(" study/s0")


def test_plain_characters_where_the_encoding_has_no_others(trained, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ended = process("plot", "study", "--runs-dir", str(trained))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.isascii()
    assert "o study (IQM, 2 seeds)" in ended.out


def test_pictures(plot):
    assert plot("run", "study", "--output", "new/curves.svg").out == "drawn: new/curves.svg\n"
    assert plot("run", "study", "--output", "curves.PNG").code == 0
    svg = Path("new/curves.svg").read_bytes()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert Path("curves.PNG").read_bytes().startswith(b"\x89PNG")
    assert plot("run", "study", "--output", "again.svg").code == 0
    assert Path("again.svg").read_bytes() == svg


@pytest.mark.parametrize("name", ["_hidden", "a$b$c", "e\x1b[31mvil\nname"])
def test_a_curve_is_labelled_whatever_the_run_is_called(plot, trained, tmp_path, name):
    shutil.copytree(trained / "run", tmp_path / name)
    ended = plot("run", name, "--output", "curves.svg")
    assert (ended.code, ended.err) == (0, "")
    assert f"<!-- {printable(name)} -->" in Path("curves.svg").read_text()
    assert plot(name).out.splitlines()[-1].endswith(f" {printable(name)}")


@pytest.mark.parametrize("digits", [400, 4000])
def test_numbers_of_hundreds_of_digits_are_no_points(plot, trained, tmp_path, digits):
    run = shutil.copytree(trained / "run", tmp_path / "large")
    before = plot(run).out
    huge = "9" * digits
    with (run / "metrics.jsonl").open("a") as file:
        file.write(
            f'{{"env_steps": {huge}, "selection_return": 1.0}}\n{{"env_steps": 3, "selection_return": -{huge}}}\n'
        )
    ended = plot(run)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stduy",), "did you mean 'study'?"),
        (("run", "--output", "curves.pdf"), "allowed: .svg or .png"),
        (("run", "--output", "taken/curves.svg"), "cannot be written"),
    ],
)
def test_what_cannot_be_done_is_one_line(plot, arguments, said):
    Path("taken").touch()
    ended = plot(*arguments)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert said in line


def test_without_matplotlib_there_is_the_chart_and_advice(plot, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert plot("run").code == 0
    ended = plot("run", "--output", "curves.svg")
    assert (ended.code, ended.err.splitlines()) == (
        2,
        ["error: drawing needs matplotlib: pip install 'cartpole-cli[plot]'"],
    )
    assert not Path("curves.svg").exists()


def test_a_run_without_an_evaluation_yet_says_so(plot, tmp_path):
    late = ("trainer.evaluate_every=50", "trainer.num_steps=1000", "--quiet", "--runs-dir", tmp_path, "--name", "late")
    assert command("train", "--recipe", "ppo", *TINY, *late) == 0
    metrics = tmp_path / "late/metrics.jsonl"
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:2]))
    ended = plot(tmp_path / "late")
    assert ended.code == 2
    assert "--y return" in ended.err
    assert plot(tmp_path / "late", "--y", "return").code == 0
