"""Run folders: their names, and files that are whole or as they were."""

import errno
import re
from datetime import datetime
from pathlib import Path

import pytest

from cartpole_cli.errors import CartpoleError
from cartpole_cli.files import write_file
from cartpole_cli.runs import directory
from cartpole_cli.runs.directory import RunDirectory


def create(runs_dir: Path, name: str | None = None) -> RunDirectory:
    return RunDirectory.create(runs_dir, recipe_name="ppo", suffix="s3", name=name)


def problem(runs_dir: Path, name: str | None = None) -> str:
    with pytest.raises(CartpoleError) as caught:
        create(runs_dir, name)
    (line,) = caught.value.problems
    assert len(line.splitlines()) == 1
    return line


@pytest.fixture
def frozen_clock(monkeypatch):
    class Clock(datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(2031, 2, 3, 4, 5, 6, tzinfo=tz)

    monkeypatch.setattr(directory, "datetime", Clock)


def test_a_folder_is_named_by_time_recipe_and_suffix(tmp_path):
    before = datetime.now().replace(microsecond=0)
    run = create(tmp_path / "runs")
    after = datetime.now()
    assert run.path.is_dir()
    assert run.path.parent == tmp_path / "runs"
    stamp = re.fullmatch(r"(\d{8}-\d{6})-ppo-s3", run.path.name)[1]
    assert before <= datetime.strptime(stamp, "%Y%m%d-%H%M%S") <= after


def test_runs_of_one_second_get_folders_of_their_own(tmp_path, frozen_clock):
    runs = [create(tmp_path).path for _ in range(4)]
    assert len(set(runs)) == 4
    assert runs[0].name == "20310203-040506-ppo-s3"
    assert all(path.is_dir() and path.name.startswith("20310203-040506-ppo-s3") for path in runs)


def test_a_file_of_that_name_is_stepped_around(tmp_path, frozen_clock):
    in_the_way = tmp_path / "20310203-040506-ppo-s3"
    in_the_way.write_text("mine")
    assert create(tmp_path).path != in_the_way
    assert in_the_way.read_text() == "mine"


def test_missing_folders_above_are_made(tmp_path):
    assert create(tmp_path / "a" / "b" / "runs").path.parent == tmp_path / "a" / "b" / "runs"


@pytest.mark.parametrize("name", ["mine", "with space", "über", ".hidden", "a.b", "-x"])
def test_a_given_name_is_taken_as_it_is(tmp_path, name):
    assert create(tmp_path, name).path == tmp_path / name
    assert (tmp_path / name).is_dir()


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch])
def test_a_taken_name_is_refused(tmp_path, make):
    make(tmp_path / "mine")
    line = problem(tmp_path, "mine")
    assert str(tmp_path / "mine") in line
    assert "--name" in line


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "a/b", "/tmp/a", "../a", "a\\b", "a\0b", "a\nb", "a:b", "a*", "a?", 'a"', "<a>", "a|b"]
)
def test_a_name_no_folder_should_have_is_refused(tmp_path, name):
    assert problem(tmp_path, name).startswith(f"--name {name!r}: ")
    assert list(tmp_path.iterdir()) == []


def test_a_refused_name_does_not_make_the_runs_folder(tmp_path):
    problem(tmp_path / "runs", "a/b")
    assert list(tmp_path.iterdir()) == []


def test_a_name_too_long_is_one_line(tmp_path):
    assert "cannot make the run's folder" in problem(tmp_path, "x" * 300)


def test_a_file_in_place_of_the_runs_folder_is_named_as_what_is_wrong(tmp_path):
    runs_dir = tmp_path / "runs"
    runs_dir.touch()
    for name in (None, "mine"):
        line = problem(runs_dir, name)
        assert line.startswith(f"{runs_dir}: ")
        assert "--name" not in line  # another name would not help


def test_a_file_above_the_runs_folder_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    assert str(tmp_path / "file") in problem(tmp_path / "file" / "runs")


def test_a_runs_folder_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    def refuse(path, *_args, **_kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)  # the tests may run as root, whom no mode stops
    for name in (None, "mine"):
        line = problem(tmp_path / "runs", name)
        assert str(tmp_path / "runs") in line
        assert "Permission denied" in line


def test_files_are_where_the_design_says(tmp_path):
    run = create(tmp_path, "mine")
    names = {
        "recipe": "recipe.toml",
        "manifest": "run.json",
        "metrics": "metrics.jsonl",
        "best": "best.pth",
        "best_metadata": "best.json",
        "last": "last.pth",
        "evaluation": "evaluation.json",
    }
    assert {attribute: getattr(run, attribute) for attribute in names} == {
        attribute: tmp_path / "mine" / name for attribute, name in names.items()
    }
    assert run.snapshot(12288) == tmp_path / "mine" / "checkpoints" / "step_000012288.pth"


# write_file


def test_a_file_is_written_and_replaced_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "folder" / "file"
    path.parent.mkdir()
    for content in (b"old", b"new and longer", b""):
        write_file(path, content)
        assert path.read_bytes() == content
    assert list(path.parent.iterdir()) == [path]


def test_readers_see_the_old_content_until_the_new_is_whole(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_file(path, b"old")
    seen = []
    write_bytes = Path.write_bytes

    def spy(target, content):
        assert target != path
        assert target.parent == path.parent  # a rename across file systems is not atomic
        written = write_bytes(target, content)
        seen.append(path.read_bytes())
        return written

    monkeypatch.setattr(Path, "write_bytes", spy)
    write_file(path, b"new")
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("old", [b"old", None])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    write_bytes = Path.write_bytes

    def full(target, content):
        write_bytes(target, content[:2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(CartpoleError, match="No space left on device") as caught:
        write_file(path, b"new content")
    monkeypatch.undo()
    assert caught.value.problems == (f"{path}: cannot be written (No space left on device)",)
    assert [entry.read_bytes() for entry in tmp_path.iterdir()] == ([] if old is None else [old])


def test_a_rename_that_fails_leaves_no_other_file(tmp_path):
    path = tmp_path / "file"
    path.mkdir()
    with pytest.raises(CartpoleError, match="cannot be written"):
        write_file(path, b"new")
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path):
    (tmp_path / "checkpoints").touch()
    with pytest.raises(CartpoleError, match="cannot be written"):
        write_file(tmp_path / "checkpoints" / "step_000000001.pth", b"new")
