"""`cartpole train --seeds N`, as a user types it."""

import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from commands import COMMAND, TINY, Ended, in_terminal, plain

from cartpole_cli.cli import train_display as console
from cartpole_cli.intervals import interquartile_mean
from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.runs.session import Session

PPO = ("train", "--recipe", "ppo")
# Of seeds 52, 53 and 54 the second one is solved in iteration 8, the others never.
SOLVABLE = (
    *TINY,
    "policy.features=raw",
    "environment.max_episode_steps=40",
    "trainer.evaluate_every=1",
    "trainer.stop_at_return=39.5",
    "trainer.learning_rate=3e-4",
    "trainer.schedule_steps=12800",
    "trainer.num_steps=2560",
    "trainer.checkpoint_every=2",
)
STUDY = (*PPO, *SOLVABLE, "--seeds", "3", "--seed", "52")
PROCESSES = ("policy.features=raw", "environment.backend=gymnasium", "environment.vectorization_mode=async")
STUDY_KEYS = {
    "run_dir",
    "mean_return",
    "env_steps",
    "num_solved",
    "num_interrupted",
    "num_unscored",
    "worst_seed",
    "seconds",
    "evaluation_seconds",
    "status",
    "seeds",
}


LONGER = (*STUDY, "trainer.num_steps=5120")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict[str, Ended]:
    """What each study of `once` said."""
    return {}


@pytest.fixture
def once(cartpole, trained, tmp_path_factory, monkeypatch):
    """Trains a study for the first test that asks, with a line for each iteration, and copies it for the others."""

    def train(name: str, *arguments: str) -> Ended:
        kept = tmp_path_factory.getbasetemp() / f"study-{name}"
        if name not in trained:
            with monkeypatch.context() as patch:
                patch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
                trained[name] = cartpole(*arguments, "--name", name)
            shutil.copytree(Path("runs") / name, kept)
        else:
            shutil.copytree(kept, Path("runs") / name)
        assert trained[name].code == 0
        return trained[name]

    return train


def read(path: Path) -> dict:
    return json.loads(path.read_text())


def num_lines(folder: Path) -> int:
    metrics = folder / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


# What it writes and says


def test_seeds_are_counted_from_the_first(cartpole, tmp_path):
    ended = cartpole(*PPO, *TINY, "--seeds", "3", "--seed", "5")
    assert (ended.code, ended.err) == (0, "")
    (study,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-ppo-x3", study.name)
    assert {path.name for path in study.iterdir() if path.is_dir()} == {"s5", "s6", "s7"}
    recipe = load_recipe(study / "recipe.toml")
    assert (recipe.trainer.seed, recipe.trainer.num_seeds) == (5, 3)
    assert ended.out.splitlines()[0] == "ppo on CartPole-v1, seeds 5 to 7"
    name = study.relative_to(tmp_path)
    assert ended.out.splitlines()[-3:] == [
        f"study: {name}",
        f"next: cartpole eval {name}",
        f"      cartpole export {name}",
    ]


def test_the_summary_is_a_table_of_middles_intervals_and_the_worst(once):
    out = once("study", *STUDY).out
    told = read(Path("runs/study/study.json"))
    rows = dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines() if "  " in line.strip())
    (low, high), middle = told["mean_return"]["ci95"], told["mean_return"]["iqm"]
    assert rows["final return, IQM"] == f"{middle:.1f} (95 % interval {low:.1f} to {high:.1f})"
    (low, high), middle = told["env_steps"]["ci95"], told["env_steps"]["iqm"]
    assert rows["env steps, IQM"] == f"{middle:,.0f} (95 % interval {low:,.0f} to {high:,.0f})"
    assert rows["solved"] == "1 of 3 (33%)"
    worst = min(told["seeds"], key=lambda seed: seed["mean_return"])
    assert rows["worst seed"] == f"s{worst['seed']}: {worst['mean_return']:.1f} after {worst['env_steps']:,} steps"
    assert f"finished after {1024 + 2 * 2560:,} steps, " in out


def test_json_is_the_study_and_its_seeds(cartpole):
    ended = cartpole(*STUDY, "--name", "study", "--json")
    assert len(ended.out.splitlines()) == 1
    result = json.loads(ended.out)
    assert result == read(Path("runs/study/study.json"))
    assert result.keys() == STUDY_KEYS
    assert (result["run_dir"], result["status"], result["num_solved"]) == ("runs/study", "finished", 1)
    assert [seed["seed"] for seed in result["seeds"]] == [52, 53, 54]
    assert [seed["solved"] for seed in result["seeds"]] == [False, True, False]
    assert [seed["env_steps"] for seed in result["seeds"]] == [2560, 1024, 2560]
    for seed in result["seeds"]:
        run = Path("runs/study") / f"s{seed['seed']}"
        assert (seed["run_dir"], seed["best_checkpoint"]) == (str(run), str(run / "best.pth"))
        assert seed["mean_return"] == read(run / "evaluation.json")["mean_return"]
    assert "3 of 3 seeds training" in ended.err


def test_a_dry_run_shows_the_number_of_seeds_and_leaves_no_trace(cartpole, tmp_path):
    ended = cartpole(*PPO, "--seeds", "3", "--seed", "5", "--dry-run")
    assert ended.code == 0
    assert {"num_seeds = 3", "seed = 5"} <= set(ended.out.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_one_seed_is_a_run(cartpole, tmp_path):
    assert cartpole(*PPO, *TINY, "--seeds", "1", "--seed", "5").code == 0
    (run,) = (tmp_path / "runs").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-ppo-s5", run.name)
    assert (run / "best.pth").exists()


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("--seeds", "0"), "trainer.num_seeds"),
        (("--seeds", "-3"), "trainer.num_seeds"),
        (("--seeds", "100000"), "trainer.num_seeds"),
        (("--seeds", "2", "--seed", str(2**63 - 1)), "trainer.seed"),
        (
            ("--seeds", "2", *PROCESSES),
            "environment.vectorization_mode",
        ),
    ],
)
def test_a_study_that_cannot_be_is_one_line(cartpole, tmp_path, options, field):
    ended = cartpole(*PPO, *options, "--dry-run")
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert field in line
    assert list(tmp_path.iterdir()) == []


def test_a_single_seed_may_have_processes(cartpole):
    assert cartpole(*PPO, "--seeds", "1", *PROCESSES, "--dry-run").code == 0


# How it ends


def test_seeds_that_leave_the_numbers_are_told_and_the_others_count(cartpole):
    """With this learning rate seed 6 fails in its first iteration, 7 and 8 spend their budget."""
    changes = (*TINY, "policy.features=raw", "trainer.learning_rate=1e18")
    ended = cartpole(*PPO, *changes, "--seeds", "3", "--seed", "6", "--name", "study")
    assert ended.code == 0
    assert re.search(r"^failed +s6: not finite: \w+ in iteration 1$", ended.out, re.MULTILINE)
    assert "2 of 3 seeds training, 0 solved, 1 failed" in ended.out
    assert "finished after" in ended.out
    assert [read(Path(f"runs/study/s{seed}/run.json"))["status"] for seed in (6, 7, 8)] == [
        "failed",
        "finished",
        "finished",
    ]
    assert read(Path("runs/study/run.json"))["status"] == "finished"


def test_a_study_of_which_nothing_is_left_has_failed(cartpole):
    ended = cartpole(*PPO, *TINY, "trainer.learning_rate=1e30", "--seeds", "2", "--name", "study", "--json")
    assert ended.code == 1
    result = json.loads(ended.out)
    assert (result["status"], result["mean_return"], result["worst_seed"]) == ("failed", None, None)
    assert [seed["status"] for seed in result["seeds"]] == ["failed", "failed"]
    assert len(re.findall("^failed +s[01]: not finite: ", ended.err, re.MULTILINE)) == 2
    assert "failed after" in ended.err
    assert "Traceback" not in ended.err


def test_off_a_terminal_there_are_plain_lines(once):
    out = once("study", *STUDY).out
    assert "\x1b" not in out
    lines = [line for line in out.splitlines() if line.startswith("iteration ")]
    assert [int(line.split()[1]) for line in lines] == list(range(1, 21))
    assert all("3 of 3 seeds training, 0 solved" in line for line in lines[:7])
    assert all("2 of 3 seeds training, 1 solved" in line for line in lines[7:-1])
    assert "0 of 3 seeds training, 1 solved" in lines[-1]
    assert "  steps 384  " in lines[0]
    assert f"  steps {1024 + 2 * 2560}  " in lines[-1]


def test_on_a_terminal_there_is_a_panel():
    code, received = in_terminal(60, *STUDY)
    assert code == 0
    hidden, shown = received.index("\x1b[?25l"), received.rindex("\x1b[?25h")
    live = plain(received[hidden:shown])
    for text in ("steps/s", "of 3 seeds training", "return, median", "held out"):
        assert text in live
    assert "final return, IQM" in received[shown:]


# Killed and resumed


def watched(*arguments: str) -> subprocess.Popen:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*COMMAND, *arguments], text=True, **streams)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_study_that_was_ended_in_the_middle_goes_on_to_the_same_end(number, cartpole, once):
    """Ended after seed 53 has left."""
    once("whole", *LONGER)
    cut, whole = Path("runs/cut"), Path("runs/whole")
    with watched(*LONGER, "--name", "cut") as running:
        while num_lines(cut / "s52") < 14:
            assert running.poll() is None
            time.sleep(0.005)
        running.send_signal(number)
        output = running.communicate(timeout=60)[0]
    assert running.returncode == (130 if number == signal.SIGTERM else -signal.SIGKILL)
    done = num_lines(cut / "s52")
    assert done < 40, "it was over before it was ended"
    assert num_lines(cut / "s53") == 8
    if number == signal.SIGTERM:
        assert read(cut / "run.json")["status"] == "interrupted"
        assert "cartpole train --resume runs/cut" in output

    ended = cartpole("train", "--resume", "cut")
    assert (ended.code, ended.err) == (0, "")
    for seed in (52, 53, 54):
        for name in ("best.pth", "best.json", "evaluation.json", "recipe.toml"):
            assert (cut / f"s{seed}" / name).read_bytes() == (whole / f"s{seed}" / name).read_bytes()
        assert num_lines(cut / f"s{seed}") == num_lines(whole / f"s{seed}")
    assert read(cut / "study.json")["mean_return"] == read(whole / "study.json")["mean_return"]


def test_a_resumed_study_counts_the_seeds_that_have_left(cartpole, monkeypatch):
    with watched(*LONGER, "--name", "study") as running:
        while num_lines(Path("runs/study/s52")) < 14:
            assert running.poll() is None
            time.sleep(0.005)
        running.kill()
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.0)
    out = cartpole("train", "--resume", "study").out
    resuming = re.search(r"^resuming runs/study after (\d+) iterations, (\d+) steps$", out, re.MULTILINE)
    iterations, steps = map(int, resuming.groups())
    assert steps == 1024 + 2 * 128 * iterations
    first = next(line for line in out.splitlines() if line.startswith("iteration "))
    assert first.startswith(f"iteration {iterations + 1}  steps {steps + 2 * 128}  ")
    assert "  2 of 3 seeds training, 1 solved" in first
    assert "  -" not in first, "it has not gone backwards"


def test_resuming_a_finished_study_leaves_it_as_it_is(cartpole, once):
    once("study", *STUDY)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files_in(Path("runs/study"))}
    ended = cartpole("train", "--resume", "study", "trainer.learning_rate=0.5")
    assert (ended.code, ended.err) == (0, "")
    said = "nothing to do (trainer.learning_rate: not applied): it has spent its budget of 2560 steps; to go on: "
    assert ended.out.startswith(f"{said}cartpole train --resume runs/study trainer.num_steps=5120\n")
    assert f"finished after {1024 + 2 * 2560:,} steps" in ended.out
    assert "iteration " not in ended.out
    as_json = cartpole("train", "--resume", "study", "--json")
    assert json.loads(as_json.out) == read(Path("runs/study/study.json"))
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files_in(Path("runs/study"))} == before


def files_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_study_that_is_cut_short_counts_all_its_seeds(cartpole, monkeypatch):
    solved = (*PPO, *SOLVABLE, "--seeds", "3", "--seed", "52", "--name", "study")

    def stop(session):  # as Ctrl-C does, once seed 53 is solved
        session.stop_requested = session.runs[1].progress.solved
        return report_of(session)

    report_of = Session._save_last
    monkeypatch.setattr(Session, "_save_last", stop)
    ended = cartpole(*solved)
    assert ended.code == 130
    told = read(Path("runs/study/study.json"))
    assert (told["num_solved"], told["num_interrupted"], told["num_unscored"]) == (1, 2, 0)
    by_seed = {seed["seed"]: seed for seed in told["seeds"]}
    counted = {
        seed: each["best_return"] if each["mean_return"] is None else each["mean_return"]
        for seed, each in by_seed.items()
    }
    assert [by_seed[seed]["mean_return"] is None for seed in (52, 53, 54)] == [True, False, True]
    assert counted[52] == read(Path("runs/study/s52/best.json"))["evaluation"]["mean_return"]
    assert told["worst_seed"] == min(counted, key=counted.get) != 53
    assert told["mean_return"]["iqm"] == pytest.approx(interquartile_mean(list(counted.values())).value)
    assert "cut short          2 of 3, each counted with its best held-out return so far" in ended.out
    assert "; 1 solved, 2 cut short; all: cartpole best" in cartpole("best").out
    (listed,) = json.loads(cartpole("best", "--json").out)
    assert listed["study"]["num_interrupted"] == 2


def test_a_seed_has_its_share_of_a_studys_time(cartpole, once):
    once("study", *STUDY)
    told = read(Path("runs/study/study.json"))
    shares = [seed["seconds"] for seed in told["seeds"]]
    assert sum(shares) == pytest.approx(told["seconds"], rel=0.05, abs=0.01)
    assert shares[1] == min(shares), "the solved one left early"
    (best,) = json.loads(cartpole("best", "--json").out)
    assert (best["recipe"], best["seconds"]) == ("ppo", shares[1])
    assert cartpole("train", "--resume", "study", "trainer.num_steps=2560").code == 0
    (best,) = json.loads(cartpole("best", "--json").out)
    assert best["recipe"] == "ppo"


@pytest.mark.parametrize(
    ("options", "field"), [(("--seeds", "4"), "trainer.num_seeds"), (("--seed", "6"), "trainer.seed")]
)
def test_other_seeds_are_refused_in_the_middle_of_a_study(cartpole, options, field):
    assert cartpole(*PPO, *TINY, "--seeds", "2", "--seed", "5", "--name", "study", "--quiet").code == 0
    ended = cartpole("train", "--resume", "study", *options)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert f"{field} = {options[1]}: cannot change" in line
