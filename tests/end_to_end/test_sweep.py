"""`cartpole sweep`, as a user types it."""

import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from commands import COMMAND, TINY, Ended, command, in_terminal, plain

from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.runs.lock import FolderLock
from cartpole_cli.sweep.score import Curve
from cartpole_cli.training.build import build_trainer

Run = Callable[..., Ended]
SPACE = ("trainer.learning_rate=log(1e-3,1e-1)", "algorithm.gamma=interval(0.9,0.999)", "algorithm.num_epochs=1,2")
BASE = ("sweep", "--recipe", "ppo", *TINY, "environment.max_episode_steps=30", "trainer.stop_at_return=28.0")
FEW = ("--trials", "6", "--seeds", "2", "--finalists", "2", "--confirm-seeds", "3")
SMALL = (*BASE, *SPACE, *FEW, "--seed", "4", "--name", "s")  # of this seed's finalists a trial is best
ALONE = (*BASE, *SPACE, "--trials", "6", "--seeds", "2", "--finalists", "0")
FILES = ("sweep.toml", "trials.jsonl", "report.json", "best.toml", "slices.svg")
UNTIMED = ("best.json", "evaluation.json", "recipe.toml", "best.pth")
"""What each finalist's seed leaves without a time in it."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that has ended."""
    folder = tmp_path_factory.mktemp("searches")
    assert command(*SMALL, "--runs-dir", folder, "--quiet") == 0
    return folder / "s"


def trials(folder: str = "runs/s") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(folder, "trials.jsonl").read_text().splitlines()]


def manifest(folder: str = "runs/s") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "run.json").read_text())
    return found


def content(folder: Path) -> dict[str, bytes]:
    """All that a search leaves and that is the same each time."""
    paths = [folder / name for name in FILES] + [path for name in UNTIMED for path in folder.glob(f"*/s*/{name}")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_search_ends_with_a_report_and_a_recipe_that_trains(cartpole: Run) -> None:
    ended = cartpole(*SMALL)
    assert ended.code == 0, ended
    assert ended.out.splitlines()[0] == "ppo on CartPole-v1, 6 trials x 2 seeds"
    report = json.loads(Path("runs/s/report.json").read_text())
    assert [len(trial["seeds"]) for trial in trials()] == [2] * 6
    assert sorted(trial["trial"] for trial in trials()) == list(range(6))
    assert {finalist["study"] for finalist in report["finalists"]} >= {"recipe"}
    assert len(report["finalists"]) == 3
    assert sum(line.startswith(("recipe ", "trial-")) for line in ended.out.splitlines()) == 3
    assert manifest()["kind"] == "sweep"
    assert (manifest()["status"], manifest()["algorithm"]) == ("finished", "ppo")
    assert manifest()["env_steps"] == sum(seed["env_steps"] for trial in trials() for seed in trial["seeds"])
    text = Path("runs/s/best.toml").read_text()
    assert text.startswith("# Found by cartpole sweep: 6 trials of recipe 'ppo', over trainer.learning_rate, ")
    best = tomllib.loads(text)
    setting = report["best"]["setting"]
    assert all(best[key.split(".")[0]][key.split(".")[1]] == value for key, value in setting.items())
    assert best["trainer"]["num_seeds"] == 1
    assert "next: cartpole train --recipe runs/s/best.toml" in ended.out
    assert cartpole("train", "--recipe", "runs/s/best.toml", "--name", "again").code == 0


def test_stages_share_no_seed(cartpole: Run) -> None:
    cartpole(*SMALL, "--seed", "5")
    assert {seed["seed"] for trial in trials() for seed in trial["seeds"]} == {5, 6}
    studies = {path.parent.name: manifest(str(path.parent))["seeds"] for path in Path("runs/s").glob("*/run.json")}
    assert studies.pop("recipe") == [7, 8, 9]
    for name, seeds in studies.items():
        assert seeds == ([10, 11, 12] if name.endswith("-confirmed") else [7, 8, 9])


def test_a_trial_scores_what_its_recipe_scores_alone(cartpole: Run) -> None:
    """Members leave early here, and the settings are of two shapes."""
    cartpole(*ALONE, "--name", "s")
    statuses = {seed["status"] for trial in trials() for seed in trial["seeds"]}
    assert statuses == {"finished", "solved"}, "choose another target"
    for trial in trials():
        words = [f"{key}={value!r}" for key, value in trial["setting"].items()]
        base = tomllib.loads(Path("runs/s/sweep.toml").read_text())["recipe"]
        path = Path("alone.toml")
        import tomli_w

        path.write_text(tomli_w.dumps(base))
        recipe = load_recipe(path, words)
        for seed in trial["seeds"]:
            curve, last = Curve([], []), None
            for report in build_trainer([recipe.for_seed(seed["seed"])], torch.device("cpu")).iterations():
                (last,) = report.seeds
                if last.evaluation is not None:
                    curve.steps.append(last.env_steps)
                    curve.returns.append(last.evaluation.mean)
            assert last is not None
            curve.after = 28.0 if last.solved else None
            assert (seed["score"], seed["env_steps"]) == (curve.mean_held_out(384), last.env_steps)


def test_json_is_the_report_and_nothing_else_on_stdout(cartpole: Run) -> None:
    ended = cartpole(*ALONE, "--name", "s", "--json")
    assert json.loads(ended.out) == json.loads(Path("runs/s/report.json").read_text())
    assert "6 of 6 trials" in ended.err
    quiet = cartpole(*ALONE, "--name", "t", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")


def test_without_finalists_the_best_trial_is_told_as_not_confirmed(cartpole: Run) -> None:
    ended = cartpole(*ALONE, "--name", "s")
    best = max(trials(), key=lambda trial: trial["score"])
    assert f"best: trial {best['trial']}  " in ended.out
    assert "over 2 seeds, on which it was chosen: not confirmed" in ended.out
    assert "not compared with the recipe" in Path("runs/s/best.toml").read_text()
    assert [path.name for path in Path("runs/s").iterdir() if path.is_dir()] == []


@pytest.mark.parametrize("sampler", ["grid", "tpe"])
def test_other_samplers(cartpole: Run, sampler: str) -> None:
    space = ("algorithm.gamma=0.9,0.99", "algorithm.num_epochs=1,2,3")
    ended = cartpole(*BASE, *space, "--sampler", sampler, "--seeds", "2", "--finalists", "0", "--name", "s", "--quiet",
                     *(("--trials", "18") if sampler == "tpe" else ()))  # fmt: skip
    assert ended.code == 0, ended
    assert len(trials()) == (18 if sampler == "tpe" else 6)
    if sampler == "grid":
        assert len({json.dumps(trial["setting"]) for trial in trials()}) == 6


def test_tpe_without_optuna_is_told_before_anything_is_made(cartpole: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert "pip install 'cartpole-cli[sweep]'" in cartpole(*ALONE, "--sampler", "tpe").line
    assert not Path("runs").exists()


def test_a_dry_run_prints_a_search_file_that_is_the_same_search(cartpole: Run) -> None:
    ended = cartpole(*SMALL, "--dry-run")
    assert ended.code == 0, ended
    assert not Path("runs").exists()
    last = ended.out.splitlines()[-2:]
    assert last[0] == "# 6 trials x 2 seeds, then 2 finalists and the recipe x 3 seeds: 2 computations of trials"
    assert last[1].endswith("of training, held-out episodes not counted (from one iteration)")
    Path("search.toml").write_text(ended.out)
    again = cartpole("sweep", "search.toml", "--dry-run")
    assert again.out.splitlines()[:-2] == ended.out.splitlines()[:-2]


def test_what_cannot_be_searched_leaves_nothing_behind(cartpole: Run) -> None:
    assert "algorithm.gamma = 1.5" in cartpole(*BASE, "algorithm.gamma=0.9,1.5").line
    assert "second search file" in cartpole("sweep", "a.toml", "b.toml").line
    assert "a.toml: cannot be read" in cartpole("sweep", "a.toml").line
    assert "leave out the other options" in cartpole("sweep", "--resume", "s", "--trials", "3").line
    assert "s: no such folder, and no search in runs" in cartpole("sweep", "--resume", "s").line
    assert not Path("runs").exists()
    assert cartpole(*ALONE, "--name", "s", "--quiet").code == 0
    assert "exists already" in cartpole(*ALONE, "--name", "s").line


def test_a_search_that_has_ended_ends_again_as_it_was(cartpole: Run) -> None:
    first = cartpole(*SMALL, "--json")
    before = content(Path("runs/s"))
    again = cartpole("sweep", "--resume", "s", "--json")
    assert (again.code, again.out) == (0, first.out)
    assert content(Path("runs/s")) == before
    assert len(manifest()["resumed"]) == 1


def test_an_edited_search_is_refused(cartpole: Run) -> None:
    cartpole(*ALONE, "--name", "s", "--quiet")
    path = Path("runs/s/sweep.toml")
    path.write_text(path.read_text().replace("trials = 6", "trials = 7"))
    assert "sweep.toml: was edited after its trials ran" in cartpole("sweep", "--resume", "s").line


@pytest.mark.parametrize("tail", [b'{"trial": 5, "setting": {"algo', b"garbage\n", b'{"trial": 999}\n', b"\xff\n"])
def test_a_torn_or_foreign_last_line_is_dropped(cartpole: Run, tail: bytes) -> None:
    cartpole(*ALONE, "--name", "s", "--quiet")
    path = Path("runs/s/trials.jsonl")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]) + tail)
    assert cartpole("sweep", "--resume", "s", "--quiet").code == 0
    assert path.read_bytes() == whole


def test_trials_of_another_sampler_are_refused(cartpole: Run) -> None:
    cartpole(*ALONE, "--name", "s", "--quiet")
    path = Path("runs/s/trials.jsonl")
    first, *rest = trials()
    assert first["setting"]["algorithm.gamma"] != 0.95
    first["setting"]["algorithm.gamma"] = 0.95
    path.write_text("".join(json.dumps(line) + "\n" for line in (first, *rest)))
    assert f"trial {first['trial']} is not what the sampler asks for" in cartpole("sweep", "--resume", "s").line


def break_finalist(folder: Path, how: str) -> str:
    """Damage one; what is said of it."""
    report = json.loads((folder / "report.json").read_text())
    study = next(folder / each["study"] for each in report["finalists"] if each["trial"] is not None)
    other = next(folder / each["study"] for each in report["finalists"] if each["study"] != study.name)
    match how:
        case "a seed is gone":
            shutil.rmtree(next(study.glob("s[0-9]*")))
            return f"remove {study} to train it again"
        case "metrics are gone":
            next(study.glob("s*/metrics.jsonl")).write_text("")
            return f"remove {study} to train it again"
        case "another's":
            shutil.rmtree(study)
            shutil.copytree(other, study)
            return f"{study}: does not have the setting of {study.name}"
        case "a file":
            shutil.rmtree(study)
            study.write_text("")
            return f"{study}: cannot be made"
        case _:
            (study / "last.pth").unlink()
            return f"{study}: has results, but no last.pth"


@pytest.mark.parametrize("how", ["a seed is gone", "metrics are gone", "another's", "a file", "last.pth is gone"])
def test_a_damaged_finalist_is_told_and_the_report_stays(cartpole: Run, finished: Path, how: str) -> None:
    shutil.copytree(finished, "runs/s")
    told = break_finalist(Path("runs/s"), how)
    before = {name: Path("runs/s", name).read_bytes() for name in FILES}
    assert told in cartpole("sweep", "--resume", "s").line
    assert {name: Path("runs/s", name).read_bytes() for name in FILES} == before


@pytest.mark.parametrize("seconds", ['"abc"', "-1", "null", "1e999"])
def test_damaged_seconds_are_counted_from_0(cartpole: Run, finished: Path, seconds: str) -> None:
    shutil.copytree(finished, "runs/s")
    text = Path("runs/s/run.json").read_text()
    Path("runs/s/run.json").write_text(re.sub(r'"seconds": [\d.]+', f'"seconds": {seconds}', text))
    assert cartpole("sweep", "--resume", "s", "--quiet").code == 0
    assert 0 <= manifest()["seconds"] < 100


def test_an_edited_score_is_run_again(cartpole: Run, finished: Path) -> None:
    shutil.copytree(finished, "runs/s")
    whole = Path("runs/s/trials.jsonl").read_bytes()
    first, *rest = trials()
    first["score"] += 100
    Path("runs/s/trials.jsonl").write_text("".join(json.dumps(line) + "\n" for line in (first, *rest)))
    assert cartpole("sweep", "--resume", "s", "--quiet").code == 0
    assert Path("runs/s/trials.jsonl").read_bytes() == whole


def test_no_file_of_a_search_has_a_module_imported(cartpole: Run, finished: Path) -> None:
    """A folder may be anybody's; the user repeats the id, as for a run."""
    shutil.copytree(finished, "runs/s")
    Path("evil_module.py").write_text("open('imported', 'w').close()")
    path = Path("runs/s/sweep.toml")
    own = 'backend = "gymnasium"\nid = "evil_module:CartPole-v1"\nvectorization_mode = "sync"'
    path.write_text(re.sub(r'backend = "native"\nid = "CartPole-v1"', own, path.read_text()))
    state = json.loads(Path("runs/s/run.json").read_text())
    state["search_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    Path("runs/s/run.json").write_text(json.dumps(state))
    assert "evil_module" in cartpole("sweep", "--resume", "s").line
    assert "it was 'evil_module:CartPole-v1'" in cartpole("sweep", "--resume", "s", "environment.id=b:C-v0").line
    assert not Path("imported").exists()


def test_one_process_at_a_time(cartpole: Run) -> None:
    cartpole(*ALONE, "--name", "s", "--quiet")
    lock = FolderLock(Path("runs/s"))
    try:
        assert "another process is training this run" in cartpole("sweep", "--resume", "s").line
    finally:
        lock.release()


def test_wandb_is_for_finalists(cartpole: Run) -> None:
    ended = cartpole(*ALONE, "--name", "s", "logger.type=wandb", "logger.mode=disabled")
    assert ended.code == 0
    assert ended.err.count("note: trials are not logged to W&B; finalists are") == 1
    assert not list(Path("runs/s").rglob("wandb"))


def test_ctrl_c_stops_and_says_how_to_go_on(cartpole: Run) -> None:
    cartpole(*SMALL, "--quiet")
    expected = content(Path("runs/s"))
    options = ("--runs-dir", "other", "trainer.num_steps=384")
    with subprocess.Popen([*COMMAND, *SMALL, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if b"of 6 trials" in line:
                process.send_signal(signal.SIGINT)
                break
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (out, err)
    assert b"interrupted; to go on: cartpole sweep --resume other/s" in err
    assert b"Traceback" not in err
    assert manifest("other/s")["status"] == "interrupted"
    assert cartpole("sweep", "--resume", "other/s", "--quiet").code == 0
    assert content(Path("other/s")) == expected


def test_killed_at_any_moment_it_ends_with_the_same_files(cartpole: Run) -> None:
    cartpole(*SMALL, "--quiet")
    expected = content(Path("runs/s"))
    draw, kills = random.Random(0), 0
    while True:
        begun = Path("other/s/run.json").exists()
        if not begun and Path("other/s").exists():
            Path("other/s/sweep.toml").unlink(missing_ok=True)
            Path("other/s").rmdir()
        words = ("sweep", "--resume", "other/s") if begun else (*SMALL, "--runs-dir", "other")
        child = os.fork()
        if child == 0:
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            os._exit(command(*words) and 1)
        limit = time.monotonic() + draw.uniform(0.1, 0.8) * 1.15**kills
        done, status = 0, 0
        while not done and time.monotonic() < limit:
            time.sleep(0.01)
            done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            break
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
    assert kills > 2, "it was over before it was killed often enough"
    assert content(Path("other/s")) == expected


def test_a_terminal_shows_a_bar_and_in_the_end_the_table() -> None:
    code, shown = in_terminal(100, *SMALL)
    text = plain(shown)
    assert code == 0, text
    assert "of 6 trials" in text
    assert "left, at most:" in text
    assert "against the recipe" in text
    assert "of the finalists" in text
