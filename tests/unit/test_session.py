"""A run on disk: its files, how it ends, and that it can be run again."""

import importlib.util
import json
import re
import shutil
import statistics
import sys
from types import SimpleNamespace

import pytest
import torch
from members import trainer_of

from cartpole_cli.errors import CartpoleError
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs import seed_run
from cartpole_cli.runs.checkpoint import load_checkpoint, load_policy
from cartpole_cli.runs.session import Session
from cartpole_cli.runs.trailer import digest_of
from cartpole_cli.training.build import build_evaluator
from cartpole_cli.training.evaluation import play

CPU = torch.device("cpu")
FILES = {"recipe.toml", "run.json", "metrics.jsonl", "best.pth", "best.json", "last.pth"}
FILES |= {"history.pth", "evaluation.json"}


def small(num_iterations: int = 4, **trainer: object) -> Recipe:
    """PPO, 64 steps an iteration, evaluated at every second one."""
    settings = {"num_steps": 64 * num_iterations, "evaluate_every": 2, "evaluation_episodes": 5, "seed": 3}
    return Recipe.model_validate(
        {
            "algorithm": {"name": "ppo", "steps_per_iteration": 16, "num_epochs": 2, "minibatch_size": 32},
            "environment": {"backend": "native", "num_envs": 4},
            "policy": {"hidden_sizes": [16]},
            "trainer": settings | trainer,
        }
    )


def session_of(recipe: Recipe, runs_dir, name: str = "run") -> Session:
    return Session.create(recipe, device=CPU, recipe_name="small", runs_dir=runs_dir, name=name, tell=print)


def train(recipe: Recipe, runs_dir, name: str = "run"):
    session = session_of(recipe, runs_dir, name)
    with session:
        for _ in session.reports():
            pass
        return session, session.finish()


def strict_json(text: str):
    def refuse(token):
        raise ValueError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def metrics(session: Session) -> list[dict]:
    return [strict_json(line) for line in session.directory.metrics.read_text().splitlines()]


def manifest(session: Session) -> dict:
    return strict_json(session.directory.manifest.read_text())


def weights(session: Session, kind: str = "best") -> dict[str, torch.Tensor]:
    if kind == "best":
        return load_checkpoint(session.directory.best, "policy")["policy"]
    return load_checkpoint(session.directory.last, "training")["trainer"]["policy"]


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


# Files


def test_a_finished_run_has_the_files_of_the_design_and_no_other(tmp_path):
    session, summary = train(small(), tmp_path)
    assert session.directory.path == tmp_path / "run"
    assert {path.name for path in session.directory.path.iterdir()} == FILES
    assert summary.run_dir == str(tmp_path / "run")
    assert summary.best_checkpoint == str(tmp_path / "run" / "best.pth")


def test_without_a_name_the_folder_is_named_by_recipe_and_seed(tmp_path):
    session = session_of(small(), tmp_path, name=None)
    with session:
        assert session.directory.path.name.endswith("-small-s3")


def test_every_report_is_a_line_of_json_before_it_is_seen(tmp_path):
    session = session_of(small(), tmp_path)
    with session:
        for report in session.reports():
            lines = metrics(session)
            assert len(lines) == report.iteration
            assert lines[-1]["iteration"] == report.iteration
        session.finish()
    lines = metrics(session)
    assert [line["env_steps"] for line in lines] == [64, 128, 192, 256]
    assert [line["iteration"] for line in lines if "selection_return" in line] == [2, 4]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert all({"episodes", "episode_return", "policy_loss", "gradient_norm"} <= line.keys() for line in lines)


def test_an_iteration_without_an_episodes_end_reports_no_return(tmp_path):
    recipe = small(1).model_dump()
    recipe["algorithm"]["steps_per_iteration"] = 2
    recipe["algorithm"]["minibatch_size"] = 8
    recipe["trainer"]["num_steps"] = 8
    (line,) = metrics(train(Recipe.model_validate(recipe), tmp_path)[0])
    assert line["episodes"] == 0
    assert line["episode_return"] is None


def test_numbers_that_are_not_finite_are_null_in_the_metrics(tmp_path):
    session, summary = train(small(learning_rate=1e30), tmp_path)
    lines = metrics(session)  # which refuses NaN and Infinity
    assert summary.status == "failed"
    assert any(value is None for key, value in lines[-1].items() if key != "episode_return")


def test_best_is_the_policy_of_the_best_held_out_score(tmp_path):
    session = session_of(small(8), tmp_path)
    with session:
        for report in session.reports():
            if report.seeds[0].improved:
                best, iteration = session.trainer.policy.seed_state(0), report.iteration
        session.finish()
    assert same(weights(session), best)
    metadata = strict_json(session.directory.best_metadata.read_text())
    scores = {line["iteration"]: line["selection_return"] for line in metrics(session) if "selection_return" in line}
    assert len(scores) == 4
    assert metadata["iteration"] == iteration
    assert metadata["evaluation"]["mean_return"] == scores[iteration] == max(scores.values())


def test_best_needs_no_other_file(tmp_path):
    recipe = small()
    session, _ = train(recipe, tmp_path)
    alone = tmp_path / "elsewhere.pth"
    shutil.copy(session.directory.best, alone)
    metadata = strict_json(session.directory.best_metadata.read_text())
    shutil.rmtree(session.directory.path)

    content = torch.load(alone, weights_only=True)
    copy = tmp_path / "copy.toml"
    copy.write_text(content["recipe"])
    assert load_recipe(copy) == recipe
    assert content["metadata"] | {"checkpoint_sha256": digest_of(alone)} == metadata
    assert metadata["seed"] == 3
    assert metadata["env_steps"] == 64 * metadata["iteration"]
    assert metadata["evaluation"]["episodes"] == 5

    policy = load_policy(alone, CPU)
    assert policy.architecture == session.trainer.policy.architecture
    assert same(policy.state_dict(), content["policy"])


def test_the_score_is_of_best_on_the_final_set(tmp_path):
    recipe = small()
    session, summary = train(recipe, tmp_path)
    written = strict_json(session.directory.evaluation.read_text())
    assert written["set"] == "final"
    assert len(written["returns"]) == written["episodes"] == summary.episodes == 100
    assert written["mean_return"] == summary.mean_return.value == pytest.approx(statistics.mean(written["returns"]))
    assert written["min_return"] == summary.min_return == min(written["returns"])
    low, high = written["ci95"]
    assert low < written["mean_return"] < high

    judge, best = build_evaluator(recipe), load_policy(session.directory.best, CPU)
    (again,) = judge.final(best, Streams([3]))
    assert list(again.returns) == written["returns"]
    (selection,) = judge.selection(best, Streams([3]))
    assert set(selection.returns) != set(written["returns"])


def test_snapshots_are_the_policies_of_their_iterations(tmp_path):
    session = session_of(small(5, save_every=2), tmp_path)
    seen = {}
    with session:
        for report in session.reports():
            seen[f"step_{report.seeds[0].env_steps:09d}.pth"] = session.trainer.policy.seed_state(0)
        session.finish()
    snapshots = {path.name: path for path in (session.directory.path / "checkpoints").iterdir()}
    assert set(snapshots) == {"step_000000128.pth", "step_000000256.pth"}
    for name, path in snapshots.items():
        assert same(load_policy(path, CPU).state_dict(), seen[name])


def test_last_is_written_every_so_many_iterations_and_at_the_end(tmp_path):
    session = session_of(small(4, checkpoint_every=3), tmp_path)
    with session:
        for report in session.reports():
            saved = load_checkpoint(session.directory.last, "training")["trainer"]["iteration"]
            assert saved == report.iteration // 3 * 3
        assert load_checkpoint(session.directory.last, "training")["trainer"]["iteration"] == 3
        session.finish()
    content = load_checkpoint(session.directory.last, "training")
    assert content["trainer"]["iteration"] == 4
    assert content["trainer"]["env_steps"].tolist() == [256]
    assert content["recipe"] == session.recipe.to_toml()


def test_a_trainer_goes_on_from_last_as_if_nothing_had_happened(tmp_path):
    recipe = small(6)
    whole, _ = train(recipe, tmp_path, "whole")
    cut = session_of(recipe, tmp_path, "cut")
    with cut:
        for report in cut.reports():
            if report.iteration == 3:
                cut.request_stop()
        cut.finish()
    trainer = trainer_of(recipe, [3])
    trainer.load_state_dict(load_checkpoint(cut.directory.last, "training")["trainer"])
    rest = [report.iteration for report in trainer.iterations()]
    assert rest == [4, 5, 6]
    assert same(trainer.policy.state_dict(), weights(whole, "last"))


# How a run ends


def test_a_run_is_running_until_it_is_finished(tmp_path):
    session = session_of(small(), tmp_path)
    assert manifest(session)["status"] == "running"
    with session:
        for _ in session.reports():
            assert manifest(session)["status"] == "running"
        summary = session.finish()
    written = manifest(session)
    assert written["status"] == summary.status == "finished"
    assert written["env_steps"] == summary.env_steps == 256
    assert (written["recipe"], written["algorithm"], written["environment"]) == ("small", "ppo", "CartPole-v1")
    assert written["seed"] == 3
    assert written["device"] == "cpu"
    assert written["threads"] == 1
    assert written["command"] == sys.argv
    assert {"python", "torch", "cartpole-cli"} <= written["versions"].keys()
    assert "git" in written
    assert not summary.solved


def test_reaching_the_target_ends_the_run_once_it_is_confirmed(tmp_path):
    session, summary = train(small(100, stop_at_return=2.0), tmp_path)
    assert summary.solved
    assert summary.status == "finished"
    assert summary.env_steps == 128
    last = metrics(session)[-1]
    assert last["selection_return"] >= 2
    assert last["confirmation_return"] >= 2
    metadata = strict_json(session.directory.best_metadata.read_text())
    assert metadata["confirmation"]["episodes"] == 100


def test_a_run_asked_to_stop_ends_after_its_iteration_and_keeps_all_it_learned(tmp_path):
    session = session_of(small(), tmp_path)
    with session:
        iterations = []
        for report in session.reports():
            iterations.append(report.iteration)
            session.request_stop()
        summary = session.finish()
    assert iterations == [1]
    assert manifest(session)["status"] == summary.status == "interrupted"
    assert manifest(session)["env_steps"] == summary.env_steps == 64
    assert same(weights(session, "last"), session.trainer.policy.state_dict())
    assert not session.directory.evaluation.exists()
    assert summary.mean_return is summary.min_return is summary.best_checkpoint is None
    assert summary.episodes == 0


def test_a_run_asked_to_stop_names_the_best_it_has(tmp_path):
    session = session_of(small(), tmp_path)
    with session:
        for report in session.reports():
            if report.iteration == 2:
                session.request_stop()
        summary = session.finish()
    assert summary.best_checkpoint == str(session.directory.best)
    assert load_policy(session.directory.best, CPU).num_seeds == 1


def test_a_stop_asked_for_in_the_last_iteration_changes_nothing(tmp_path):
    session = session_of(small(1), tmp_path)
    with session:
        for _ in session.reports():
            session.request_stop()
        summary = session.finish()
    assert summary.status == "finished"
    assert session.directory.evaluation.exists()


def test_a_run_left_by_an_exception_is_failed(tmp_path):
    session = session_of(small(), tmp_path)

    def crash():
        for _ in session.reports():
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), session:
        crash()
    assert manifest(session)["status"] == "failed"
    assert len(metrics(session)) == 1


def test_a_run_whose_gradient_is_not_finite_is_failed_and_keeps_finite_weights(tmp_path):
    session, summary = train(small(learning_rate=1e30), tmp_path)
    assert summary.status == manifest(session)["status"] == "failed"
    assert not summary.solved
    assert re.fullmatch(r"\w+ in iteration \d+", summary.failure)
    assert load_checkpoint(session.directory.last, "training")["trainer"]["iteration"] >= 1


def test_a_run_that_cannot_be_built_leaves_nothing(tmp_path):
    recipe = small().model_dump()
    recipe["environment"] = {"backend": "gymnasium", "id": "NoSuchTask-v0"}
    with pytest.raises(CartpoleError, match="NoSuchTask-v0"):
        session_of(Recipe.model_validate(recipe), tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


# Films


def film_names(session: Session) -> list[str]:
    return sorted(path.name for path in (session.directory.path / "videos").iterdir())


def test_films_are_made_every_so_many_iterations_and_every_tracker_is_told(tmp_path):
    session = session_of(small(5, render_every=2), tmp_path)
    told: list[tuple] = []

    def log_video(path, iteration):
        assert path.is_file()
        told.append(("film", path, iteration))

    log = SimpleNamespace(
        log=lambda record: told.append(("numbers", record["iteration"])), log_video=log_video, close=lambda: None
    )
    session.runs[0]._trackers += [log, log]
    with session:
        for _ in session.reports():
            pass
        session.finish()
    videos = session.directory.path / "videos"
    expected: list[tuple] = []
    for iteration in range(1, 6):
        expected += [("numbers", iteration)] * 2
        if iteration in {2, 4}:
            expected += [("film", videos / f"step_{64 * iteration:09d}.mp4", iteration)] * 2
    assert told == expected
    assert film_names(session) == ["step_000000128.mp4", "step_000000256.mp4"]
    assert {path.name for path in session.directory.path.iterdir()} == FILES | {"videos"}


def test_a_films_policy_is_the_one_of_its_iteration(tmp_path, monkeypatch):
    """Told by its forces in 64 states: those of last.pth, and before that others."""
    states = torch.randn(1, 64, 4, generator=torch.Generator().manual_seed(0))
    filmed: list[torch.Tensor] = []

    def record(act, judge, recording):
        filmed.append(act(states))
        return play(act, judge, recording)

    recipe = small(2, render_every=1)
    recipe = recipe.model_copy(
        update={"environment": recipe.environment.model_copy(update={"id": "ContinuousCartPole-v1"})}
    )
    monkeypatch.setattr(seed_run, "play", record)
    session, _ = train(recipe, tmp_path)
    assert len(filmed) == 2
    assert not torch.equal(filmed[0], filmed[1])
    assert torch.equal(filmed[1], session.trainer.policy.greedy_action(states))


@pytest.mark.parametrize("environment", [{}, {"physics": {"gravity": 20.0}, "disturb": {"push_rate": 5.0}}], ids=str)
def test_a_film_is_of_the_selection_sets_first_episode(tmp_path, monkeypatch, environment):
    recipe, filmed = small(2, render_every=1, evaluate_every=1).model_dump(), []
    recipe["environment"] |= environment
    monkeypatch.setattr(seed_run, "film", lambda recording, path: filmed.append((path.suffix, len(recording.states))))
    with session_of(Recipe.model_validate(recipe), tmp_path) as session:
        evaluations = [report.seeds[0].evaluation for report in session.reports()]
    assert filmed == [(".mp4", evaluation.returns[0] + 1) for evaluation in evaluations]


def test_without_render_every_there_is_no_film(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    session, summary = train(small(), tmp_path)
    assert summary.status == "finished"
    assert not (session.directory.path / "videos").exists()


def test_films_change_nothing_in_the_training(tmp_path):
    filmed, _ = train(small(render_every=1), tmp_path, "filmed")
    plain, _ = train(small(), tmp_path, "plain")
    assert len(film_names(filmed)) == 4
    assert same(weights(filmed), weights(plain))
    assert same(weights(filmed, "last"), weights(plain, "last"))
    scores = [strict_json(session.directory.evaluation.read_text()) for session in (filmed, plain)]
    digests = [score.pop("checkpoint_sha256") for score in scores]
    assert scores[0] == scores[1]
    assert digests == [digest_of(session.directory.best) for session in (filmed, plain)]


def test_a_run_that_cannot_film_is_told_before_it_begins(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else find(name))
    with pytest.raises(CartpoleError, match=r"filming needs av: .*cartpole-cli\[video\]"):
        session_of(small(render_every=1), tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


# The same again


@pytest.mark.parametrize("algorithm", ["ppo", "reinforce"])
def test_the_same_recipe_gives_the_same_run(tmp_path, algorithm):
    recipe = small()
    if algorithm == "reinforce":
        recipe = Recipe.model_validate(recipe.model_dump() | {"algorithm": {"name": "reinforce"}})
    (one, first), (other, second) = train(recipe, tmp_path, "one"), train(recipe, tmp_path, "other")

    def untimed(session):
        return [{key: value for key, value in line.items() if key != "seconds"} for line in metrics(session)]

    assert untimed(one) == untimed(other)
    assert same(weights(one), weights(other))
    assert same(weights(one, "last"), weights(other, "last"))
    assert one.directory.evaluation.read_bytes() == other.directory.evaluation.read_bytes()
    assert (first.mean_return, first.env_steps) == (second.mean_return, second.env_steps)


def test_another_seed_gives_another_run(tmp_path):
    one, other = (train(small(seed=seed), tmp_path, str(seed))[0] for seed in (3, 4))
    assert not same(weights(one, "last"), weights(other, "last"))
    returns = [strict_json(session.directory.evaluation.read_text())["returns"] for session in (one, other)]
    assert returns[0] != returns[1]


def test_the_recipe_in_the_folder_repeats_the_run(tmp_path):
    one, _ = train(small(), tmp_path, "one")
    recipe = load_recipe(one.directory.recipe)
    assert recipe == small()
    other, _ = train(recipe, tmp_path, "other")
    assert same(weights(one), weights(other))
