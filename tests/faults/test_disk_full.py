"""The disk is full, at each operation in turn: one line, nothing damaged, and the run goes on when there is room."""

import json
import re
import subprocess
from itertools import count
from pathlib import Path

import pytest
from commands import COMMAND, Ended, captured
from damage import check_undamaged, contents, files_in, same, train
from full_disk import FullDisk

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import copy_recipe, find_recipe

NO_SPACE = r"error: \S+: (cannot be written|cannot be made|cannot make the run's folder) \(No space left on device\)"
GRID = """
seconds = 6
cart_pole_episodes = 1
[[condition]]
name = "grid"
episodes = 1
gravity = [5, 20]
cart_mass = [0.5, 1]
"""
STUDY = ("trainer.num_steps=64", "trainer.num_seeds=2", "trainer.checkpoint_every=1")


@pytest.mark.parametrize(("changes", "fewest"), [((), 40), (STUDY, 60)], ids=["run", "study"])
def test_a_disk_full_at_any_operation_costs_one_line_and_no_file(changes, fewest, tmp_path, capsys):
    assert train(capsys, "--name", "whole", *changes).code == 0
    whole = contents(tmp_path / "runs" / "whole")
    resumed = freed = 0
    for full_from in count(1):
        name = f"run{full_from}"
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, full_from)
            ended = train(capsys, "--name", name, *changes)
        if disk.operations < full_from:
            assert ended.code == 0
            break
        assert re.fullmatch(NO_SPACE, ended.line), (full_from, ended)
        folder = tmp_path / "runs" / name
        check_undamaged(folder)
        assert captured(capsys, "best", "runs").code == 0
        again = captured(capsys, "train", "--quiet", "--resume", name)
        if again.code == 2:
            assert "no run in" in again.line
            assert not folder.exists(), "its name is free again"
            freed += 1
            continue
        assert again.code == 0, (full_from, again)
        assert same(contents(folder), whole), full_from
        resumed += 1
    assert resumed + freed >= fewest
    assert resumed > 2 * freed, "only what fails before the first iteration leaves nothing"


def test_a_disk_full_while_a_run_is_resumed_leaves_it_as_it_can_be_resumed(tmp_path, capsys):
    train(capsys, "--name", "whole")
    whole = contents(tmp_path / "runs" / "whole")
    with pytest.MonkeyPatch.context() as patch:
        FullDisk(patch, 30)
        assert train(capsys, "--name", "run").code == 2
    for full_from in count(1):
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, full_from)
            ended = captured(capsys, "train", "--quiet", "--resume", "run")
        check_undamaged(tmp_path / "runs" / "run")
        if ended.code == 0:
            break
        assert re.fullmatch(NO_SPACE, ended.line), (full_from, ended)
    assert disk.operations < full_from > 20
    assert same(contents(tmp_path / "runs" / "run"), whole)


def test_an_export_to_a_full_disk_leaves_the_old_files(tmp_path, capsys):
    train(capsys, "--name", "run")
    assert captured(capsys, "export", "run", "--output", "out/policy.onnx").code == 0
    before = {path: path.read_bytes() for path in files_in(tmp_path / "out")}
    train(capsys, "--name", "other", "--seed", "1")
    for full_from in count(1):
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, full_from)
            ended = captured(capsys, "export", "other", "--output", "out/policy.onnx")
        after = {path: path.read_bytes() for path in files_in(tmp_path / "out")}
        if ended.code == 0:
            break
        assert re.fullmatch(NO_SPACE, ended.line), (full_from, ended)
        assert after.keys() == before.keys()
        assert after == before or full_from > 3, "the pairs to test with may be the new ones, written whole"
    assert full_from > 5
    assert after != before


PICTURES = {
    "curves": ("plot", "run", "--y", "return", "--output", "new/curves.svg"),
    "a PNG": ("plot", "run", "--y", "return", "--output", "new/curves.png"),
    "a heat map": ("eval", "run", "--suite", "grid.toml", "--heatmap", "new/map.png"),
}


@pytest.mark.parametrize("arguments", PICTURES.values(), ids=PICTURES)
def test_a_picture_on_a_full_disk_is_one_line_and_no_file(arguments, tmp_path, capsys):
    train(capsys, "--name", "run")
    (tmp_path / "grid.toml").write_text(GRID)
    target = tmp_path / arguments[-1]
    for full_from in count(1):
        with pytest.MonkeyPatch.context() as patch:
            FullDisk(patch, full_from)
            ended = captured(capsys, *arguments)
        if ended.code == 0:
            break
        assert re.fullmatch(NO_SPACE, ended.line), (full_from, ended)
        assert not target.parent.exists()
    assert full_from > 3, "a folder, a file, its content and its name"
    assert [path.name for path in target.parent.iterdir()] == [target.name]


def why_not_copied(name: str, target: Path) -> str:
    try:
        copy_recipe(name, target)
    except CartpoleError as error:
        return str(error)
    return ""


def test_a_copied_recipe_on_a_full_disk_is_whole_or_absent(tmp_path):
    for full_from in count(1):
        with pytest.MonkeyPatch.context() as patch:
            disk = FullDisk(patch, full_from)
            problem = why_not_copied("ppo", tmp_path / "mine.toml")
        if not disk.is_full:
            break
        assert re.fullmatch(NO_SPACE, f"error: {problem}")
        assert {path.name for path in tmp_path.iterdir()} - {"recipe.schema.json"} == {"tiny.toml"}
    assert full_from > 2
    assert (tmp_path / "mine.toml").read_bytes().endswith(find_recipe("ppo").read_bytes())
    assert json.loads((tmp_path / "recipe.schema.json").read_text())["title"] == "Recipe"


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
sys.dont_write_bytecode = True  # half of a compiled module would be what all later processes read
sys.argv = ["cartpole", *sys.argv[1:]]
from cartpole_cli.cli.app import main
main()
"""
FILES = {
    "a film": ("eval", "run", "--episodes", "2", "--video", "new/film.mp4"),
    "curves": PICTURES["curves"],
    "a heat map": PICTURES["a heat map"],
}


@pytest.mark.parametrize("arguments", FILES.values(), ids=FILES)
def test_a_file_that_finds_no_room_is_one_line_and_no_file(arguments, tmp_path, capsys):
    train(capsys, "--name", "run")
    (tmp_path / "grid.toml").write_text(GRID)
    command = [COMMAND[0], "-c", LIMITED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ended = Ended(done.returncode, done.stdout, done.stderr)
    assert ended.line == f"error: {arguments[-1]}: cannot be written (File too large)"
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("cut", [1, 2, 20], ids=["before its newline", "before its brace", "in the middle"])
def test_a_torn_last_line_of_metrics_breaks_nothing(cut, tmp_path, capsys):
    train(capsys, "--name", "run", "trainer.num_steps=64")
    train(capsys, "--name", "longer")
    metrics = tmp_path / "runs" / "run" / "metrics.jsonl"
    metrics.write_bytes((tmp_path / "runs" / "longer" / "metrics.jsonl").read_bytes()[:-cut])
    assert captured(capsys, "best").code == 0
    assert captured(capsys, "plot", "run").code == 0
    assert captured(capsys, "train", "--quiet", "--resume", "run", "trainer.num_steps=96").code == 0
    assert [json.loads(line)["iteration"] for line in metrics.read_text().splitlines()] == [1, 2, 3]


def test_a_last_line_of_metrics_that_lacks_only_its_newline_is_kept(tmp_path, capsys):
    train(capsys, "--name", "run", "trainer.num_steps=64")
    metrics = tmp_path / "runs" / "run" / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes()[:-1])
    assert captured(capsys, "train", "--quiet", "--resume", "run", "trainer.num_steps=96").code == 0
    assert [json.loads(line)["iteration"] for line in metrics.read_text().splitlines()] == [1, 2, 3]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("recipes",), ("best", "."), ("--help",)])
def test_printing_to_a_full_disk_is_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    ended = Ended(done.returncode, "", done.stderr)
    assert ended.line == "error: standard output: cannot be written (No space left on device)"
