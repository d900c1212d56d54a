"""A study on disk: its seeds are their solo runs to the byte, one leaves or fails alone, and the whole is resumable."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from cartpole_cli.errors import CartpoleError
from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.recipe.recipe import GymnasiumEnvironment, NativeEnvironment, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.runs.checkpoint import load_checkpoint, load_policy
from cartpole_cli.runs.resume import load_resumable
from cartpole_cli.runs.session import Session
from cartpole_cli.runs.summary import StudySummary, Summary
from cartpole_cli.training.evaluation import Evaluator

CPU = torch.device("cpu")
SEEDS = tuple(range(20, 28))
ALGORITHMS: dict[str, tuple[Any, int, float]] = {
    "reinforce": (ReinforceRecipe(baseline="value"), 8, 1e-2),
    "ppo": (PPORecipe(steps_per_iteration=32, num_epochs=3, minibatch_size=64), 8, 1e-2),
    "grpo": (GRPORecipe(name="grpo", group_size=2, num_epochs=2, kl_weight=0.1, reference_every=3), 16, 2e-2),
    "dpo": (DPORecipe(name="dpo", group_size=2, num_epochs=2, sft_weight=0.1, reference_every=2), 16, 2e-2),
}
"""Name -> algorithm, environments, learning rate: with these, seeds reach a return of 25 in different iterations."""
NATIVE = {"native": {}, "native-continuous": {"id": "ContinuousCartPole-v1"}}
GYMNASIUM = {
    "gymnasium-sync": {"backend": "gymnasium", "vectorization_mode": "sync"},
    "gymnasium-vector": {"backend": "gymnasium", "vectorization_mode": "vector_entry_point"},
}
ENVIRONMENTS: dict[str, dict[str, Any]] = NATIVE | GYMNASIUM
CASES = [(algorithm, environment) for algorithm in ALGORITHMS for environment in NATIVE]
GYMNASIUM_CASES = [(algorithm, environment) for algorithm in ("reinforce", "ppo") for environment in GYMNASIUM]
SEED_FILES = {"recipe.toml", "run.json", "metrics.jsonl", "best.pth", "best.json", "history.pth", "evaluation.json"}


def recipe_of(
    algorithm: str = "ppo", environment: str = "native", seeds: Sequence[int] = SEEDS, **trainer: Any
) -> Recipe:
    learner, num_envs, learning_rate = ALGORITHMS[algorithm]
    task = ENVIRONMENTS[environment]
    kind = GymnasiumEnvironment if "backend" in task else NativeEnvironment
    settings = {"num_steps": 6000, "evaluate_every": 1, "evaluation_episodes": 5, "stop_at_return": 25.0}
    settings |= {"learning_rate": learning_rate, "seed": seeds[0], "num_seeds": len(seeds)}
    return Recipe(
        algorithm=learner,
        environment=kind(**task, num_envs=num_envs, max_episode_steps=40),
        policy=PolicyRecipe(hidden_sizes=(16,)),
        trainer=TrainerRecipe(**settings | trainer),
    )


def create(recipe: Recipe, runs_dir: Path, name: str | None) -> Session:
    return Session.create(recipe, device=CPU, recipe_name="r", runs_dir=runs_dir, name=name, tell=print)


def finish(session: Session) -> Summary | StudySummary:
    with session:
        for _ in session.reports():
            pass
        return session.finish()


def study(recipe: Recipe, runs_dir: Path, name: str = "study") -> StudySummary:
    summary = finish(create(recipe, runs_dir, name))
    assert isinstance(summary, StudySummary)
    return summary


def resumed(runs_dir: Path, name: str, *overrides: str) -> Session:
    return Session.resume(load_resumable(name, runs_dir, overrides), device=CPU, tell=print)


def go_on(runs_dir: Path, name: str, *overrides: str) -> StudySummary:
    summary = finish(resumed(runs_dir, name, *overrides))
    assert isinstance(summary, StudySummary)
    return summary


def cut_short(session: Session, iterations: int) -> None:
    """Leave a study as a process that is killed after so many iterations leaves it."""
    for _, _ in zip(range(iterations), session.reports(), strict=False):
        pass
    session.trainer.environment.close()
    session._lock.release()  # as the end of a killed process does


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def lengths(folder: Path, seeds: Sequence[int] = SEEDS) -> dict[int, int]:
    """How many iterations each seed took part in."""
    return {seed: len(metrics(folder / f"s{seed}")) for seed in seeds}


def manifest(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return content


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def assert_same_seed(one: Path, other: Path) -> None:
    """All that is written of a seed but when, where and how long."""
    names = files(one) - {"last.pth"}
    assert names == files(other) - {"last.pth"}
    assert metrics(one) == metrics(other)
    for name in names - {"metrics.jsonl", "run.json"}:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    for key in ("status", "env_steps", "seed"):
        assert manifest(one)[key] == manifest(other)[key]


def same(first: Any, second: Any) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    return bool(first == second)


def untimed(content: dict[str, Any]) -> dict[str, Any]:
    timing = {"run_dir", "best_checkpoint", "seconds", "evaluation_seconds"}
    return {key: value for key, value in content.items() if key not in timing}


def assert_same_study(one: Path, other: Path, seeds: Sequence[int]) -> None:
    assert files(one) == files(other)
    for seed in seeds:
        assert_same_seed(one / f"s{seed}", other / f"s{seed}")
    states = [load_checkpoint(folder / "last.pth", "training")["trainer"] for folder in (one, other)]
    assert same(*states)
    assert (one / "recipe.toml").read_bytes() == (other / "recipe.toml").read_bytes()
    told = [json.loads((folder / "study.json").read_text()) for folder in (one, other)]
    assert untimed(told[0]) | {"seeds": 0} == untimed(told[1]) | {"seeds": 0}
    assert [untimed(seed) for seed in told[0]["seeds"]] == [untimed(seed) for seed in told[1]["seeds"]]


# A seed is its solo run


@pytest.mark.parametrize(("algorithm", "environment"), CASES + GYMNASIUM_CASES)
def test_three_seeds_of_eight_are_their_solo_runs_to_the_end(algorithm: str, environment: str, tmp_path: Path) -> None:
    recipe = recipe_of(algorithm, environment, num_steps=4500, save_every=2)
    summary = study(recipe, tmp_path)
    ends = lengths(tmp_path / "study")
    assert len(set(ends.values())) >= 3, f"choose another target: too few seeds leave before others: {ends}"
    in_order = sorted(SEEDS, key=lambda seed: ends[seed])
    for seed in (in_order[0], in_order[4], in_order[-1]):
        solo = finish(create(recipe.for_seed(seed), tmp_path, f"solo{seed}"))
        assert isinstance(solo, Summary)
        assert_same_seed(tmp_path / "study" / f"s{seed}", tmp_path / f"solo{seed}")
        [of_study] = [one for one in summary.seeds if one.seed == seed]
        assert untimed(of_study.as_plain_data()) == untimed(solo.as_plain_data())
    together, alone = (
        load_checkpoint(folder / "last.pth", "training")["trainer"]
        for folder in (tmp_path / "study", tmp_path / f"solo{in_order[-1]}")
    )
    place = together["members"].index(SEEDS.index(in_order[-1]))
    for key, parameter in alone["policy"].items():
        assert torch.equal(together["policy"][key][place : place + 1], parameter)


def test_what_a_seed_leaves_behind_are_its_parameters_at_leaving(tmp_path: Path) -> None:
    session = create(recipe_of(), tmp_path, "study")
    at_leaving = {}
    with session:
        for report in session.reports():
            for place, seed in enumerate(report.seeds):
                if seed.finished:
                    assert seed.improved
                    at_leaving[seed.seed] = session.trainer.policy.seed_state(place)
        session.finish()
    assert at_leaving.keys() == set(SEEDS)
    for seed, parameters in at_leaving.items():
        assert same(load_checkpoint(session.directory.of_seed(seed).best, "policy")["policy"], parameters)


# The folder and the summary


def test_a_studys_folder_is_that_of_the_design(tmp_path: Path) -> None:
    recipe = recipe_of(seeds=(20, 21, 22))
    summary = study(recipe, tmp_path)
    folder = tmp_path / "study"
    expected = {f"s{seed}/{name}" for seed in (20, 21, 22) for name in SEED_FILES}
    assert files(folder) == expected | {"recipe.toml", "run.json", "study.json", "last.pth"}
    assert load_recipe(folder / "recipe.toml") == recipe
    written = manifest(folder)
    assert (written["status"], written["seeds"], written["device"]) == ("finished", [20, 21, 22], "cpu")
    assert written["env_steps"] == sum(seed.env_steps for seed in summary.seeds)
    for seed in summary.seeds:
        run = folder / f"s{seed.seed}"
        assert load_recipe(run / "recipe.toml") == recipe.for_seed(seed.seed)
        assert load_recipe(run / "recipe.toml").trainer.num_seeds == 1
        assert manifest(run)["seed"] == seed.seed
        assert all(manifest(run)[key] == written[key] for key in ("recipe", "algorithm", "environment"))
        assert manifest(run)["env_steps"] == seed.env_steps == metrics(run)[-1]["env_steps"]
        assert (seed.run_dir, seed.best_checkpoint) == (str(run), str(run / "best.pth"))
        assert load_policy(run / "best.pth", CPU).num_seeds == 1
    told = json.loads((folder / "study.json").read_text())
    assert told == json.loads(json.dumps(summary.as_plain_data()))
    assert len({json.dumps(metrics(folder / f"s{seed}")) for seed in (20, 21, 22)}) == 3


def test_a_study_without_a_name_is_named_by_its_number_of_seeds(tmp_path: Path) -> None:
    with create(recipe_of(seeds=(20, 21, 22)), tmp_path, None) as session:
        assert session.directory.path.name.endswith("-r-x3")


def test_the_summary_is_over_all_seeds(tmp_path: Path) -> None:
    summary = study(recipe_of(seeds=SEEDS[:4], stop_at_return=32.0, num_steps=3000), tmp_path)
    assert [seed.seed for seed in summary.seeds] == [20, 21, 22, 23]
    returns = {seed.seed: seed.mean_return.value for seed in summary.seeds}
    middle = sorted(returns.values())[1:3]
    assert summary.mean_return is not None
    assert summary.mean_return.value == pytest.approx(sum(middle) / 2)
    steps = sorted(seed.env_steps for seed in summary.seeds)
    assert summary.env_steps.value == pytest.approx(sum(steps[1:3]) / 2)
    assert len(set(steps)) > 1
    assert summary.num_solved == sum(seed.solved for seed in summary.seeds)
    assert 0 < summary.num_solved < 4, "choose another target"
    assert returns[summary.worst_seed] == min(returns.values())
    assert summary.status == "finished"
    for key in ("seconds", "evaluation_seconds"):
        shares = [getattr(seed, key) for seed in summary.seeds]
        assert sum(shares) == pytest.approx(getattr(summary, key), rel=0.05)
        assert len(set(shares)) > 1, "who leaves early costs less"


# How it ends


def break_seed(session: Session, place: int) -> None:
    next(session.trainer.policy.torso.parameters()).data[place] = torch.nan


def test_a_seed_that_is_no_longer_finite_fails_alone(tmp_path: Path) -> None:
    recipe = recipe_of(seeds=(24, 25, 26), stop_at_return=30.0)
    session = create(recipe, tmp_path, "study")
    with session:
        for report in session.reports():
            if report.iteration == 2:
                assert len(report.seeds) == 2, "seed 25 is solved at once"
                break_seed(session, 1)
        summary = session.finish()
    assert isinstance(summary, StudySummary)
    assert [seed.status for seed in summary.seeds] == ["finished", "finished", "failed"]
    assert summary.status == "finished"
    failed = summary.seeds[2]
    assert failed.failure is not None
    assert failed.failure.endswith("in iteration 3")
    assert not failed.solved
    assert len(metrics(tmp_path / "study" / "s26")) == 3
    assert manifest(tmp_path / "study" / "s26")["status"] == "failed"
    assert manifest(tmp_path / "study")["status"] == "finished"
    for seed in (24, 25):
        finish(create(recipe.for_seed(seed), tmp_path, f"solo{seed}"))
        assert_same_seed(tmp_path / "study" / f"s{seed}", tmp_path / f"solo{seed}")
    assert len(metrics(tmp_path / "study" / "s24")) > 3, "the others must go on"
    best = load_checkpoint(tmp_path / "study" / "s26" / "best.pth", "policy")
    assert all(value.isfinite().all() for value in best["policy"].values())


def test_a_study_of_which_all_seeds_fail_has_failed(tmp_path: Path) -> None:
    session = create(recipe_of(seeds=(20, 21)), tmp_path, "study")
    break_seed(session, 0)
    break_seed(session, 1)
    summary = finish(session)
    assert isinstance(summary, StudySummary)
    assert summary.status == manifest(tmp_path / "study")["status"] == "failed"
    assert [seed.status for seed in summary.seeds] == ["failed", "failed"]
    assert (summary.mean_return, summary.worst_seed, summary.num_solved) == (None, None, 0)
    assert not (tmp_path / "study" / "s20" / "evaluation.json").exists()


def test_a_study_asked_to_stop_keeps_what_is_finished_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    recipe = recipe_of(seeds=(20, 21, 22))  # solved in iterations 1, 8 and 1
    study(recipe, tmp_path, "whole")
    session = create(recipe, tmp_path, "cut")
    with session:
        for report in session.reports():
            if report.iteration == 3:
                session.request_stop()
        summary = session.finish()
    assert isinstance(summary, StudySummary)
    assert [seed.status for seed in summary.seeds] == ["finished", "interrupted", "finished"]
    assert summary.status == manifest(tmp_path / "cut")["status"] == "interrupted"
    assert summary.seeds[1].mean_return is None
    assert not (tmp_path / "cut" / "s21" / "evaluation.json").exists()
    for seed in (20, 22):
        assert_same_seed(tmp_path / "cut" / f"s{seed}", tmp_path / "whole" / f"s{seed}")
    go_on(tmp_path, "cut")
    assert_same_study(tmp_path / "cut", tmp_path / "whole", (20, 21, 22))


@pytest.mark.parametrize("seeds", [(21,), (20, 21, 22)], ids=["run", "study"])
@pytest.mark.parametrize(("kind", "status"), [(ZeroDivisionError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_no_run_is_left_running_by_an_exception_in_the_final_evaluation(
    kind: type[BaseException], status: str, seeds: Sequence[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise kind

    monkeypatch.setattr(Evaluator, "final", broken)
    with pytest.raises(kind):
        finish(create(recipe_of(seeds=seeds), tmp_path, "run"))
    statuses = {str(path.parent): json.loads(path.read_text())["status"] for path in tmp_path.rglob("run.json")}
    assert set(statuses.values()) == {status}, statuses


def test_no_seed_is_left_running_by_an_exception(tmp_path: Path) -> None:
    session = create(recipe_of(seeds=(20, 21, 22)), tmp_path, "study")

    def crash() -> None:
        for report in session.reports():
            if report.iteration == 3:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), session:
        crash()
    folder = tmp_path / "study"
    assert manifest(folder)["status"] == manifest(folder / "s21")["status"] == "failed"
    assert manifest(folder / "s20")["status"] != "running", "it has long finished"


# Going on


@pytest.mark.parametrize(("algorithm", "environment"), [*CASES[::2], *GYMNASIUM_CASES])
def test_a_resumed_study_is_the_uninterrupted_one(algorithm: str, environment: str, tmp_path: Path) -> None:
    seeds = {"reinforce": (20, 21, 22, 23, 24), "ppo": (23, 24, 25)}.get(algorithm, SEEDS[:3])
    recipe = recipe_of(algorithm, environment, seeds, num_steps=3000, checkpoint_every=2)
    with create(recipe, tmp_path, "whole") as session:
        shutil.copytree(tmp_path / "whole", tmp_path / "cut0")
        for iteration, _ in enumerate(session.reports(), start=1):
            shutil.copytree(tmp_path / "whole", tmp_path / f"cut{iteration}")  # as a process killed now leaves it
        session.finish()
    ends = sorted(lengths(tmp_path / "whole", seeds).values())
    assert ends[0] + 1 < ends[-1], f"choose other seeds: these finish too close to one another: {ends}"
    # Before the first seed leaves, as it finishes, when it has left, and near the end.
    for cut in {ends[0] - 1, ends[0], ends[0] + 1, ends[-1] - 1}:
        go_on(tmp_path, f"cut{cut}")
        assert_same_study(tmp_path / f"cut{cut}", tmp_path / "whole", seeds)


def test_a_study_may_be_cut_and_resumed_after_every_iteration(tmp_path: Path) -> None:
    recipe = recipe_of("grpo", seeds=SEEDS[:4], checkpoint_every=1)
    study(recipe, tmp_path, "whole")
    cut_short(create(recipe, tmp_path, "cut"), 1)
    for _ in range(max(lengths(tmp_path / "whole", SEEDS[:4]).values()) - 2):
        cut_short(resumed(tmp_path, "cut"), 1)
    go_on(tmp_path, "cut")
    assert_same_study(tmp_path / "cut", tmp_path / "whole", SEEDS[:4])


def test_a_study_that_never_wrote_last_begins_again(tmp_path: Path) -> None:
    recipe = recipe_of(seeds=(20, 21, 22))
    study(recipe, tmp_path, "whole")
    (tmp_path / "cut").mkdir()
    (tmp_path / "cut" / "recipe.toml").write_text(recipe.to_toml())
    go_on(tmp_path, "cut")
    assert_same_study(tmp_path / "cut", tmp_path / "whole", (20, 21, 22))


def test_a_finished_study_that_is_resumed_stays_as_it_is(tmp_path: Path) -> None:
    recipe = recipe_of(seeds=(20, 21, 22))
    whole = study(recipe, tmp_path, "whole")
    study(recipe, tmp_path, "again")
    session = resumed(tmp_path, "again")
    with session:
        assert list(session.reports()) == []
        again = session.finish()
    assert untimed(again.as_plain_data())["env_steps"] == untimed(whole.as_plain_data())["env_steps"]
    assert_same_study(tmp_path / "again", tmp_path / "whole", (20, 21, 22))


def test_a_failed_seed_stays_failed_when_its_study_goes_on(tmp_path: Path) -> None:
    session = create(recipe_of(seeds=(21, 23, 24), checkpoint_every=1), tmp_path, "study")
    break_seed(session, 0)
    cut_short(session, 3)
    summary = go_on(tmp_path, "study")
    assert [seed.status for seed in summary.seeds] == ["failed", "finished", "finished"]
    assert str(summary.seeds[0].failure).endswith("in iteration 1")
    assert len(metrics(tmp_path / "study" / "s21")) == 1


@pytest.mark.parametrize("override", ["trainer.num_seeds=4", "trainer.num_seeds=1", "trainer.seed=21"])
def test_its_seeds_cannot_change_in_the_middle_of_a_study(override: str, tmp_path: Path) -> None:
    cut_short(create(recipe_of(seeds=(20, 21, 22)), tmp_path, "study"), 2)
    key, _, value = override.partition("=")
    with pytest.raises(CartpoleError, match=f"{key} = {value}: cannot change") as caught:
        load_resumable("study", tmp_path, [override])
    assert len(caught.value.problems) == 1


def test_a_run_does_not_become_a_study(tmp_path: Path) -> None:
    cut_short(create(recipe_of(seeds=(21,)), tmp_path, "run"), 2)
    with pytest.raises(CartpoleError, match=r"trainer\.num_seeds = 3: cannot change"):
        load_resumable("run", tmp_path, ["trainer.num_seeds=3"])


def test_another_budget_is_refused_when_a_seed_has_left_because_the_old_one_was_spent(tmp_path: Path) -> None:
    recipe = recipe_of("reinforce", seeds=(11, 12, 13, 14), num_steps=1500, stop_at_return=None)
    study(recipe, tmp_path)
    ends = lengths(tmp_path / "study", (11, 12, 13, 14))
    left = [seed for seed, end in ends.items() if end < max(ends.values())]
    assert left, "choose other seeds: these finish together"
    for num_steps in (2000, 1400):
        with pytest.raises(CartpoleError, match=rf"seed {', '.join(map(str, left))} spent the old budget"):
            load_resumable("study", tmp_path, [f"trainer.num_steps={num_steps}"])
    assert load_resumable("study", tmp_path, ["trainer.evaluate_every=3"]).notes == ()


def test_a_longer_budget_goes_to_the_seeds_that_are_not_solved(tmp_path: Path) -> None:
    """PPO spends the budget in the same iteration for all, and those that have left before are solved."""
    settings = {"stop_at_return": 32.0, "schedule_steps": 4096, "seeds": (20, 21, 22, 23)}
    longer, short = recipe_of(num_steps=4096, **settings), recipe_of(num_steps=1024, **settings)
    study(longer, tmp_path, "long")
    before = study(short, tmp_path, "short")
    assert [seed.solved for seed in before.seeds] == [False, False, True, False]
    after = go_on(tmp_path, "short", "trainer.num_steps=4096")
    assert [seed.env_steps for seed in after.seeds][2] == before.seeds[2].env_steps
    for seed in (20, 21, 23):
        assert_same_seed(tmp_path / "short" / f"s{seed}", tmp_path / "long" / f"s{seed}")


def test_a_budget_that_a_seed_under_way_has_spent_already_is_refused(tmp_path: Path) -> None:
    """A solo run refuses it, too: the iteration that spends the budget ends with an evaluation."""
    recipe = recipe_of("reinforce", seeds=(11, 12), num_steps=3000, stop_at_return=None, checkpoint_every=1)
    cut_short(create(recipe, tmp_path, "study"), 4)
    less, more = sorted(load_checkpoint(tmp_path / "study" / "last.pth", "training")["trainer"]["env_steps"].tolist())
    assert less < more
    for num_steps in (less, more):
        with pytest.raises(CartpoleError, match="done"):
            load_resumable("study", tmp_path, [f"trainer.num_steps={num_steps}"])
    load_resumable("study", tmp_path, [f"trainer.num_steps={more + 1}"])
