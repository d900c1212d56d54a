"""A run that was cut short goes on as if nothing had happened: the same metrics, the same bits."""

import json
import re
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.recipe import GymnasiumEnvironment, NativeEnvironment, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cartpole_cli.runs.metrics import trim_metrics
from cartpole_cli.runs.reading import read_runs
from cartpole_cli.runs.resume import load_resumable
from cartpole_cli.runs.session import Session
from cartpole_cli.runs.summary import Summary
from cartpole_cli.runs.trailer import digest_of

CPU = torch.device("cpu")
PPO = PPORecipe(steps_per_iteration=8, num_epochs=2, minibatch_size=32, clip_range_schedule="linear")
ALGORITHMS: dict[str, Any] = {
    "ppo": PPO,
    "reinforce": ReinforceRecipe(),
    "grpo": GRPORecipe(name="grpo", group_size=2, kl_weight=0.1, reference_every=3, minibatch_size=64),
    "dpo": DPORecipe(name="dpo", group_size=2, reference_every=3, rater="bradley_terry"),
}
ENVIRONMENTS: dict[str, Any] = {
    "native": NativeEnvironment(num_envs=16, max_episode_steps=30),
    "native-continuous": NativeEnvironment(id="ContinuousCartPole-v1", num_envs=16, max_episode_steps=30),
    "gymnasium-sync": GymnasiumEnvironment(backend="gymnasium", num_envs=16, max_episode_steps=30),
    "gymnasium-vector": GymnasiumEnvironment(
        backend="gymnasium", num_envs=16, max_episode_steps=30, vectorization_mode="vector_entry_point"
    ),
}
CASES = [
    (name, environment)
    for name in ALGORITHMS
    for environment in ENVIRONMENTS
    if environment != "gymnasium-vector" or name in {"ppo", "reinforce"}
]


def recipe_of(algorithm: str = "ppo", environment: str = "native", **trainer: Any) -> Recipe:
    settings = {"num_steps": 1000, "evaluate_every": 2, "evaluation_episodes": 3, "checkpoint_every": 2} | trainer
    return Recipe(
        algorithm=ALGORITHMS[algorithm],
        environment=ENVIRONMENTS[environment],
        policy=PolicyRecipe(hidden_sizes=(16,)),
        trainer=TrainerRecipe(**settings),
    )


def create(recipe: Recipe, runs_dir: Path, name: str) -> Session:
    return Session.create(recipe, device=CPU, recipe_name="r", runs_dir=runs_dir, name=name, tell=print)


def finish(session: Session) -> Summary:
    with session:
        for _ in session.reports():
            pass
        return session.finish()


def go_on(runs_dir: Path, name: str, *overrides: str, tell: Any = print) -> Summary:
    return finish(Session.resume(load_resumable(name, runs_dir, overrides), device=CPU, tell=tell))


def cut_short(session: Session, iterations: int) -> None:
    """Leave a run as a process that is killed after so many iterations leaves it."""
    for _, _ in zip(range(iterations), session.reports(), strict=False):
        pass
    session.trainer.environment.close()


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return bool(first == second)


def assert_same_run(one: Path, other: Path) -> None:
    assert metrics(one) == metrics(other)
    for name, kind, part in (("last.pth", "training", "trainer"), ("best.pth", "policy", "policy")):
        assert same(load_checkpoint(one / name, kind)[part], load_checkpoint(other / name, kind)[part]), name
    for name in ("best.json", "evaluation.json", "recipe.toml"):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


@pytest.mark.parametrize(("algorithm", "environment"), CASES)
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(algorithm: str, environment: str, tmp_path: Path) -> None:
    recipe = recipe_of(algorithm, environment, num_steps=1000 if algorithm == "ppo" else 3000)
    whole = finish(create(recipe, tmp_path, "whole"))
    cut_short(create(recipe, tmp_path, "cut"), 3)  # last.pth is of the second iteration, metrics have three lines
    resumed = go_on(tmp_path, "cut")
    assert len(metrics(tmp_path / "whole")) > 4, "the run must go on for some iterations after the cut"
    assert (resumed.status, resumed.env_steps, resumed.mean_return) == ("finished", whole.env_steps, whole.mean_return)
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_a_run_may_be_cut_and_resumed_after_every_iteration(tmp_path: Path) -> None:
    recipe = recipe_of(checkpoint_every=1)
    finish(create(recipe, tmp_path, "whole"))
    cut_short(create(recipe, tmp_path, "cut"), 1)
    for _ in range(5):
        cut_short(Session.resume(load_resumable("cut", tmp_path, ()), device=CPU, tell=print), 1)
    go_on(tmp_path, "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_a_run_that_never_wrote_last_begins_again(tmp_path: Path) -> None:
    recipe = recipe_of()
    finish(create(recipe, tmp_path, "whole"))
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "recipe.toml").write_text(recipe.to_toml())
    go_on(tmp_path, "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


# What a resume must not destroy


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def study_of(runs_dir: Path) -> Path:
    finish(create(recipe_of(num_seeds=3), runs_dir, "study"))
    return runs_dir / "study"


@pytest.mark.parametrize("under_way", [False, True])
def test_a_seed_of_a_study_is_not_begun_again(under_way: bool, tmp_path: Path) -> None:
    if under_way:
        cut_short(create(recipe_of(num_seeds=3), tmp_path, "study"), 3)
    else:
        study_of(tmp_path)
    before = snapshot(tmp_path)
    with pytest.raises(CartpoleError) as caught:
        load_resumable("study/s2", tmp_path, [])
    (problem,) = caught.value.problems
    assert "a seed of the study study" in problem
    assert problem.endswith(f"to go on: cartpole train --resume {tmp_path / 'study'}")
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("num_seeds", [1, 2])
def test_a_run_with_results_and_without_last_is_not_begun_again(num_seeds: int, tmp_path: Path) -> None:
    cut_short(create(recipe_of(num_seeds=num_seeds), tmp_path, "run"), 3)
    (tmp_path / "run" / "last.pth").unlink()
    before = snapshot(tmp_path)
    with pytest.raises(CartpoleError, match=r"has results, but no last\.pth to go on from; .*--recipe .*recipe\.toml"):
        load_resumable("run", tmp_path, ["trainer.num_steps=4000"])
    assert snapshot(tmp_path) == before


def test_a_study_whose_run_json_is_lost_keeps_its_seeds(tmp_path: Path) -> None:
    study = study_of(tmp_path)
    (study / "s2" / "run.json").unlink()
    with pytest.raises(CartpoleError, match="has results"):
        load_resumable("study/s2", tmp_path, [])


@pytest.mark.parametrize("line", ["num_steps = 1500", "checkpoint_every = 7"])
def test_an_edited_recipe_is_taken_as_if_given_on_the_command_line(line: str, tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 3)
    path = tmp_path / "run" / "recipe.toml"
    key = line.split(maxsplit=1)[0]
    path.write_text(re.sub(rf"^{key} = .*$", line, path.read_text(), flags=re.MULTILINE))
    run = load_resumable("run", tmp_path, [])
    assert getattr(run.recipe.trainer, key) == int(line.split()[2])
    finish(Session.resume(run, device=CPU, tell=print))
    assert line in path.read_text().splitlines()


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("hidden_sizes = [\n    16,\n]", "hidden_sizes = [32]", "policy.hidden_sizes"),
        ('activation = "tanh"', 'activation = "relu"', "policy.activation"),
        ("num_envs = 16", "num_envs = 8", "environment.num_envs"),
        ("num_steps = 1000", "num_steps = 64", "trainer.num_steps"),
    ],
)
def test_an_edit_that_cannot_be_made_is_refused_and_nothing_is_written(
    old: str, new: str, key: str, tmp_path: Path
) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 3)
    path = tmp_path / "run" / "recipe.toml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    before = snapshot(tmp_path)
    with pytest.raises(CartpoleError) as caught:
        load_resumable("run", tmp_path, [])
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: {key} = ")
    assert snapshot(tmp_path) == before


def test_a_broken_edit_is_not_overwritten(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 3)
    path = tmp_path / "run" / "recipe.toml"
    path.write_text(path.read_text().replace("num_steps = ", "num_steps : "))
    before = snapshot(tmp_path)
    with pytest.raises(CartpoleError, match="not valid TOML"):
        load_resumable("run", tmp_path, [])
    assert snapshot(tmp_path) == before


def test_an_edited_recipe_of_a_studys_seed_is_refused(tmp_path: Path) -> None:
    cut_short(create(recipe_of(num_seeds=2), tmp_path, "study"), 3)
    path = tmp_path / "study" / "s1" / "recipe.toml"
    path.write_text(path.read_text().replace("num_steps = 1000", "num_steps = 9000"))
    with pytest.raises(CartpoleError, match=r"s1/recipe\.toml: was edited, .*edit .*study/recipe\.toml"):
        load_resumable("study", tmp_path, [])


def test_a_killed_extension_goes_on_by_the_recipe_that_was_written_first(tmp_path: Path) -> None:
    finish(create(recipe_of(num_seeds=2), tmp_path, "study"))
    recipe = load_resumable("study", tmp_path, ["trainer.num_steps=2000"]).recipe
    (tmp_path / "study" / "recipe.toml").write_text(recipe.to_toml())  # killed before last.pth, among the seeds
    (tmp_path / "study" / "s0" / "recipe.toml").write_text(recipe.for_seed(0).to_toml())
    go_on(tmp_path, "study")
    finish(create(recipe_of(num_seeds=2), tmp_path, "other"))
    go_on(tmp_path, "other", "trainer.num_steps=2000")
    for seed in ("s0", "s1"):
        assert metrics(tmp_path / "study" / seed) == metrics(tmp_path / "other" / seed)


@pytest.mark.parametrize("override", ["trainer.learning_rate=0.5", "trainer.checkpoint_every=3", None])
@pytest.mark.parametrize("num_seeds", [1, 2])
def test_where_nothing_is_left_to_do_a_run_has_ended(override: str | None, num_seeds: int, tmp_path: Path) -> None:
    summary = finish(create(recipe_of(num_seeds=num_seeds), tmp_path, "run"))
    run = load_resumable("run", tmp_path, [override] if override else [])
    assert run.has_ended
    assert run.summary().as_plain_data() == summary.as_plain_data()
    assert not load_resumable("run", tmp_path, ["trainer.num_steps=2000"]).has_ended


def test_a_run_that_was_killed_before_its_final_score_has_not_ended(tmp_path: Path) -> None:
    whole = finish(create(recipe_of(), tmp_path, "run"))
    (tmp_path / "run" / "evaluation.json").unlink()
    assert not load_resumable("run", tmp_path, []).has_ended
    assert go_on(tmp_path, "run").mean_return == whole.mean_return
    assert load_resumable("run", tmp_path, []).has_ended


def test_a_solved_run_goes_on_without_its_target_and_with_a_higher_one(tmp_path: Path) -> None:
    solved = finish(create(recipe_of(stop_at_return=8.0, num_steps=2000), tmp_path, "run"))
    assert (solved.solved, solved.env_steps < 1000) == (True, True)
    assert load_resumable("run", tmp_path, ["trainer.stop_at_return=7.0"]).has_ended
    data = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
    del data["trainer"]["stop_at_return"]
    for name, change in (("higher", 30.0), ("without", None)):
        shutil.copytree(tmp_path / "run", tmp_path / name)
        data["trainer"] |= {} if change is None else {"stop_at_return": change}
        (tmp_path / name / "recipe.toml").write_text(tomli_w.dumps(data))
        data["trainer"].pop("stop_at_return", None)
        run = load_resumable(name, tmp_path, [])
        assert not run.has_ended
        more = finish(Session.resume(run, device=CPU, tell=print))
        assert more.env_steps > solved.env_steps
    assert (more.solved, more.env_steps >= 2000) == (False, True)


def test_seeds_that_were_solved_and_left_keep_a_study_from_a_higher_target(tmp_path: Path) -> None:
    summary = finish(create(recipe_of(num_seeds=4, stop_at_return=20.0, num_steps=3000), tmp_path, "study"))
    steps = {seed.seed: seed.env_steps for seed in summary.seeds}
    gone = [str(seed) for seed in steps if steps[seed] < max(steps.values())]
    assert gone
    with pytest.raises(CartpoleError) as caught:
        load_resumable("study", tmp_path, ["trainer.stop_at_return=25.0"])
    expected = f"seed {', '.join(gone)} reached 20.0 and left while others went on; allowed: at most 20.0"
    assert expected in caught.value.problems[0]


def killed_extension(tmp_path: Path) -> tuple[Path, str]:
    """best.pth of a run that was extended and killed once last.pth did not know that best.pth; and its name."""
    finish(create(recipe_of(num_steps=512, checkpoint_every=1000, evaluate_every=1), tmp_path, "run"))
    best = tmp_path / "run" / "best.pth"
    before = digest_of(best)
    overrides = ["trainer.num_steps=100000", "trainer.learning_rate=0.01"]
    session = Session.resume(load_resumable("run", tmp_path, overrides), device=CPU, tell=print)
    for _ in session.reports():
        if digest_of(best) != before:
            break
    session._close()
    after = digest_of(best)
    assert after is not None
    return best, after


def test_a_best_of_iterations_that_another_recipe_trains_anew_is_set_aside_and_told(tmp_path: Path) -> None:
    best, abandoned = killed_extension(tmp_path)
    told: list[str] = []
    summary = go_on(tmp_path, "run", "trainer.num_steps=1500", "trainer.learning_rate=1e-4", tell=told.append)
    assert told == [f"note: {best}: its iterations are trained again by another recipe; renamed to best.abandoned.pth"]
    assert digest_of(best.with_name("best.abandoned.pth")) == abandoned
    metadata = load_checkpoint(best, "policy")["metadata"]
    (line,) = [line for line in metrics(best.parent) if line["iteration"] == metadata["iteration"]]
    assert line["selection_return"] == metadata["evaluation"]["mean_return"] == summary.best_return


def test_by_the_same_recipe_a_killed_run_comes_by_its_best_again(tmp_path: Path) -> None:
    best, newer = killed_extension(tmp_path)
    told: list[str] = []
    session = Session.resume(load_resumable("run", tmp_path, ["logger.project=other"]), device=CPU, tell=told.append)
    seen = {digest_of(best)} | {digest_of(best) for _, _ in zip(range(12), session.reports(), strict=False)}
    session._close()
    assert newer in seen
    assert told == []
    assert not list(best.parent.glob("*.abandoned*"))


def test_run_json_keeps_how_a_run_began_and_adds_each_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["cartpole", "first"])
    cut_short(create(recipe_of(), tmp_path, "run"), 2)
    first = json.loads((tmp_path / "run" / "run.json").read_text())
    (tmp_path / "run" / "run.json").write_text(json.dumps(first | {"algorithm": ["of", "before"]}))
    for name in ("second", "third"):
        monkeypatch.setattr(sys, "argv", ["cartpole", name])
        cut_short(Session.resume(load_resumable("run", tmp_path, []), device=CPU, tell=print), 2)
    now = json.loads((tmp_path / "run" / "run.json").read_text())
    kept = ("kind", "recipe", "algorithm", "environment", "command", "started", "versions")
    assert {key: now[key] for key in kept} == {key: first[key] for key in kept}
    assert (now["recipe"], now["command"], first["resumed"]) == ("r", ["cartpole", "first"], [])
    assert [resume["command"] for resume in now["resumed"]] == [["cartpole", "second"], ["cartpole", "third"]]
    assert all({"started", "versions", "threads", "device", "git"} <= resume.keys() for resume in now["resumed"])


def test_a_state_that_another_process_has_moved_on_is_not_gone_on_from(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 2)
    stale = load_resumable("run", tmp_path, [])
    go_on(tmp_path, "run")
    before = snapshot(tmp_path)
    with pytest.raises(CartpoleError, match="another process has just trained it"):
        Session.resume(stale, device=CPU, tell=print)
    assert snapshot(tmp_path) == before


def test_a_score_of_a_checkpoint_that_was_replaced_is_not_shown(tmp_path: Path) -> None:
    finish(create(recipe_of(num_steps=256, evaluate_every=1), tmp_path, "run"))
    (before,) = read_runs(tmp_path)
    assert before.score is not None
    assert before.score.set_name == "final"
    digest = digest_of(tmp_path / "run" / "best.pth")
    session = Session.resume(load_resumable("run", tmp_path, ["trainer.num_steps=100000"]), device=CPU, tell=print)
    for _ in session.reports():  # killed once best.pth is another
        if digest_of(tmp_path / "run" / "best.pth") != digest:
            break
    (after,) = read_runs(tmp_path)
    assert after.score is not None
    assert (after.score.set_name, after.problem) == ("selection", None)
    session._close()


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    whole = finish(create(recipe_of(), tmp_path, "whole"))
    before = metrics(tmp_path / "whole")
    again = go_on(tmp_path, "whole")  # as `train` never does: it asks `has_ended` first
    assert (again.status, again.env_steps, again.mean_return) == ("finished", whole.env_steps, whole.mean_return)
    assert metrics(tmp_path / "whole") == before


def test_a_longer_budget_extends_a_run_with_a_new_schedule_that_is_announced(tmp_path: Path) -> None:
    finish(create(recipe_of(), tmp_path, "run"))
    run = load_resumable("run", tmp_path, ["trainer.num_steps=2000"])
    [note] = run.notes
    assert note == "linear schedules now end at 2000 steps: a new schedule"  # the old one is at its end
    assert finish(Session.resume(run, device=CPU, tell=print)).env_steps >= 2000
    assert load_resumable("run", tmp_path, []).recipe.trainer.num_steps == 2000


def test_a_budget_changed_in_the_middle_may_keep_the_old_schedule(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 3)
    [note] = load_resumable("run", tmp_path, ["trainer.num_steps=2000"]).notes
    assert "a new schedule (trainer.schedule_steps=1000 keeps the old one)" in note


def test_a_schedule_that_has_reached_its_end_is_told(tmp_path: Path) -> None:
    finish(create(recipe_of(), tmp_path, "run"))
    [note] = load_resumable("run", tmp_path, ["trainer.num_steps=9000", "trainer.schedule_steps=1000"]).notes
    assert "reached 0 at 1000 steps" in note
    assert "trainer.schedule_steps=9000 starts a new schedule" in note


def test_with_schedule_steps_an_extended_run_is_the_one_that_was_meant_to_be_long(tmp_path: Path) -> None:
    finish(create(recipe_of(num_steps=2000, schedule_steps=3000, checkpoint_every=4), tmp_path, "long"))
    finish(create(recipe_of(num_steps=1024, schedule_steps=3000, checkpoint_every=4), tmp_path, "short"))
    run = load_resumable("short", tmp_path, ["trainer.num_steps=2000"])
    assert run.notes == ()
    finish(Session.resume(run, device=CPU, tell=print))
    assert_same_run(tmp_path / "short", tmp_path / "long")


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("environment.num_envs=8", "environment.num_envs"),
        ("policy.activation=relu", "policy.activation"),
        ("trainer.seed=7", "trainer.seed"),
        ("algorithm.name=reinforce", "algorithm.name"),
    ],
)
def test_what_cannot_change_in_the_middle_of_a_run_is_told(override: str, key: str, tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 2)
    with pytest.raises(CartpoleError) as caught:
        load_resumable("run", tmp_path, [override])
    assert any(key in problem and "cannot change" in problem for problem in caught.value.problems)


def test_another_algorithm_is_told_before_what_else_would_not_fit_it(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 2)
    with pytest.raises(CartpoleError) as caught:  # GRPO would want other num_envs
        load_resumable("run", tmp_path, ["algorithm.name=grpo"])
    assert caught.value.problems == (
        "command line: algorithm.name: cannot change in the middle of a run; it was 'ppo'",
    )


def test_a_run_is_found_by_its_name_or_its_folder_and_a_typo_gets_a_guess(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "first"), 2)
    assert load_resumable("first", tmp_path, []).directory.path == tmp_path / "first"
    assert load_resumable(str(tmp_path / "first"), Path("elsewhere"), []).directory.path == tmp_path / "first"
    with pytest.raises(CartpoleError, match="did you mean 'first'"):
        load_resumable("frist", tmp_path, [])


def test_a_last_checkpoint_of_other_shapes_is_one_line(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 2)
    run = load_resumable("run", tmp_path, [])
    assert run.state is not None
    run.state["trainer"]["policy"].popitem()
    with pytest.raises(CartpoleError, match="does not fit its recipe"):
        Session.resume(run, device=CPU, tell=print)


@pytest.mark.parametrize("missing", ["runs", "trainer", "env_steps", "solved", "members"])
def test_a_last_checkpoint_without_what_a_training_needs_is_one_line(missing: str, tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 2)
    path = tmp_path / "run" / "last.pth"
    content = load_checkpoint(path, "training")
    content.pop(missing, None)
    content.get("trainer", {}).pop(missing, None)
    save_checkpoint(path, content)
    with pytest.raises(CartpoleError, match=r"last\.pth: not a training that can be resumed: "):
        load_resumable("run", tmp_path, ["trainer.num_steps=2000"])


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n', 2),
        ('{"iteration": 1}\n{"iteration": 2}\n', 2),
        ('{"iteration": 1}\n{"itera', 1),
        ("", 0),
    ],
)
def test_metrics_are_trimmed_to_the_checkpoint(text: str, kept: int, tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.jsonl", []
    path.write_text(text)
    trim_metrics(path, 2, told.append)
    assert path.read_text() == "".join(text.splitlines(keepends=True)[:kept])
    assert told == []
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("damage", ['"text"\n', "\0\0\0\n", '{"iteration": "two"}\n', '{"iter\n'])
def test_damaged_lines_are_told_and_kept_beside_the_others(damage: str, tmp_path: Path) -> None:
    path, told = tmp_path / "metrics.jsonl", []
    text = '{"iteration": 1}\n' + damage + '{"iteration": 2}\n{"iteration": 3}\n'
    for name in ("metrics.damaged.jsonl", "metrics.damaged-2.jsonl"):
        path.write_text(text)
        trim_metrics(path, 2, told.append)
        assert path.read_text() == '{"iteration": 1}\n{"iteration": 2}\n'
        assert (tmp_path / name).read_text() == text
        assert told.pop() == f"warning: {path}: line 2: damaged and left out; the original file is now {name}"


def test_seconds_add_up(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 2)
    before = load_checkpoint(tmp_path / "run" / "last.pth", "training")["seconds"]
    assert before > 0
    assert go_on(tmp_path, "run").seconds > before


def test_a_budget_that_is_spent_already_is_refused(tmp_path: Path) -> None:
    cut_short(create(recipe_of(), tmp_path, "run"), 3)
    with pytest.raises(CartpoleError, match=r"trainer\.num_steps = 256: the run has done 256 already"):
        load_resumable("run", tmp_path, ["trainer.num_steps=256"])
    assert load_resumable("run", tmp_path, ["trainer.num_steps=257"]).recipe.trainer.num_steps == 257
