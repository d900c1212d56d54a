"""A seed of a study is its solo run bit for bit, and a saved run goes on bit for bit (CPU, one thread)."""

import io
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from cartpole_cli.recipe import (
    GymnasiumEnvironment,
    NativeEnvironment,
    PolicyRecipe,
    PPORecipe,
    Recipe,
    ReinforceRecipe,
    TrainerRecipe,
)
from cartpole_cli.training.build import build_trainer
from cartpole_cli.training.trainer import Report, Trainer

SEEDS = (11, 12, 13)
PPO = PPORecipe(steps_per_iteration=32, num_epochs=3, minibatch_size=64)
ALGORITHMS = {
    "ppo": PPO,
    **{
        f"reinforce-{baseline}": ReinforceRecipe(baseline=baseline)
        for baseline in ("none", "batch", "leave_one_out", "value")
    },
}
EACH_ALGORITHM = pytest.mark.parametrize("algorithm", ALGORITHMS.values(), ids=ALGORITHMS.keys())
BOTH_HEADS = pytest.mark.parametrize("task", ["CartPole-v1", "ContinuousCartPole-v1"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def _recipe(
    algorithm: Any, task: Any, *, num_envs: int = 8, policy: PolicyRecipe | None = None, **trainer: Any
) -> Recipe:
    return Recipe(
        algorithm=algorithm,
        environment=NativeEnvironment(id=task, num_envs=num_envs, max_episode_steps=100),
        policy=policy or PolicyRecipe(),
        trainer=TrainerRecipe(**{"evaluate_every": 2, "evaluation_episodes": 5, "num_steps": 20_000} | trainer),
    )


def _build(recipe: Recipe, seeds: Sequence[int]) -> Trainer:
    return build_trainer(recipe, seeds, torch.device("cpu"))


def _run(trainer: Trainer, num_iterations: int) -> tuple[list[Report], list[list[Tensor]]]:
    """Reports, and after each the stacked parameters."""
    reports, parameters = [], []
    for _, report in zip(range(num_iterations), trainer.iterations(), strict=False):
        reports.append(report)
        parameters.append([parameter.detach().clone() for parameter in trainer.policy.parameters()])
    return reports, parameters


def _assert_seed_equals_solo(recipe: Recipe, num_iterations: int, seeds: Sequence[int] = SEEDS) -> list[Report]:
    reports, parameters = _run(_build(recipe, seeds), num_iterations)
    solo_reports, solo_parameters = _run(_build(recipe, seeds[1:2]), num_iterations)
    for report, solo in zip(reports, solo_reports, strict=False):
        assert repr(report.seeds[1]) == repr(solo.seeds[0])
    for stacked, alone in zip(parameters, solo_parameters, strict=False):
        for theirs, own in zip(stacked, alone, strict=True):
            assert torch.equal(theirs[1:2], own)
    moved = [not torch.equal(one, other) for one, other in zip(solo_parameters[0], solo_parameters[-1], strict=True)]
    assert any(moved), "a run that does not learn proves nothing"
    apart = [not torch.equal(stacked[0], stacked[1]) for stacked in parameters[-1]]
    assert any(apart), "the seeds are not one another's copies"
    return reports


@BOTH_HEADS
@EACH_ALGORITHM
def test_a_seed_is_its_solo_run_for_six_iterations(algorithm: Any, task: str) -> None:
    reports = _assert_seed_equals_solo(_recipe(algorithm, task), 6)
    assert len(reports) == 6
    assert [report.seeds[1].evaluation is not None for report in reports] == [False, True] * 3


@BOTH_HEADS
@EACH_ALGORITHM
def test_a_seed_is_its_solo_run_for_two_iterations_of_five_environments(algorithm: Any, task: str) -> None:
    assert len(_assert_seed_equals_solo(_recipe(algorithm, task, num_envs=5), 2)) == 2


@BOTH_HEADS
def test_a_seed_is_its_solo_run_when_target_kl_stops_updates_at_different_batches(task: str) -> None:
    algorithm = PPORecipe(steps_per_iteration=16, num_epochs=10, minibatch_size=16, target_kl=0.002)
    recipe = _recipe(algorithm, task, num_envs=5, evaluate_every=6, learning_rate=3e-3)
    trainer = _build(recipe, SEEDS)
    list(zip(range(2), trainer.iterations(), strict=False))
    steps = (trainer.optimizer.beta_powers[0].double().log() / torch.tensor(0.9, dtype=torch.float64).log()).round()
    assert len(set(steps.tolist())) > 1, "the seeds must have stopped at different batches"
    assert steps.max() < 2 * 10 * 5, "and before the last one"
    _assert_seed_equals_solo(recipe, 6)


@BOTH_HEADS
def test_a_seed_is_its_solo_run_with_every_option_of_ppo(task: str) -> None:
    algorithm = PPORecipe(
        steps_per_iteration=16,
        num_epochs=2,
        minibatch_size=48,
        clip_range_schedule="linear",
        value_clip_range=0.2,
        entropy_coefficient=0.01,
    )
    policy = PolicyRecipe(hidden_sizes=(32, 16), activation="relu", squash="tanh")
    _assert_seed_equals_solo(_recipe(algorithm, task, policy=policy), 4)


@BOTH_HEADS
def test_a_seed_is_its_solo_run_beside_one_that_finishes_early(task: str) -> None:
    seeds = (11, 16)
    recipe = _recipe(ReinforceRecipe(), task, num_steps=900, evaluate_every=100)
    reports, parameters = _run(_build(recipe, seeds), 100)
    ends = [next(r.iteration for r in reports if r.seeds[index].finished) for index in range(2)]
    assert ends[0] != ends[1], "choose other seeds: these finish together"
    for index, seed in enumerate(seeds):
        solo_reports, solo_parameters = _run(_build(recipe, [seed]), 100)
        assert len(solo_reports) == ends[index]
        for report, solo in zip(reports, solo_reports, strict=False):
            assert repr(report.seeds[index]) == repr(solo.seeds[0])
        for theirs, own in zip(parameters[-1], solo_parameters[-1], strict=True):
            assert torch.equal(theirs[index : index + 1], own)


@BOTH_HEADS
@pytest.mark.parametrize(
    ("hidden_sizes", "num_envs", "minibatch_size"),
    [((16, 48), 5, 16), ((32, 32), 8, 32), ((80, 80), 5, 17), ((48, 16), 3, 32), ((16, 16), 3, 3)],
    ids=str,
)
def test_a_seed_is_its_solo_run_at_every_width_that_is_a_multiple_of_sixteen(
    hidden_sizes: Any, num_envs: int, minibatch_size: int, task: str
) -> None:
    algorithm = PPORecipe(steps_per_iteration=16, num_epochs=2, minibatch_size=minibatch_size)
    recipe = _recipe(algorithm, task, num_envs=num_envs, policy=PolicyRecipe(hidden_sizes=hidden_sizes))
    _assert_seed_equals_solo(recipe, 3)


@BOTH_HEADS
def test_a_seed_is_its_solo_run_with_minibatches_of_one_row(task: str) -> None:
    algorithm = PPORecipe(steps_per_iteration=8, num_epochs=1, minibatch_size=1, normalize_advantage=False)
    _assert_seed_equals_solo(_recipe(algorithm, task, num_envs=1), 2)


@pytest.mark.parametrize("mode", ["sync", "vector_entry_point"])
@pytest.mark.parametrize("algorithm", [PPO, ReinforceRecipe(baseline="leave_one_out")], ids=lambda recipe: recipe.name)
def test_a_seed_is_its_solo_run_on_gymnasium(algorithm: Any, mode: Any) -> None:
    environment = GymnasiumEnvironment(backend="gymnasium", num_envs=4, vectorization_mode=mode)
    recipe = _recipe(algorithm, "CartPole-v1").model_copy(update={"environment": environment})
    _assert_seed_equals_solo(recipe, 4)


def _assert_same_state(first: Any, second: Any) -> None:
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            _assert_same_state(first[key], second[key])
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


def _through_bytes(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    loaded: dict[str, Any] = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    return loaded


@BOTH_HEADS
@EACH_ALGORITHM
def test_a_saved_trainer_goes_on_bit_for_bit(algorithm: Any, task: str) -> None:
    recipe = _recipe(algorithm, task, num_envs=5)
    trainer = _build(recipe, SEEDS[:2])
    _run(trainer, 2)
    saved = _through_bytes(trainer.state_dict())
    expected_reports, expected = _run(trainer, 2)
    resumed = _build(recipe, SEEDS[:2])
    resumed.load_state_dict(saved)
    _assert_same_state(resumed.state_dict(), saved)
    reports, parameters = _run(resumed, 2)
    assert repr(reports) == repr(expected_reports)
    assert [report.iteration for report in reports] == [3, 4]
    for step, other in zip(parameters, expected, strict=True):
        assert all(torch.equal(one, two) for one, two in zip(step, other, strict=True))
    _assert_same_state(resumed.state_dict(), trainer.state_dict())
    assert not all(torch.equal(one, two) for one, two in zip(expected[0], expected[1], strict=True))


def test_a_state_saved_when_one_seed_has_finished_keeps_it_finished() -> None:
    recipe = _recipe(ReinforceRecipe(), "CartPole-v1", num_steps=900, evaluate_every=100)
    trainer = _build(recipe, (11, 16))
    reports = trainer.iterations()
    while not any(seed.finished for seed in next(reports).seeds):
        pass
    saved = _through_bytes(trainer.state_dict())
    assert saved["finished"].tolist() in ([True, False], [False, True])
    resumed = _build(recipe, (11, 16))
    resumed.load_state_dict(saved)
    assert repr(list(resumed.iterations())) == repr(list(reports))
    _assert_same_state(resumed.state_dict(), trainer.state_dict())


@BOTH_HEADS
@EACH_ALGORITHM
def test_the_same_recipe_run_twice_gives_the_same_bits(algorithm: Any, task: str) -> None:
    recipe = _recipe(algorithm, task)
    first, second = (_run(_build(recipe, SEEDS[:1]), 2) for _ in range(2))
    assert repr(first[0]) == repr(second[0])
    for one, other in zip(first[1][-1], second[1][-1], strict=True):
        assert torch.equal(one, other)


def test_another_seed_gives_another_run() -> None:
    recipe = _recipe(PPO, "CartPole-v1")
    first, second = (_run(_build(recipe, [seed]), 1) for seed in (1, 2))
    assert repr(first[0]) != repr(second[0])
    assert not torch.equal(first[1][0][0], second[1][0][0])
