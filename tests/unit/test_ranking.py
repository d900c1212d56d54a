"""Run folders, whole and damaged: what is read from them, their order, and which cannot be told apart."""

import hashlib
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cartpole_cli.errors import CartpoleError
from cartpole_cli.estimate import Estimate
from cartpole_cli.recipe.files import load_recipe, shipped_recipes
from cartpole_cli.runs.lock import FolderLock
from cartpole_cli.runs.manifest import new_manifest
from cartpole_cli.runs.ranking import as_plain_data, distinguishable, ranked, winner
from cartpole_cli.runs.reading import Run, read_runs
from cartpole_cli.runs.trailer import digest_of, with_trailer

FILES = ("run.json", "best.json", "evaluation.json")


def score(mean: float = 400.0, worst: float = 300.0, ci95: tuple[float, float] | None = None, **more: Any) -> dict:
    low, high = ci95 or (mean - 5, mean + 5)
    return {"set": "any", "episodes": 100, "mean_return": mean, "min_return": worst, "ci95": [low, high], **more}


def make_run(runs_dir: Path, name: str = "run", *, final: dict | None = None, **changes: Any) -> Path:
    """A folder as a session leaves it; `changes` are of run.json, selection and confirmation."""
    folder = runs_dir / name
    folder.mkdir(parents=True)
    manifest = {"kind": "run", "recipe": "my-ppo", "algorithm": "ppo", "environment": "CartPole-v1"}
    manifest |= {"status": "finished", "seconds": 12.5, "env_steps": 5000}
    manifest |= {key: value for key, value in changes.items() if key in manifest}
    (folder / "best.pth").write_bytes(with_trailer(b"weights"))
    named = {"checkpoint_sha256": hashlib.sha256(b"weights").hexdigest()}
    best = {"env_steps": 4000, "evaluation": changes.get("selection", score()), **named}
    best["confirmation"] = changes.get("confirmation")
    (folder / "recipe.toml").touch()
    (folder / "run.json").write_text(json.dumps(manifest))
    (folder / "best.json").write_text(json.dumps(best))
    (folder / "evaluation.json").write_text(json.dumps((final or score()) | named))
    return folder


def read_one(runs_dir: Path) -> Run:
    (run,) = read_runs(runs_dir)
    return run


def names(runs_dir: Path) -> list[str]:
    return [run.name for run in ranked(read_runs(runs_dir))]


# Reading


def test_a_whole_run_is_read_whole(tmp_path):
    confirmation = score(480.0)
    final = score(410.5, 77.0, (400.0, 420.0))
    folder = make_run(tmp_path, "20310203-040506-my-ppo-s3", final=final, confirmation=confirmation)
    run = read_one(tmp_path)
    assert (run.status, run.problem) == ("finished", None)
    assert (run.recipe, run.algorithm, run.environment) == ("my-ppo", "ppo", "CartPole-v1")
    assert run.score is not None
    assert (run.score.set_name, run.score.episodes) == ("final", 100)
    assert (run.score.mean_return, run.score.min_return) == (Estimate(410.5, (400.0, 420.0)), 77.0)
    assert (run.longer_horizon_return, run.env_steps, run.seconds) == (480.0, 5000, 12.5)
    assert (run.directory.path, run.has_checkpoint) == (folder, True)


@pytest.mark.parametrize("key", ["recipe", "algorithm", "environment"])
@pytest.mark.parametrize("given", ["grpo", None])
def test_what_was_trained_is_said_by_run_json_wherever_the_folder_is(tmp_path, key, given):
    make_run(tmp_path, "20310203-040506-ppo-s3", **{key: given})
    run = read_one(tmp_path)
    assert (getattr(run, key), run.status, run.problem) == (given, "finished", None)


def test_a_run_of_before_these_were_in_run_json_is_listed_without_them(tmp_path):
    path = make_run(tmp_path) / "run.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({key: told[key] for key in ("kind", "status", "seconds", "env_steps")}))
    run = read_one(tmp_path)
    assert (run.recipe, run.algorithm, run.environment, run.status) == (None, None, None, "finished")
    assert run.score is not None


def test_a_run_of_before_these_were_in_run_json_is_told_by_its_recipe(tmp_path):
    folder = make_run(tmp_path)
    (folder / "run.json").write_text(json.dumps({"kind": "run", "status": "finished", "seconds": 1.0, "env_steps": 1}))
    (folder / "recipe.toml").write_text('[algorithm]\nname = "dpo"\n[environment]\nid = "CartPoleSwingUp-v1"\n')
    run = read_one(tmp_path)
    assert (run.algorithm, run.environment, run.problem) == ("dpo", "CartPoleSwingUp-v1", None)


def test_a_score_of_another_checkpoint_is_nobodys(tmp_path):
    folder = make_run(tmp_path, selection=score(123.0))
    (folder / "best.pth").write_bytes(with_trailer(b"other weights"))
    assert (read_one(tmp_path).score, read_one(tmp_path).longer_horizon_return) == (None, None)
    best = json.loads((folder / "best.json").read_text())
    (folder / "best.json").write_text(json.dumps(best | {"checkpoint_sha256": digest_of(folder / "best.pth")}))
    found = read_one(tmp_path).score
    assert found is not None
    assert (found.set_name, found.mean_return.value) == ("selection", 123.0)


@pytest.mark.parametrize("name", ["s1", "s2"])
def test_what_a_folder_is_is_said_by_its_run_json(tmp_path, name):
    runs = tmp_path / "runs"
    folder = make_run(runs, "mine")
    (folder / name).mkdir()
    assert [run.name for run in read_runs(runs)] == ["mine"]
    (folder / name).rmdir()
    (folder / name).touch()
    assert [run.name for run in read_runs(runs)] == ["mine"]
    make_run(runs, "s5")
    assert {run.name for run in read_runs(runs)} == {"mine", "s5"}
    assert {run.name for run in read_runs(tmp_path)} == set(), "the runs folder is no study"


def test_every_shipped_recipes_algorithm_and_environment_are_in_run_json(tmp_path):
    expected = {}
    for path in shipped_recipes().values():
        recipe = load_recipe(path)
        told = new_manifest(recipe, path.stem, torch.device("cpu"))
        make_run(tmp_path, path.stem, **{key: told[key] for key in ("recipe", "algorithm", "environment")})
        expected[path.stem] = (path.stem, recipe.algorithm.name, recipe.environment.id)
    assert {run.name: (run.recipe, run.algorithm, run.environment) for run in read_runs(tmp_path)} == expected


def test_without_a_final_score_the_selection_counts_and_is_marked(tmp_path):
    folder = make_run(tmp_path, selection=score(123.0))
    (folder / "evaluation.json").unlink()
    run = read_one(tmp_path)
    assert run.score is not None
    assert (run.score.set_name, run.score.mean_return.value) == ("selection", 123.0)


def test_a_run_that_has_not_been_evaluated_is_not_broken(tmp_path):
    folder = make_run(tmp_path, status="running")
    for name in ("evaluation.json", "best.json", "best.pth"):
        (folder / name).unlink()
    lock = FolderLock(folder)
    run = read_one(tmp_path)
    assert (run.status, run.problem, run.score, run.has_checkpoint) == ("running", None, None, False)
    lock.release()
    assert read_one(tmp_path).status == "interrupted", "its process is gone"
    (folder / ".lock").touch()
    assert read_one(tmp_path).status == "interrupted", "its process was killed"


def test_a_run_under_way_has_come_as_far_as_its_newest_whole_metrics(tmp_path):
    folder = make_run(tmp_path, status="running", env_steps=0, seconds=0.0)
    lines = [json.dumps({"iteration": i, "env_steps": 128 * i, "seconds": i / 4, "x": "y" * 50}) for i in range(1000)]
    (folder / "metrics.jsonl").write_text("\n".join(lines) + '\n{"env_steps": 9999, "sec')
    run = read_one(tmp_path)
    assert (run.env_steps, run.seconds) == (128 * 999, 999 / 4)


@pytest.mark.parametrize(
    "metrics", [None, "", "\n\n", "garbage", "[]\n", '{"env_steps": "x", "seconds": null}', "\0" * 99]
)
def test_a_run_under_way_without_metrics_has_no_known_effort_and_is_not_broken(tmp_path, metrics):
    folder = make_run(tmp_path, status="running", env_steps=0)
    if metrics is not None:
        (folder / "metrics.jsonl").write_text(metrics)
    run = read_one(tmp_path)
    assert (run.env_steps, run.seconds, run.problem) == (None, None, None)


# Damage

GARBAGE = {
    "empty": b"",
    "cut short": b'{"status": "fini',
    "no text": b"\xff\xfe\x00\x80",
    "a list": b"[]",
    "null": b"null",
    "a number": b"7",
    "thousands of digits": b'{"seconds": ' + b"9" * 5000 + b"}",
    "deep": b"[" * 100_000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
@pytest.mark.parametrize("file", FILES)
def test_garbage_in_a_file_makes_a_broken_run_that_names_the_file(tmp_path, file, garbage):
    (make_run(tmp_path) / file).write_bytes(garbage)
    run = read_one(tmp_path)
    assert (run.status, run.score) == ("broken", None)
    assert run.problem is not None
    assert run.problem.startswith(file)
    assert len(run.problem) < 80


@pytest.mark.parametrize("file", ["recipe.toml", "run.json"])
def test_a_missing_file_makes_a_broken_run_that_says_so(tmp_path, file):
    (make_run(tmp_path) / file).unlink()
    run = read_one(tmp_path)
    assert (run.status, run.problem) == ("broken", f"{file}: missing")


@pytest.mark.parametrize("file", FILES)
def test_a_folder_in_a_files_place_makes_a_broken_run(tmp_path, file):
    folder = make_run(tmp_path)
    (folder / file).unlink()
    (folder / file).mkdir()
    run = read_one(tmp_path)
    assert run.status == "broken"
    assert run.problem is not None
    assert run.problem.startswith(f"{file}: cannot be read")


WRONG = {
    "status": ("run.json", "status", [None, 3, [], {}]),
    "recipe": ("run.json", "recipe", [3, ["grpo"], {}, False]),
    "algorithm": ("run.json", "algorithm", [3, ["ppo"], {}, False]),
    "environment": ("run.json", "environment", [5, ["x"], {}, float("nan")]),
    "seconds": ("run.json", "seconds", [None, "3", True, -1, float("nan"), float("inf"), 10**400, [1]]),
    "env_steps": ("run.json", "env_steps", [None, "3", False, -5, float("nan"), {}]),
    "mean": ("evaluation.json", "mean_return", [None, "500", True, float("nan"), float("-inf"), 10**400, []]),
    "worst": ("evaluation.json", "min_return", [None, "500", float("nan")]),
    "episodes": ("evaluation.json", "episodes", [None, "100", -1]),
    "interval": ("evaluation.json", "ci95", [None, 5, [], [1.0], [1, 2, 3], ["1", "2"], [1, float("nan")], {"0": 1}]),
    "selection": ("best.json", "evaluation", [None, 3, [], {}, {"mean_return": 5}]),
    "confirmation": ("best.json", "confirmation", [3, [], {}, "x"]),
}


@pytest.mark.parametrize(
    ("file", "key", "value"), [(file, key, value) for file, key, values in WRONG.values() for value in values]
)
def test_a_field_of_a_wrong_kind_makes_a_broken_run_that_names_the_field(tmp_path, file, key, value):
    path = make_run(tmp_path) / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    run = read_one(tmp_path)
    assert (run.status, run.score) == ("broken", None)
    assert run.problem is not None
    assert run.problem.startswith(f"{file}: {key}")


@pytest.mark.parametrize("content", GARBAGE.values(), ids=GARBAGE)
def test_a_damaged_recipe_breaks_no_run_as_its_checkpoints_have_their_own(tmp_path, content):
    (make_run(tmp_path) / "recipe.toml").write_bytes(content)
    run = read_one(tmp_path)
    assert (run.status, run.problem, run.algorithm) == ("finished", None, "ppo")


def test_what_a_broken_run_still_says_is_kept(tmp_path):
    (make_run(tmp_path) / "evaluation.json").write_text("{")
    run = read_one(tmp_path)
    assert (run.algorithm, run.environment, run.env_steps) == ("ppo", "CartPole-v1", 5000)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_a_folder_that_cannot_be_read_is_a_broken_run(tmp_path):
    folder = make_run(tmp_path)
    folder.chmod(0)
    try:
        run = read_one(tmp_path)
    finally:
        folder.chmod(0o755)
    assert (run.status, run.problem) == ("broken", "cannot be read (Permission denied)")


def test_a_folder_that_the_system_refuses_to_list_is_a_broken_run(tmp_path, monkeypatch):
    folder, iterdir = make_run(tmp_path), Path.iterdir

    def refusing(path):
        if path == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refusing)
    run = read_one(tmp_path)
    assert (run.status, run.problem) == ("broken", "cannot be read (Permission denied)")


def test_what_is_no_run_is_passed_over(tmp_path):
    make_run(tmp_path, "run")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    (tmp_path / "plots").mkdir()
    (tmp_path / "plots" / "a.png").write_bytes(b"")
    (tmp_path / "dangling").symlink_to("nowhere")
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("file", ["run.json", "recipe.toml", "best.pth", "last.pth"])
def test_one_of_a_runs_files_is_enough_to_be_listed(tmp_path, file):
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / file).write_bytes(b"")
    assert read_one(tmp_path).status == "broken"


def test_a_linked_run_counts(tmp_path):
    make_run(tmp_path / "elsewhere", "run")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "link").symlink_to(tmp_path / "elsewhere" / "run")
    assert read_one(tmp_path / "runs").status == "finished"


@pytest.mark.parametrize("make", [lambda path: None, Path.touch], ids=["missing", "a file"])
def test_a_runs_folder_that_is_none_is_an_error_of_one_line(tmp_path, make):
    make(tmp_path / "runs")
    with pytest.raises(CartpoleError) as caught:
        read_runs(tmp_path / "runs")
    (line,) = caught.value.problems
    assert str(tmp_path / "runs") in line


# Order

BETTER = [
    {"final": score(400.0, 300.0), "confirmation": score(450.0), "env_steps": 5000},
    {"final": score(400.0, 300.0), "confirmation": score(450.0), "env_steps": 5001},
    {"final": score(400.0, 300.0), "confirmation": score(449.0), "env_steps": 10},
    {"final": score(400.0, 300.0), "confirmation": None, "env_steps": 9},
    {"final": score(400.0, 299.0), "confirmation": score(490.0), "env_steps": 8},
    {"final": score(399.9, 399.0), "confirmation": score(500.0), "env_steps": 7},
    {"final": score(-5.0, -10.0), "confirmation": score(500.0), "env_steps": 6},
]


@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(range(len(BETTER)), 2)))
def test_mean_then_worst_then_longer_horizon_then_fewer_steps_decide(tmp_path, first, second):
    make_run(tmp_path, "b", **BETTER[first])
    make_run(tmp_path, "a", **BETTER[second])
    assert names(tmp_path) == ["b", "a"]


def test_equal_runs_are_in_the_order_of_their_names(tmp_path):
    for name in ("b", "c", "a"):
        make_run(tmp_path, name)
    assert names(tmp_path) == ["a", "b", "c"]


def test_a_selection_score_competes_with_final_scores(tmp_path):
    for name, mean in (("low", 100.0), ("high", 300.0)):
        make_run(tmp_path, name, final=score(mean))
    (make_run(tmp_path, "middle", selection=score(200.0)) / "evaluation.json").unlink()
    assert names(tmp_path) == ["high", "middle", "low"]


def test_runs_without_a_score_come_last_and_broken_ones_after_them(tmp_path):
    (make_run(tmp_path, "a broken one") / "run.json").write_text("{")
    folder = make_run(tmp_path, "b unscored")
    (folder / "best.json").unlink()
    (folder / "evaluation.json").unlink()
    make_run(tmp_path, "c worst", final=score(-1000.0, -2000.0))
    assert names(tmp_path) == ["c worst", "b unscored", "a broken one"]


# Telling apart


@pytest.mark.parametrize(
    ("interval", "expected"),
    [
        ((300.0, 350.0), True),
        ((300.0, 389.9), True),
        ((300.0, 390.0), False),
        ((350.0, 395.0), False),
        ((392.0, 393.0), False),
        ((300.0, 450.0), False),
    ],
)
def test_a_run_is_told_from_the_best_unless_their_intervals_overlap(tmp_path, interval, expected):
    make_run(tmp_path, "best", final=score(400.0, ci95=(390.0, 410.0)))
    make_run(tmp_path, "other", final=score(350.0, ci95=interval))
    best, other = ranked(read_runs(tmp_path))
    assert distinguishable(other, best) is expected
    assert as_plain_data(other, best)["distinguishable"] is expected


def test_an_interval_above_the_best_runs_is_told_apart_too(tmp_path):
    make_run(tmp_path, "best", final=score(400.0, ci95=(390.0, 410.0)))
    make_run(tmp_path, "odd", final=score(350.0, ci95=(411.0, 420.0)))
    best, odd = ranked(read_runs(tmp_path))
    assert distinguishable(odd, best) is True


def test_perfect_runs_cannot_be_told_apart(tmp_path):
    for name in ("a", "b"):
        make_run(tmp_path, name, final=score(500.0, 500.0, (500.0, 500.0)))
    best, other = ranked(read_runs(tmp_path))
    assert distinguishable(other, best) is False


def test_there_is_nothing_to_tell_for_the_best_run_itself_and_without_a_score(tmp_path):
    make_run(tmp_path, "best")
    (make_run(tmp_path, "broken") / "run.json").write_text("{")
    best, broken = ranked(read_runs(tmp_path))
    assert distinguishable(best, best) is None
    assert distinguishable(broken, best) is None
    assert distinguishable(best, broken) is None


# The winner


def test_the_winner_has_a_checkpoint(tmp_path):
    (make_run(tmp_path, "best", final=score(499.0)) / "best.pth").unlink()
    make_run(tmp_path, "second", final=score(400.0))
    chosen = winner(ranked(read_runs(tmp_path)))
    assert chosen is not None
    assert chosen.name == "second"


def test_neither_broken_nor_unscored_runs_win(tmp_path):
    (make_run(tmp_path, "broken") / "run.json").write_text("{")
    folder = make_run(tmp_path, "unscored")
    (folder / "best.json").unlink()
    (folder / "evaluation.json").unlink()
    assert winner(ranked(read_runs(tmp_path))) is None


def test_reading_and_ranking_load_no_torch():
    heavy = ("torch", "gymnasium", "numpy", "wandb", "pydantic")
    script = f"import sys, cartpole_cli.runs.ranking; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
