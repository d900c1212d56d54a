"""`cartpole best`, as a user types it."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import COMMAND, Ended, heavy_imports, process, train_tiny

from cartpole_cli.runs.checkpoint import load_policy, save_checkpoint
from cartpole_cli.runs.lock import FolderLock
from cartpole_cli.runs.trailer import digest_of, with_trailer

BEST = [*COMMAND, "best"]
KEYS = [
    "run",
    "run_dir",
    "study",
    "best_checkpoint",
    "recipe",
    "algorithm",
    "environment",
    "set",
    "episodes",
    "mean_return",
    "min_return",
    "ci95",
    "longer_horizon_return",
    "confirmed",
    "distinguishable",
    "env_steps",
    "seconds",
    "status",
    "problem",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two short runs, "luckier" and "better": the first falls at once, whatever its evaluation.json is made to say."""
    runs_dir = tmp_path_factory.mktemp("trained")
    for name, seed in (("luckier", 3), ("better", 0)):
        train_tiny(runs_dir, name, f"trainer.seed={seed}")
    path = runs_dir / "luckier" / "evaluation.json"
    lucky = {"mean_return": 400.0, "min_return": 350.0, "ci95": [390.0, 410.0]}
    path.write_text(json.dumps(json.loads(path.read_text()) | lucky))
    return runs_dir


@pytest.fixture
def best(cartpole, monkeypatch):
    def run(*arguments: str, **environment: str) -> Ended:
        with monkeypatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            ended = cartpole("best", *arguments)
        assert "Traceback" not in ended.err
        return ended

    return run


def make_run(name: str, mean: float, spread: float = 5.0, **changes: object) -> Path:
    """A run in ./runs that trained nothing."""
    folder = Path("runs") / name
    folder.mkdir(parents=True)
    score = {"episodes": 100, "mean_return": mean, "min_return": mean - 50, "ci95": [mean - spread, mean + spread]}
    (folder / "best.pth").write_bytes(with_trailer(b"weights"))
    score |= {"checkpoint_sha256": digest_of(folder / "best.pth")}
    manifest = {"status": "finished", "seconds": 75.0, "env_steps": 12345, "recipe": None, "algorithm": "ppo"}
    manifest["environment"] = "CartPole-v1"
    (folder / "recipe.toml").touch()
    (folder / "run.json").write_text(json.dumps(manifest | {k: v for k, v in changes.items() if k in manifest}))
    (folder / "best.json").write_text(json.dumps({"evaluation": score, "confirmation": None} | score))
    (folder / "evaluation.json").write_text(json.dumps(score))
    return folder


def rows(out: str) -> list[list[str]]:
    """The cells of a plain table, without its head and notes."""
    lines = [re.split(r"  +", line) for line in out.splitlines()]
    return [cells for cells in lines[1:] if len(cells) > 5]


# The table


def test_the_best_run_comes_first_with_what_it_took(best):
    make_run("20310203-040506-my-ppo-s1", 300.0, recipe="my-ppo")
    make_run("20310203-040507-my-ppo-s2", 450.25, recipe="my-ppo")
    ended = best()
    assert (ended.code, ended.err) == (0, "")
    first, second = rows(ended.out)
    figures = ["450.2", "445.2 to 455.2", "400.2", "12,345", "1 min", "finished"]
    assert first == ["20310203-040507-my-ppo-s2", "my-ppo", "ppo", "CartPole-v1", *figures]
    assert second[0] == "20310203-040506-my-ppo-s1"
    assert "\x1b" not in ended.out


def test_runs_that_cannot_be_told_from_the_best_are_marked_and_the_mark_is_explained(best):
    make_run("first", 400.0)
    make_run("near", 395.0)
    make_run("far", 300.0)
    ended = best()
    assert [(cells[0], "~" in cells) for cells in rows(ended.out)] == [("first", False), ("near", True), ("far", False)]
    assert [line for line in ended.out.splitlines() if line.startswith("~ not distinguishable")]


def test_without_such_runs_nothing_is_explained(best):
    make_run("first", 400.0)
    make_run("far", 300.0)
    assert len(best().out.splitlines()) == 3


def test_a_run_scored_only_by_its_selection_is_marked(best):
    (make_run("unfinished", 400.0, status="interrupted") / "evaluation.json").unlink()
    out = best().out
    (cells,) = rows(out)
    assert "*" in cells
    assert out.splitlines()[-1].startswith("* ")


def test_broken_runs_are_listed_last_with_the_reason(best):
    make_run("fine", 100.0)
    (make_run("torn", 500.0) / "evaluation.json").write_text('{"mean_ret')
    (make_run("half", 500.0) / "run.json").unlink()
    (Path("runs") / "notes.txt").write_text("not a run")
    ended = best()
    assert ended.code == 0
    assert [(cells[0], cells[-1]) for cells in rows(ended.out)] == [
        ("fine", "finished"),
        ("half", "broken"),
        ("torn", "broken"),
    ]
    assert "torn: evaluation.json: not valid JSON" in ended.out
    assert "half: run.json: missing" in ended.out


def test_runs_beyond_the_limit_are_counted(best):
    for index in range(23):
        make_run(f"run{index:02}", 100.0 + 20 * index)
    (make_run("torn", 500.0) / "run.json").write_text("")
    ended = best()
    assert [cells[0] for cells in rows(ended.out)] == [f"run{index:02}" for index in range(22, 2, -1)]
    assert "4 more, 1 of them broken: --limit" in ended.out
    assert len(rows(best("--limit", "2").out)) == 2
    assert len(rows(best("--limit", "99").out)) == 24


def test_algorithm_and_environment_choose(best):
    make_run("a", 100.0, algorithm="grpo")
    make_run("b", 200.0, algorithm="ppo")
    make_run("c", 300.0, algorithm="ppo", environment="ContinuousCartPole-v1")
    assert [cells[0] for cells in rows(best().out)] == ["c", "b", "a"]
    assert [cells[0] for cells in rows(best("--algorithm", "ppo").out)] == ["c", "b"]
    assert [cells[0] for cells in rows(best("--environment", "CartPole-v1").out)] == ["b", "a"]
    assert best("--algorithm", "grpo", "--path").out == "runs/a/best.pth\n"
    assert "--environment chooses one" in best().out
    assert "--environment chooses one" not in best("--algorithm", "grpo").out


def test_what_is_compared_is_the_best_of_the_chosen_runs(best):
    make_run("other", 450.0, algorithm="grpo")
    make_run("first", 400.0)
    make_run("near", 395.0)
    runs = json.loads(best("--algorithm", "ppo", "--json").out)
    assert [(run["run"], run["distinguishable"]) for run in runs] == [("first", None), ("near", False)]


def test_names_cannot_write_to_the_terminal(best):
    make_run("e\x1b[31mvil\nname", 100.0, algorithm="\\u001b[2J", status="\x07")
    out = best().out
    assert len(out.splitlines()) == 2
    assert all(character.isprintable() or character == "\n" for character in out)
    assert "e\\x1b[31mvil\\nname" in out


def test_brackets_in_names_are_no_markup(best):
    make_run("[bold]x", 100.0)
    make_run("[oops]", 50.0)
    assert [cells[0] for cells in rows(best().out)] == ["[bold]x", "[oops]"]


def test_an_ascii_world_is_told_in_ascii(monkeypatch):
    make_run("über", 100.0)
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    ended = process("best")
    assert ended.code == 0
    assert ended.out.isascii()
    assert "\\xfcber" in ended.out


@pytest.mark.parametrize(
    ("columns", "missing"), [(140, []), (80, ["recipe", "time"]), (40, ["env steps", "status"]), (8, ["95 % interval"])]
)
def test_a_terminal_gets_what_fits(best, columns, missing):
    make_run("20310203-040506-ppo-s1", 100.0)
    ended = best(FORCE_COLOR="1", COLUMNS=str(columns))
    assert ended.code == 0
    text = re.sub(r"\x1b\[[0-9;]*m", "", ended.out)
    assert text != ended.out
    table, note = (*re.split(r"left\s+out", text), "")[:2]
    assert max(len(line) for line in table.splitlines()) <= columns
    assert bool(note) is bool(missing)
    assert [heading for heading in missing if heading not in " ".join(note.split())] == []
    assert columns < 40 or "100.0" in table


def test_a_folder_without_runs_is_no_mistake(best):
    Path("runs").mkdir()
    ended = best()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == "no runs to show in runs\n"
    assert json.loads(best("--json").out) == []


# Order and choice


def test_an_unknown_algorithm_is_a_mistake_and_one_without_runs_is_none(best):
    make_run("a", 100.0)
    ended = best("--algorithm", "pop")
    assert ended.line == ("error: --algorithm 'pop': unknown; allowed: reinforce, ppo, grpo, dpo; did you mean 'ppo'?")
    assert best("--algorithm", "pop", "--json").code == 2
    assert best("--algorithm", "dpo") == Ended(0, "no runs to show in runs\n", "")


def test_an_environment_that_no_run_is_on_names_those_there_are(best):
    make_run("a", 100.0)
    make_run("b", 100.0, environment="Acrobot-v1")
    ended = best("--environment", "CartPole-v0")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (
        "no runs to show in runs: none on CartPole-v0; there are Acrobot-v1, CartPole-v1; did you mean 'CartPole-v1'?\n"
    )


def test_runs_are_sorted_by_time_or_steps_and_marks_still_refer_to_the_best(best):
    make_run("best", 400.0, seconds=30.0, env_steps=3)
    make_run("fast", 395.0, seconds=10.0, env_steps=2)
    make_run("few", 300.0, seconds=20.0, env_steps=1)
    (make_run("torn", 500.0, seconds=1.0, env_steps=0) / "evaluation.json").write_text("{")
    assert [cells[0] for cells in rows(best("--sort", "return").out)] == ["best", "fast", "few", "torn"]
    ended = best("--sort", "time")
    assert [(cells[0], "~" in cells) for cells in rows(ended.out)] == [
        ("fast", True),
        ("few", False),
        ("best", False),
        ("torn", False),
    ]
    runs = json.loads(best("--sort", "steps", "--json").out)
    marks = [(run["run"], run["distinguishable"]) for run in runs[:3]]
    assert marks == [("few", True), ("fast", False), ("best", None)]
    assert best("--sort", "time", "--path").out == "runs/fast/best.pth\n"
    assert [cells[0] for cells in rows(best("--sort", "time", "--limit", "1").out)] == ["fast"]
    assert best("--sort", "name").code == 2


def test_a_status_chooses(best):
    make_run("ended", 400.0)
    make_run("stopped", 300.0, status="interrupted")
    (make_run("torn", 500.0) / "run.json").write_text("{")
    assert [cells[0] for cells in rows(best("--status", "interrupted").out)] == ["stopped"]
    assert [cells[0] for cells in rows(best("--status", "broken").out)] == ["torn"]
    assert best("--status", "runing").code == 2


def test_running_runs_are_named_wherever_they_rank(best):
    for index in range(3):
        make_run(f"run{index}", 100.0 + index)
    folder = make_run("slow", 1.0, status="running")
    locks = [FolderLock(folder), FolderLock(make_run("starting", 0.5, status="running"))]
    (folder / "metrics.jsonl").write_text('{"env_steps": 1024, "seconds": 2.0}\n')
    out = best("--limit", "1").out
    assert out.splitlines()[-1] == "running: slow (1,024 steps so far), starting (no iteration yet)"
    locks += [FolderLock(make_run(f"more{index}", 0.1, status="running")) for index in range(7)]
    assert best("--limit", "1").out.splitlines()[-1].endswith(" and 4 more (--status running)")
    for lock in locks:
        lock.release()
    assert "running" not in best("--limit", "1").out


# JSON and path


def test_json_has_the_same_keys_for_every_run_and_they_are_documented(best):
    make_run("fine", 400.0)
    (make_run("torn", 400.0) / "run.json").write_text("{")
    ended = best("--json")
    runs = json.loads(ended.out)
    assert [list(run) for run in runs] == [KEYS, KEYS]
    text = " ".join(best("--help").out.split())
    assert [key for key in KEYS if key not in text] == []
    fine, torn = runs
    assert fine["ci95"] == [395.0, 405.0]
    assert (fine["set"], fine["mean_return"], fine["min_return"]) == ("final", 400.0, 350.0)
    assert (fine["env_steps"], fine["seconds"]) == (12345, 75.0)
    assert Path(fine["best_checkpoint"]) == Path(fine["run_dir"]) / "best.pth"
    assert (torn["status"], torn["mean_return"], torn["problem"]) == ("broken", None, "run.json: not valid JSON")


def test_path_is_all_that_is_printed(best):
    make_run("second", 300.0)
    make_run("best run", 400.0)
    assert best("--path") == Ended(0, "runs/best run/best.pth\n", "")
    assert best("runs", "--path").out == "runs/best run/best.pth\n"


def test_a_path_that_is_no_text_is_printed_as_it_is(monkeypatch):
    monkeypatch.setenv("PYTHONUTF8", "1")
    name = os.fsdecode(b"\xff\xfe")
    try:
        make_run(name, 100.0)
    except OSError:
        pytest.skip("this file system takes text only")
    done = subprocess.run([*BEST, "--path"], capture_output=True, timeout=60, check=True)
    assert done.stdout == b"runs/\xff\xfe/best.pth\n"
    assert process("best").code == 0
    assert json.loads(process("best", "--json").out)[0]["run"] == name


def test_without_a_best_checkpoint_there_is_a_line_and_exit_code_1(best):
    (make_run("torn", 400.0) / "run.json").write_text("{")
    (make_run("lost", 400.0) / "best.pth").unlink()
    ended = best("--path")
    assert (ended.code, ended.out) == (1, "")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["none"], ["file"], ["--limit", "0"], ["--confirm", "0"], ["--path", "--json"]])
def test_a_mistake_has_exit_code_2(best, arguments):
    Path("file").write_text("")
    make_run("run", 100.0)
    ended = best(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.strip()


@pytest.mark.parametrize("arguments", [[], ["--path"]])
def test_a_missing_runs_folder_is_one_line(best, arguments):
    ended = best("none", *arguments)
    assert ended.code == 2
    assert ended.err == "error: none: not a folder of runs (No such file or directory)\n"


# Speed and manners


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--path"], ["--help"]])
def test_nothing_heavy_is_imported(arguments):
    make_run("run", 100.0)
    assert heavy_imports("best", *arguments) == []


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--path"]])
def test_a_closed_pipe_is_silent(arguments):
    make_run("run", 100.0)
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*BEST, *arguments], stdout=writing, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert done.stderr == b""


# Testing again


def test_testing_again_unmasks_a_lucky_run(best, trained):
    assert best(str(trained), "--path").out == f"{trained}/luckier/best.pth\n"
    assert best(str(trained), "--path", "--confirm", "20").out == f"{trained}/better/best.pth\n"


def test_both_figures_are_shown(best, trained):
    ended = best(str(trained), "--confirm", "20")
    better, luckier = rows(ended.out)
    assert (better[0], luckier[0]) == ("better", "luckier")
    again, told = (json.loads(best(str(trained), *more, "--json").out) for more in (["--confirm", "20"], []))
    assert [run["run"] for run in again] == ["better", "luckier"]
    assert [run["run"] for run in told] == ["luckier", "better"]
    for cells, run in zip((better, luckier), again, strict=True):
        confirmed = run["confirmed"]
        assert (confirmed["set"], confirmed["episodes"]) == ("confirm", 20)
        assert confirmed["ci95"][0] <= confirmed["mean_return"] <= confirmed["ci95"][1]
        assert cells[4] == f"{run['mean_return']:.1f}"
        assert cells[7] == f"{confirmed['mean_return']:.1f}"
        assert cells[9] == f"{confirmed['min_return']:.1f}"
    assert again[1]["mean_return"] == 400.0
    assert again[1]["distinguishable"] is True
    assert told[0]["confirmed"] is None


def test_the_same_policy_gets_the_same_figure_and_the_same_start_states(best, trained):
    for name in ("one", "other"):
        shutil.copytree(trained / "better", Path("runs") / name)
    recipe = Path("runs/other/recipe.toml")
    recipe.write_text(recipe.read_text().replace("seed = 0", "seed = 77"))
    one, other = json.loads(best("--confirm", "10", "--json").out)
    assert one["confirmed"] == other["confirmed"]
    assert other["distinguishable"] is False
    assert one["confirmed"]["mean_return"] != one["mean_return"]


def test_only_the_shown_runs_are_tested_again(best, trained):
    runs = json.loads(best(str(trained), "--confirm", "5", "--limit", "1", "--json").out)
    assert [(run["run"], run["confirmed"]["episodes"]) for run in runs] == [("luckier", 5)]


def test_runs_that_cannot_be_tested_again_come_after_those_that_were(best, trained):
    shutil.copytree(trained / "better", Path("runs") / "fine")
    damaged = Path(shutil.copytree(trained / "luckier", Path("runs") / "damaged"))
    (damaged / "best.pth").write_bytes(b"weights")
    unfit = Path(shutil.copytree(trained / "luckier", Path("runs") / "unfit"))
    text = (unfit / "recipe.toml").read_text()
    elsewhere = text.replace('backend = "native"\nid = "CartPole-v1"', 'backend = "gymnasium"\nid = "Acrobot-v1"')
    assert elsewhere != text
    (unfit / "recipe.toml").write_text(elsewhere)
    (Path(shutil.copytree(trained / "luckier", Path("runs") / "lost")) / "best.pth").unlink()
    ended = best("--confirm", "5")
    assert ended.code == 0
    assert {cells[0] for cells in rows(ended.out)} == {"fine", "damaged", "unfit", "lost"}
    assert rows(ended.out)[0][0] == "fine"
    assert "damaged: " in ended.out
    assert "unfit: " in ended.out
    assert best("--confirm", "5", "--path").out == "runs/fine/best.pth\n"


def test_a_policy_of_numbers_that_are_none_falls_and_is_no_crash(best, trained):
    import torch

    folder = Path(shutil.copytree(trained / "better", Path("runs") / "nan"))
    policy = load_policy(folder / "best.pth", torch.device("cpu"))
    assert policy is not None
    content = torch.load(folder / "best.pth", weights_only=True)
    content["policy"] = {key: torch.full_like(value, torch.nan) for key, value in content["policy"].items()}
    save_checkpoint(folder / "best.pth", content)
    assert best("--confirm", "3").code == 0
