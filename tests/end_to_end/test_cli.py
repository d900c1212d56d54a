"""The commands, as a user types them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import torch
from commands import COMMAND, Ended, heavy_imports, in_terminal, plain, process
from commands import TINY as CHANGES

from cartpole_cli.cli import train_display as console
from cartpole_cli.recipe.files import describe, load_recipe, shipped_recipes
from cartpole_cli.runs.checkpoint import load_checkpoint, load_policy
from cartpole_cli.training.evaluation import Evaluator

SHIPPED = shipped_recipes()
PPO = ("train", "--recipe", "ppo")
TINY = (*PPO, *CHANGES)
RESULT_KEYS = {
    "run_dir",
    "best_checkpoint",
    "mean_return",
    "min_return",
    "episodes",
    "env_steps",
    "seconds",
    "solved",
}
ESCAPE = "\x1b"


# Help, version, imports


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["--version"], ["train", "--help"], ["recipes"], ["recipes", "--help"], ["recipes", "show", "ppo"]],
    ids=" ".join,
)
def test_small_commands_import_nothing_heavy(arguments):
    assert heavy_imports(*arguments) == []


def test_the_module_is_the_command_and_tells_its_version():
    assert process("--version") == Ended(0, version("cartpole-cli") + "\n", "")


def test_the_console_script_is_installed():
    script = Path(sys.executable).with_name("cartpole")
    done = subprocess.run([script, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == version("cartpole-cli") + "\n"


def test_help_names_the_commands_and_train_its_options(cartpole):
    assert all(word in cartpole("--help").out for word in ("train", "recipes", "--version"))
    options = [
        "--recipe",
        "--resume",
        "--seed",
        "--seeds",
        "--device",
        "--runs-dir",
        "--name",
        "--quiet",
        "--dry-run",
        "--json",
    ]
    text = cartpole("train", "--help").out
    assert {*options, "[KEY=VALUE]..."} <= set(text.split())


# Recipes


def test_recipes_are_listed_with_a_line_each(cartpole):
    ended = cartpole("recipes")
    lines = ended.out.splitlines()
    assert ended.code == 0
    assert len(lines) == len(SHIPPED)
    for line, (name, path) in zip(lines, SHIPPED.items(), strict=True):
        assert line.split()[0] == name
        assert line.endswith(describe(path))


@pytest.mark.parametrize("name", SHIPPED)
def test_a_recipe_is_shown_as_it_is(cartpole, name):
    assert cartpole("recipes", "show", name).out == SHIPPED[name].read_text()


def test_a_recipe_is_copied_to_be_edited(cartpole, tmp_path):
    ended = cartpole("recipes", "copy", "ppo")
    assert ended.code == 0
    assert ended.out.strip() == "ppo.toml"
    (tmp_path / "recipe.schema.json").write_text("mine")
    ended = cartpole("recipes", "copy", "ppo", "mine.toml")
    schema, _, copied = (tmp_path / "mine.toml").read_text().partition("\n")
    assert (schema, copied) == ("#:schema ./recipe.schema.json", SHIPPED["ppo"].read_text())
    assert (tmp_path / "recipe.schema.json").read_text() == "mine"

    (tmp_path / "mine.toml").write_text("[trainer]\nseed = 77\n")
    assert "seed = 77" in cartpole("train", "--recipe", "mine", "--dry-run").out
    ended = cartpole("recipes", "copy", "ppo", "mine.toml")
    assert ended.code == 2
    assert (tmp_path / "mine.toml").read_text() == "[trainer]\nseed = 77\n"


# Dry run


@pytest.mark.parametrize("name", SHIPPED)
def test_a_dry_run_prints_the_resolved_recipe_and_leaves_no_trace(cartpole, tmp_path, tmp_path_factory, name):
    ended = cartpole("train", "--recipe", name, "trainer.num_steps=5000", "--seed", "8", "--dry-run")
    assert ended.code == 0
    assert ended.err == ""
    assert list(tmp_path.iterdir()) == []
    printed = tmp_path_factory.mktemp("printed") / "printed.toml"
    printed.write_text(ended.out)
    assert load_recipe(printed) == load_recipe(SHIPPED[name], ["trainer.num_steps=5000", "trainer.seed=8"])


def test_without_a_recipe_it_is_reinforce(cartpole):
    assert cartpole("train", "--dry-run").out == cartpole("train", "--recipe", "reinforce.toml", "--dry-run").out


# Errors

MISTAKES = {
    "unknown recipe": ["train", "--recipe", "pppo"],
    "not an override": [*PPO, "ppo.toml"],
    "unknown field": [*PPO, "trainer.sed=1"],
    "two mistakes": [*PPO, "trainer.sed=1", "trainer.seed=x"],
    "a rule between fields": [*PPO, "algorithm.minibatch_size=1000000"],
    "negative seed": [*PPO, "--seed", "-1"],
    "seed that is no number": [*PPO, "--seed", "x"],
    "unknown device": [*PPO, "--device", "gpu"],
    "unknown option": [*PPO, "--sed", "1"],
    "unknown command": ["trian"],
    "a name that is a path": [*PPO, "--name", "a/b"],
    "a folder as recipe": ["train", "--recipe", "."],
    "unknown task": [*PPO, "environment.backend=gymnasium", "environment.id=NoSuchTask-v0"],
    "a task of no module": [*PPO, "environment.backend=gymnasium", "environment.id=:CartPole-v1"],
    "a task of a missing module": [*PPO, "environment.backend=gymnasium", "environment.id=nosuch:CartPole-v1"],
    "a head that does not fit": [*PPO, "environment.backend=gymnasium", "policy.action_head=gaussian"],
    "observations of no Box": [*PPO, "environment.backend=gymnasium", "environment.id=FrozenLake-v1"],
    "no vector implementation": [
        *PPO,
        "environment.backend=gymnasium",
        "environment.id=Pendulum-v1",
        "environment.vectorization_mode=vector_entry_point",
    ],
    "unknown recipe to show": ["recipes", "show", "pppo"],
    "unknown recipe to copy": ["recipes", "copy", "pppo"],
    "nowhere to copy to": ["recipes", "copy", "ppo", "none/ppo.toml"],
}


@pytest.mark.parametrize("arguments", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_on_stderr_with_exit_code_2_and_leaves_no_trace(cartpole, tmp_path, arguments):
    ended = cartpole(*arguments)
    assert ended.code == 2
    assert ended.err.strip()
    assert "Traceback" not in ended.out + ended.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [b"\xff\xfe\x00", b"[trainer\n", b"[trainer]\nseed = " + b"9" * 5000, b"x = 1"])
@pytest.mark.parametrize("command", [["train", "--recipe"], ["recipes", "show"]], ids=" ".join)
def test_a_damaged_recipe_file_is_told_without_a_traceback(cartpole, tmp_path, command, text):
    (tmp_path / "damaged.toml").write_bytes(text)
    ended = cartpole(*command, "damaged.toml")
    assert "Traceback" not in ended.err
    assert [path.name for path in tmp_path.iterdir()] == ["damaged.toml"]
    if command[0] == "train":
        assert ended.code == 2
        assert "damaged.toml" in ended.err


def test_each_problem_has_a_line_of_its_own(cartpole):
    ended = cartpole(*PPO, "trainer.sed=1", "trainer.seed=x", "--device", "gpu")
    lines = ended.err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("error: command line: trainer.") for line in lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_a_device_that_is_not_there_is_told_with_those_that_are(cartpole, tmp_path):
    ended = cartpole(*TINY, "--device", "cuda")
    assert ended.code == 2
    assert "cuda" in ended.err
    assert "available: " in ended.err
    assert list(tmp_path.iterdir()) == []


def test_a_taken_name_is_refused_and_the_run_is_untouched(cartpole, tmp_path):
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    ended = cartpole(*TINY, "--name", "mine")
    assert ended.code == 2
    assert "--name" in ended.err
    assert list(folder.iterdir()) == []


def test_a_mistake_in_a_process_of_its_own(tmp_path):
    ended = process(*PPO, "trainer.learning_rat=1")
    assert ended.code == 2
    assert ended.out == ""
    assert ended.err.startswith("error: command line: trainer.learning_rat = 1: unknown field")
    assert len(ended.err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


# Training


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_recipe_trains(cartpole, tmp_path, name):
    changes = ("trainer.num_steps=2000", "trainer.evaluation_episodes=3", "--name", "run")
    shorter = (
        ("environment.max_episode_steps=100",) if load_recipe(SHIPPED[name]).trainer.stop_at_return is None else ()
    )
    ended = cartpole("train", "--recipe", name, *changes, *shorter)
    assert ended.code == 0, ended.err
    assert (tmp_path / "runs" / "run" / "evaluation.json").exists()
    assert load_policy(tmp_path / "runs" / "run" / "best.pth", torch.device("cpu")).num_seeds == 1


def test_the_options_go_into_the_run(cartpole, tmp_path):
    ended = cartpole(*TINY, "--seed", "5", "--device", "cpu", "--runs-dir", "deep/er", "--name", "mine")
    assert ended.code == 0
    run = tmp_path / "deep" / "er" / "mine"
    recipe = load_recipe(run / "recipe.toml")
    assert recipe == load_recipe(SHIPPED["ppo"], [*CHANGES, "trainer.seed=5", "trainer.device=cpu"])
    assert json.loads((run / "run.json").read_text())["seed"] == 5
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_a_run_without_a_name_is_named_by_time_recipe_and_seed(cartpole, tmp_path):
    ended = cartpole(*TINY, "--seed", "5")
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-ppo-s5", run.name)
    assert str(Path("runs") / run.name / "best.pth") in ended.out


def test_the_device_is_told_and_how_to_choose_it(cartpole):
    (line,) = [line for line in cartpole(*TINY).out.splitlines() if line.startswith("device: ")]
    assert "--device" in line
    assert "CPU" in line or "cpu" in line


def test_the_recipe_of_a_run_repeats_it(cartpole, tmp_path):
    assert cartpole(*TINY, "--seed", "5", "--name", "one").code == 0
    assert cartpole("train", "--recipe", "runs/one/recipe.toml", "--name", "other").code == 0
    one, other = (tmp_path / "runs" / name for name in ("one", "other"))
    assert (one / "recipe.toml").read_bytes() == (other / "recipe.toml").read_bytes()
    assert (one / "evaluation.json").read_bytes() == (other / "evaluation.json").read_bytes()
    for file, kind in (("best.pth", "policy"), ("last.pth", "training")):
        states = [load_checkpoint(run / file, kind) for run in (one, other)]
        weights = [state["policy"] if kind == "policy" else state["trainer"]["policy"] for state in states]
        assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0] | weights[1])


def test_json_is_one_object_on_stdout_and_all_else_is_on_stderr(cartpole, tmp_path):
    ended = cartpole(*TINY, "--json")
    assert len(ended.out.splitlines()) == 1
    result = json.loads(ended.out)
    assert result.keys() >= RESULT_KEYS
    (run,) = (tmp_path / "runs").iterdir()
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert (tmp_path / result["run_dir"]).samefile(run)
    assert (tmp_path / result["best_checkpoint"]).samefile(run / "best.pth")
    assert result["mean_return"] == evaluation["mean_return"]
    assert result["min_return"] == min(evaluation["returns"])
    assert result["episodes"] == len(evaluation["returns"]) == 100
    assert result["env_steps"] == 384
    assert result["seconds"] > 0
    assert result["solved"] is False
    assert "device: " in ended.err
    assert "iteration 2 " in ended.err


def test_quiet_says_nothing(cartpole):
    ended = cartpole(*TINY, "--quiet")
    assert (ended.code, ended.out, ended.err) == (0, "", "")


def test_quiet_json_is_the_object_alone(cartpole):
    ended = cartpole(*TINY, "--quiet", "--json")
    assert json.loads(ended.out)["env_steps"] == 384
    assert ended.err == ""


def test_quiet_still_tells_mistakes(cartpole):
    ended = cartpole(*TINY, "--quiet", "trainer.sed=1")
    assert ended.code == 2
    assert "trainer.sed" in ended.err


def test_training_that_leaves_the_numbers_is_told(cartpole, tmp_path):
    ended = cartpole(*TINY, "trainer.learning_rate=1e30", "--name", "run")
    assert ended.code not in {0, 2, 130}
    assert "learning_rate" in ended.out + ended.err
    assert re.search(r"not finite: \w+ in iteration \d+", ended.out)
    assert "last good checkpoint: " in ended.out
    assert "Traceback" not in ended.out + ended.err
    assert json.loads((tmp_path / "runs" / "run" / "run.json").read_text())["status"] == "failed"


def test_ppo_solves_cart_pole(cartpole):
    ended = cartpole(*PPO, "--seed", "0", "--json")
    assert ended.code == 0
    result = json.loads(ended.out)
    assert result["solved"] is True
    assert result["mean_return"] == 500.0
    assert result["min_return"] == 500.0
    assert json.loads(Path(result["run_dir"], "evaluation.json").read_text())["set"] == "final"


# Progress


@pytest.mark.parametrize(("pause", "iterations"), [(0.0, [1, 2, 3]), (1e9, [2, 3])])
def test_off_a_terminal_there_are_plain_lines_now_and_then(cartpole, monkeypatch, pause, iterations):
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", pause)
    out = cartpole(*TINY).out
    assert ESCAPE not in out
    assert "\r" not in out
    lines = [line for line in out.splitlines() if line.startswith("iteration ")]
    assert [int(line.split()[1]) for line in lines] == iterations
    assert all("steps/s" in line and "gradient_norm" in line for line in lines)
    assert "held out" in lines[-1]


def test_no_color_off_a_terminal_is_plain_too(cartpole, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = cartpole(*TINY).out
    assert ESCAPE not in out
    assert "iteration 2 " in out


def test_a_narrow_terminal_is_not_overrun():
    code, received = in_terminal(40, *TINY)
    assert code == 0
    assert "Traceback" not in received
    hidden, shown = received.index(f"{ESCAPE}[?25l"), received.rindex(f"{ESCAPE}[?25h")
    live = plain(received[hidden:shown])
    for name in ("steps/s", "return", "held out", "entropy", "gradient norm", "explained variance"):
        assert name in live
    assert max(len(line) for line in re.split(r"[\r\n]+", live)) <= 40
    assert "best checkpoint: " in received[shown:]


def test_no_color_on_a_terminal_has_no_color():
    code, received = in_terminal(80, *TINY, NO_COLOR="1")
    assert code == 0
    assert f"{ESCAPE}[?25l" in received  # it is live all the same
    styles = {int(number) for codes in re.findall(r"\x1b\[([0-9;]+)m", received) for number in codes.split(";")}
    assert {style for style in styles if style >= 30} == set()


def test_a_very_narrow_terminal_that_knows_ascii_only_is_told_in_ascii():
    code, received = in_terminal(12, *TINY, PYTHONIOENCODING="ascii")
    assert "Traceback" not in received
    assert code == 0
    assert received.isascii()


# Signals


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    """Two runs, each stopped in the middle by a signal: folder, process, stdout and stderr by signal."""
    folder = tmp_path_factory.mktemp("interrupted")
    changes = ("trainer.num_steps=100000000", "trainer.learning_rate=1e-9", "trainer.evaluate_every=3")
    running = {}
    for number, options in ((signal.SIGINT, ()), (signal.SIGTERM, ("--json",))):
        arguments = [*COMMAND, *TINY, *changes, "--runs-dir", str(folder), "--name", number.name, *options]
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        running[number] = subprocess.Popen(arguments, text=True, **streams)
    ended = {}
    try:
        for number, child in running.items():
            metrics = folder / number.name / "metrics.jsonl"
            deadline = time.monotonic() + 60
            while not (metrics.exists() and metrics.read_text().count("\n") >= 3):
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            child.send_signal(number)
            ended[number] = (folder / number.name, child, *child.communicate(timeout=60))
    finally:
        for child in running.values():
            if child.poll() is None:
                child.kill()
                child.wait()
    return ended


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_at_its_next_report_and_keeps_it(interrupted, number):
    run, child, out, err = interrupted[number]
    assert child.returncode == 130
    manifest = json.loads((run / "run.json").read_text())
    assert manifest["status"] == "interrupted"
    last = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()][-1]
    state = load_checkpoint(run / "last.pth", "training")["trainer"]
    assert state["iteration"] == last["iteration"]
    assert state["env_steps"].tolist() == [last["env_steps"]]
    assert manifest["env_steps"] == last["env_steps"]
    assert not (run / "evaluation.json").exists()
    assert "Traceback" not in out + err


def test_an_interrupted_run_says_where_it_is(interrupted):
    run, _, out, _ = interrupted[signal.SIGINT]
    (line,) = [line for line in out.splitlines() if line.startswith("interrupted")]
    assert str(run) in line
    assert f"cartpole train --resume {run}" in line


def test_an_interrupted_run_still_ends_with_one_json_object(interrupted):
    run, _, out, err = interrupted[signal.SIGTERM]
    assert len(out.splitlines()) == 1
    result = json.loads(out)
    assert result.keys() >= RESULT_KEYS
    assert result["run_dir"] == str(run)
    assert result["best_checkpoint"] == str(run / "best.pth")
    assert result["mean_return"] is result["min_return"] is None
    assert result["solved"] is False
    assert str(run) in err


def test_a_signal_during_the_final_evaluation_does_not_make_the_run_a_failure(cartpole, tmp_path, monkeypatch):
    final = Evaluator.final

    def interrupted_final(self, policy, streams):
        os.kill(os.getpid(), signal.SIGINT)
        return final(self, policy, streams)

    monkeypatch.setattr(Evaluator, "final", interrupted_final)
    ended = cartpole(*TINY, "--name", "run")
    manifest = json.loads((tmp_path / "runs" / "run" / "run.json").read_text())
    assert (manifest["status"], ended.code) in {("interrupted", 130), ("finished", 0)}
    assert str(Path("runs") / "run") in ended.out
