"""Runs that share a folder, or lose theirs."""

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from commands import captured, end, start
from damage import ENDLESS, train

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.runs.resume import load_resumable
from cartpole_cli.runs.session import Session


def wait_for(path: Path, process) -> None:
    while not (path.exists() and path.read_text()):
        assert process.poll() is None
        time.sleep(0.02)


def test_a_run_under_way_is_not_resumed_by_another_process_until_it_is_killed(capsys):
    running = start("train", "--recipe", "tiny.toml", "--name", "run", *ENDLESS)
    try:
        wait_for(Path("runs/run/metrics.jsonl"), running)
        assert "another process is training this run" in captured(capsys, "train", "--quiet", "--resume", "run").line
        assert json.loads(captured(capsys, "best", "--json").out)[0]["status"] == "running"
    finally:
        running.kill()
        end(running)
    (killed,) = json.loads(captured(capsys, "best", "--json").out)
    assert (killed["status"], killed["env_steps"] > 0) == ("interrupted", True)
    assert "running" not in captured(capsys, "best").out
    session = Session.resume(load_resumable("run", Path("runs"), []), device=torch.device("cpu"), tell=print)
    with session:  # its recipe has no end
        pass
    assert not Path("runs/run/.lock").exists()


def test_of_two_runs_of_one_name_at_once_one_wins_and_without_a_name_both_do():
    named = [start("train", "--recipe", "tiny.toml", "--name", "run") for _ in range(2)]
    first, second = sorted((end(process) for process in named), key=lambda ended: ended.code)
    assert first.code == 0, first
    assert "exists already" in second.line
    unnamed = [start("train", "--recipe", "tiny.toml", "--runs-dir", "others") for _ in range(2)]
    assert [end(process).code for process in unnamed] == [0, 0]
    assert len(list(Path("others").iterdir())) == 2


@pytest.mark.parametrize("removed", [".", "metrics.jsonl"])
def test_a_run_whose_files_are_removed_ends_and_makes_none_again(removed, tmp_path):
    recipe = load_recipe(Path("tiny.toml"))
    session = Session.create(
        recipe, device=torch.device("cpu"), recipe_name="tiny", runs_dir=tmp_path / "runs", name="run", tell=print
    )
    target = session.directory.path / removed

    def work() -> None:
        with session:
            for _ in session.reports():
                shutil.rmtree(target) if target.is_dir() else target.unlink()

    with pytest.raises(CartpoleError, match=r"cannot be written \(No such file or directory\)"):
        work()
    assert not target.exists()


def test_a_removed_best_checkpoint_is_missed(tmp_path, monkeypatch):
    recipe = load_recipe(Path("tiny.toml"))
    session = Session.create(
        recipe, device=torch.device("cpu"), recipe_name="tiny", runs_dir=tmp_path / "runs", name="run", tell=print
    )
    with session:
        for _ in session.reports():
            pass
        session.directory.best.unlink()
        with pytest.raises(CartpoleError, match=r"best\.pth: cannot be read"):
            session.finish()


@pytest.mark.parametrize("name", ["CON", "nul", "com1.txt", "LPT9", "end.", "end ", "a:b", "x" * 300])
def test_a_name_that_some_system_refuses_is_one_line(name, capsys):
    assert name in train(capsys, "--name", name).line
    assert not list(Path("runs").glob("*"))


@pytest.mark.parametrize("name", ["with space", "поле", "x" * 200, "cost $^$ [red]", "console"])
def test_every_command_takes_an_odd_name_in_an_odd_folder(name, capsys):
    Path("målet").mkdir()
    Path("link").symlink_to("målet")
    options = ("--runs-dir", "link/../link/my runs")
    assert train(capsys, *options, "--name", name).code == 0
    for words in (("eval", name), ("export", name), ("plot", name), ("plot", name, "--output", "curve.svg")):
        assert captured(capsys, *words, *options).code == 0, words
    assert captured(capsys, "train", "--quiet", "--resume", name, *options).code == 0
    assert captured(capsys, "best", "link/../link/my runs").code == 0


def test_a_runs_folder_that_is_a_dangling_link_is_one_line(capsys):
    Path("gone").symlink_to("nowhere")
    assert "gone" in train(capsys, "--runs-dir", "gone").line


def test_a_finished_run_whose_results_are_removed_is_no_traceback(capsys):
    train(capsys, "--name", "run")
    for name in ("best.pth", "best.json", "evaluation.json"):
        (Path("runs/run") / name).unlink()
    ended = captured(capsys, "train", "--resume", "run")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1].endswith(", without a best.pth to score")
