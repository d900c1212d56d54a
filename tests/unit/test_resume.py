"""A run that was cut short goes on as if nothing had happened: the same metrics, the same bits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cartpole_cli.algorithm_recipes import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe import GymnasiumEnvironment, NativeEnvironment, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.runs.checkpoint import load_checkpoint
from cartpole_cli.runs.metrics import trim_metrics
from cartpole_cli.runs.resume import load_resumable
from cartpole_cli.runs.session import Session
from cartpole_cli.runs.summary import Summary

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


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    cut_short(create(recipe, tmp_path, "cut"), 3)
    (tmp_path / "cut" / "last.pth").unlink()
    go_on(tmp_path, "cut")
    assert_same_run(tmp_path / "cut", tmp_path / "whole")


def test_a_finished_run_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    whole = finish(create(recipe_of(), tmp_path, "whole"))
    before = metrics(tmp_path / "whole")
    again = go_on(tmp_path, "whole")
    assert (again.status, again.env_steps, again.mean_return) == ("finished", whole.env_steps, whole.mean_return)
    assert metrics(tmp_path / "whole") == before


def test_a_longer_budget_extends_a_run_with_a_new_schedule_that_is_announced(tmp_path: Path) -> None:
    finish(create(recipe_of(), tmp_path, "run"))
    run = load_resumable("run", tmp_path, ["trainer.num_steps=2000"])
    [note] = run.notes
    assert "a new schedule (trainer.schedule_steps=1000 keeps the old one)" in note
    assert finish(Session.resume(run, device=CPU, tell=print)).env_steps >= 2000
    assert load_resumable("run", tmp_path, []).recipe.trainer.num_steps == 2000


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
    assert any(f"{key} = " in problem and "cannot change" in problem for problem in caught.value.problems)


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


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n', 2),
        ('{"iteration": 1}\n{"iteration": 2}\n', 2),
        ('{"iteration": 1}\n{"itera', 1),
        ('{"iteration": 1}\n"text"\n{"iteration": 2}\n', 1),
        ("", 0),
    ],
)
def test_metrics_are_trimmed_to_the_checkpoint(text: str, kept: int, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(text)
    trim_metrics(path, 2)
    assert path.read_text() == "".join(text.splitlines(keepends=True)[:kept])


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
