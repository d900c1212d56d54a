"""Scores, the named sets they come from, and what the trainer does with them."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from members import trainer_of
from torch import Tensor

from cartpole_cli.actions import PUSHES, Discrete
from cartpole_cli.environments.build import build_judge
from cartpole_cli.environments.interface import Transition, VectorEnvironment
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.policy.build import build_policy
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import (
    GymnasiumEnvironment,
    NativeEnvironment,
    PolicyRecipe,
    PPORecipe,
    Recipe,
    ReinforceRecipe,
    TrainerRecipe,
)
from cartpole_cli.training import build as training_build
from cartpole_cli.training.build import build_evaluator
from cartpole_cli.training.evaluation import Evaluation, Evaluator, play
from cartpole_cli.training.reports import Report
from cartpole_cli.training.trainer import Trainer

pytestmark = pytest.mark.shapes

CPU = torch.device("cpu")
SMALL = PolicyRecipe(hidden_sizes=(8,))
BOTH = Streams([0, 1])


# Evaluation


def test_statistics_are_those_of_the_returns() -> None:
    data = Evaluation("final", (4.0, 1.0, 3.0, 2.0, 10.0)).as_plain_data()
    ci95 = data.pop("ci95")
    assert data == {
        "set": "final",
        "episodes": 5,
        "mean_return": 4.0,
        "std_return": pytest.approx(10.0**0.5),  # deviations 0, -3, -1, -2, 6: squares 50 / 5
        "min_return": 1.0,
        "median_return": 3.0,
        "max_return": 10.0,
        "returns": [4.0, 1.0, 3.0, 2.0, 10.0],
    }
    assert 1.0 < ci95[0] < 4.0 < ci95[1] < 10.0


def test_the_interval_is_always_the_same_and_that_of_a_normal_mean_for_many_returns() -> None:
    returns = tuple((np.random.default_rng(7).normal(size=400) * 20 + 300).tolist())
    low, high = Evaluation("final", returns).estimate.interval
    assert (low, high) == Evaluation("selection", returns).estimate.interval
    margin = 1.96 * float(np.std(returns)) / 20
    assert low == pytest.approx(np.mean(returns) - margin, abs=0.1 * margin)
    assert high == pytest.approx(np.mean(returns) + margin, abs=0.1 * margin)


def test_the_interval_of_equal_returns_is_their_value() -> None:
    assert Evaluation("final", (500.0,) * 100).estimate.interval == (500.0, 500.0)
    assert Evaluation("final", (37.0,)).estimate.interval == (37.0, 37.0)


# Evaluator


class SpyJudge:
    """Builds the real judge and remembers its start states and sizes."""

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        self.starts: list[Tensor] = []
        self.sizes: list[tuple[int, int]] = []

    def __call__(self, streams: Streams, num_episodes: int, horizon: int) -> VectorEnvironment:
        judge = build_judge(self.environment, streams, num_episodes, horizon)
        self.starts.append(judge.observation)
        self.sizes.append((num_episodes, judge.max_episode_steps))
        return judge


def _policy(seeds: Sequence[int], *, actions: Discrete = PUSHES) -> PolicyNetwork:
    return build_policy([SMALL] * len(seeds), Streams(seeds), observation_size=4, actions=actions, value_network=False)


def _rows(starts: Tensor) -> set[tuple[float, ...]]:
    return {tuple(row) for row in starts.reshape(-1, 4).tolist()}


@pytest.fixture
def spied() -> tuple[SpyJudge, Evaluator]:
    spy = SpyJudge(NativeEnvironment(max_episode_steps=30))
    return spy, Evaluator(spy, selection_episodes=20, confirmation_horizon=2)


def test_sets_share_no_start_with_each_other_or_with_training(spied: tuple[SpyJudge, Evaluator]) -> None:
    spy, evaluator = spied
    policy = _policy([0, 1])
    evaluator.selection(policy, BOTH)
    evaluator.confirmation(policy, BOTH, 1)
    evaluator.confirmation(policy, BOTH, 2)
    evaluator.final(policy, BOTH)
    sets = [_rows(starts) for starts in spy.starts]
    assert [len(rows) for rows in sets] == [2 * 20, 2 * 100, 2 * 100, 2 * 100]
    simulator = CartPoleSimulator(Streams([0, 1]), 100)
    training = _rows(simulator.observation)
    for _ in range(60):
        transition = simulator.step(torch.ones(2, 100, dtype=torch.int64))
        training |= _rows(simulator.observation[transition.terminated])
    assert len(training) > 2 * 100 * 5
    sets.append(training)
    assert len(set().union(*sets)) == sum(len(rows) for rows in sets)


def test_the_built_evaluators_episodes_are_not_those_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = SpyJudge(NativeEnvironment(num_envs=4))
    monkeypatch.setattr(training_build, "build_judge", lambda environment, *arguments: spy(*arguments))
    streams = Streams([3])
    recipe = Recipe(environment=spy.environment, policy=SMALL, trainer=TrainerRecipe(evaluation_episodes=4))
    build_evaluator(recipe).selection(_policy([3]), streams)
    training = CartPoleSimulator(streams, 4).observation
    [starts] = spy.starts
    assert starts.shape == training.shape
    assert _rows(starts).isdisjoint(_rows(training))


def test_the_selection_set_is_the_same_each_time(spied: tuple[SpyJudge, Evaluator]) -> None:
    spy, evaluator = spied
    policy = _policy([0, 1])
    assert evaluator.selection(policy, BOTH) == evaluator.selection(policy, BOTH)
    assert torch.equal(spy.starts[0], spy.starts[1])


def test_the_confirmation_set_is_fresh_at_each_iteration(spied: tuple[SpyJudge, Evaluator]) -> None:
    spy, evaluator = spied
    policy = _policy([0, 1])
    for iteration in (10, 20, 10):
        evaluator.confirmation(policy, BOTH, iteration)
    assert _rows(spy.starts[0]).isdisjoint(_rows(spy.starts[1]))
    assert torch.equal(spy.starts[0], spy.starts[2])


def test_names_sizes_and_horizons_of_the_sets(spied: tuple[SpyJudge, Evaluator]) -> None:
    spy, evaluator = spied
    policy = _policy([0, 1])
    names = [
        [evaluation.set_name for evaluation in evaluations]
        for evaluations in (
            evaluator.selection(policy, BOTH),
            evaluator.confirmation(policy, BOTH, 1),
            evaluator.final(policy, BOTH),
        )
    ]
    assert names == [["selection"] * 2, ["confirmation"] * 2, ["final"] * 2]
    assert spy.sizes == [(20, 30), (100, 60), (100, 30)]


def test_a_seeds_evaluation_does_not_depend_on_the_other_seeds() -> None:
    recipe = Recipe(policy=SMALL, trainer=TrainerRecipe(evaluation_episodes=5))
    evaluator = build_evaluator(recipe)
    study = evaluator.selection(_policy([4, 5, 6]), Streams([4, 5, 6]))
    assert evaluator.selection(_policy([5]), Streams([5])) == [study[1]]


class Scripted:
    """S x N environments: environment n's first episode lasts n + 1 steps of reward s + 1, the next ones pay 1000."""

    num_seeds, num_envs, observation_size, max_episode_steps = 2, 3, 4, 10
    actions = PUSHES

    def __init__(self, *, truncates: bool) -> None:
        self.truncates, self.closed, self.num_steps = truncates, False, 0
        self.observation = torch.zeros(2, 3, 4)

    def reset(self) -> None:
        self.num_steps = 0

    def step(self, action: Tensor) -> Transition:
        self.num_steps += 1
        length = torch.tensor([1, 2, 3]).expand(2, 3)
        ended = length == self.num_steps
        first = self.num_steps <= length
        return Transition(
            observation=self.observation,
            reward=torch.where(first, torch.tensor([[1.0], [2.0]]), 1000.0),
            next_observation=self.observation,
            terminated=ended & ~torch.tensor(self.truncates),
            truncated=ended & torch.tensor(self.truncates),
            valid=torch.ones(2, 3, dtype=torch.bool),
        )

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("truncates", [False, True])
def test_play_counts_first_episodes_only(truncates: bool) -> None:
    assert play(_policy([0, 1]).greedy_action, Scripted(truncates=truncates)).tolist() == [
        [1.0, 2.0, 3.0],
        [2.0, 4.0, 6.0],
    ]


def test_the_evaluator_divides_by_the_horizon_and_closes_its_judge() -> None:
    judges = []

    def judge(streams: Streams, num_episodes: int, horizon: int) -> VectorEnvironment:
        judges.append(Scripted(truncates=True))
        return judges[-1]

    evaluator = Evaluator(judge, selection_episodes=3, confirmation_horizon=2)
    confirmation = evaluator.confirmation(_policy([0, 1]), BOTH, 1)
    assert [evaluation.returns for evaluation in confirmation] == [(0.5, 1.0, 1.5), (1.0, 2.0, 3.0)]
    selection = evaluator.selection(_policy([0, 1]), BOTH)
    assert [evaluation.returns for evaluation in selection] == [(1, 2, 3), (2, 4, 6)]
    assert [one.closed for one in judges] == [True, True]


# The trainer and its evaluator


def _recipe(algorithm: Any = None, environment: Any = None, **trainer: Any) -> Recipe:
    return Recipe(
        algorithm=algorithm or PPORecipe(steps_per_iteration=8, num_epochs=1, minibatch_size=16),
        environment=environment or NativeEnvironment(num_envs=4, max_episode_steps=40),
        policy=SMALL,
        trainer=TrainerRecipe(**{"evaluate_every": 1, "evaluation_episodes": 3} | trainer),
    )


def _train(recipe: Recipe, num_iterations: int, seeds: Sequence[int] = (0,)) -> tuple[Trainer, list[Report]]:
    trainer = trainer_of(recipe, seeds)
    reports = [report for _, report in zip(range(num_iterations), trainer.iterations(), strict=False)]
    trainer.environment.close()
    return trainer, reports


ENVIRONMENTS = {
    "native": NativeEnvironment(num_envs=4, max_episode_steps=40),
    "gymnasium": GymnasiumEnvironment(backend="gymnasium", num_envs=2, max_episode_steps=40),
    "gymnasium-judged-by-itself": GymnasiumEnvironment(
        backend="gymnasium", id="Acrobot-v1", num_envs=2, max_episode_steps=40
    ),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
@pytest.mark.parametrize("algorithm", [None, ReinforceRecipe()], ids=["ppo", "reinforce"])
def test_evaluating_does_not_change_training(algorithm: Any, environment: Any) -> None:
    often, reports = _train(_recipe(algorithm, environment, evaluate_every=1), 3)
    rarely, others = _train(_recipe(algorithm, environment, evaluate_every=1000), 3)
    for first, second in zip(often.policy.parameters(), rarely.policy.parameters(), strict=True):
        assert torch.equal(first, second)
    for report, other in zip(reports, others, strict=True):
        assert report.seeds[0].evaluation is not None
        assert other.seeds[0].evaluation is None
        assert report.seeds[0].episode_return == other.seeds[0].episode_return


def test_confirming_does_not_change_training() -> None:
    def train(*, confirming: bool) -> list[Tensor]:
        trainer = trainer_of(_recipe(evaluate_every=1000), [0])
        for report, _ in zip(trainer.iterations(), range(3), strict=False):
            if confirming:
                trainer.selection.evaluator.confirmation(trainer.policy, trainer.streams, report.iteration)
                trainer.selection.evaluator.final(trainer.policy, trainer.streams)
        return list(trainer.policy.parameters())

    for first, second in zip(train(confirming=True), train(confirming=False), strict=True):
        assert torch.equal(first, second)


class Fake:
    """Scores by iteration and seed of those trained; `confirmations` likewise, by the iteration that asks."""

    seeds: Sequence[int] = ()

    def __init__(self, *scores: Sequence[float], confirmations: dict[int, Sequence[float]] | None = None) -> None:
        self.scores, self.confirmations = list(scores), confirmations or {}
        self.asked: list[int] = []
        self.confirmed: list[tuple[int, ...]] = []
        self.num_selections = 0

    def selection(self, policy: PolicyNetwork, streams: Streams) -> list[Evaluation]:
        self.num_selections += 1
        return self._of("selection", policy, streams, self.scores[self.num_selections - 1])

    def confirmation(self, policy: PolicyNetwork, streams: Streams, iteration: int) -> list[Evaluation]:
        self.asked.append(iteration)
        self.confirmed.append(streams.seeds)
        return self._of("confirmation", policy, streams, self.confirmations[iteration])

    def _of(self, set_name: str, policy: PolicyNetwork, streams: Streams, scores: Sequence[float]) -> list[Evaluation]:
        assert policy.num_seeds == len(streams.seeds)
        score_of = dict(zip(self.seeds, scores, strict=True))
        return [Evaluation(set_name, (float(score_of[seed]),) * 4) for seed in streams.seeds]


def _faked(fake: Fake, *, seeds: Sequence[int] = (0,), algorithm: Any = None, **settings: Any) -> Trainer:
    trainer = trainer_of(_recipe(algorithm, **settings), seeds)
    fake.seeds = seeds
    trainer.selection.evaluator = fake
    return trainer


def test_training_stops_when_solved_and_confirmed() -> None:
    fake = Fake([20], [30], [40], [40], confirmations={3: [35]})
    reports = list(_faked(fake, stop_at_return=35.0).iterations())
    assert [report.iteration for report in reports] == [1, 2, 3]
    assert [report.seeds[0].solved for report in reports] == [False, False, True]
    assert [report.seeds[0].finished for report in reports] == [False, False, True]
    last = reports[-1].seeds[0]
    assert last.evaluation is not None
    assert last.confirmation is not None
    assert (last.evaluation.mean, last.confirmation.mean) == (40.0, 35.0)
    assert fake.asked == [3], "only a score that reaches the target is confirmed"


def test_training_goes_on_when_the_confirmation_fails() -> None:
    fake = Fake([36], [10], [36], confirmations={1: [34.9], 3: [35]})
    reports = list(_faked(fake, stop_at_return=35.0).iterations())
    assert [report.seeds[0].solved for report in reports] == [False, False, True]
    assert [report.seeds[0].confirmation is not None for report in reports] == [True, False, True]


def test_training_never_stops_early_without_a_target() -> None:
    fake = Fake([500], [500], [500])
    reports = list(_faked(fake, num_steps=96).iterations())
    assert [report.seeds[0].solved for report in reports] == [False] * 3
    assert fake.asked == []


def test_the_best_score_is_kept_and_of_equals_the_later() -> None:
    fake = Fake([5], [7], [6], [7], [6.9])
    trainer = _faked(fake, num_steps=160)
    assert [report.seeds[0].improved for report in trainer.iterations()] == [True, True, False, True, False]
    assert trainer.selection.best_score == [(7.0, -math.inf)]


def test_a_lucky_selection_that_is_not_confirmed_counts_with_its_confirmation() -> None:
    fake = Fake([38], [34], [33], confirmations={1: [28]})
    trainer = _faked(fake, num_steps=96, stop_at_return=35.0)
    assert [report.seeds[0].improved for report in trainer.iterations()] == [True, True, False]
    assert trainer.selection.best_score == [(34.0, -math.inf)]


def test_a_confirmation_counts_as_far_as_the_time_limit_and_beyond_it_between_equals() -> None:
    """Held out 40 of 40 each time; confirmed within the limit 30, 40, 40, and played on beyond it 38, 24, 25."""
    confirmations = {
        1: Evaluation("confirmation", (38.0,) * 4, (30.0,) * 4),
        2: Evaluation("confirmation", (24.0,) * 4, (40.0,) * 4),
        3: Evaluation("confirmation", (25.0,) * 4, (40.0,) * 4),
        4: Evaluation("confirmation", (24.5,) * 4, (40.0,) * 4),
    }
    fake = Fake([40], [40], [40], [40])
    fake.confirmation = lambda policy, streams, iteration: [confirmations[iteration]]
    trainer = _faked(fake, num_steps=128, stop_at_return=40.0)
    assert [report.seeds[0].improved for report in trainer.iterations()] == [True, True, True, False]
    assert trainer.selection.best_score == [(40.0, 25.0)]


@pytest.mark.parametrize(("num_steps", "num_iterations"), [(1, 1), (32, 1), (33, 2), (96, 3), (97, 4)])
def test_the_iteration_that_reaches_the_budget_is_the_last_and_is_evaluated(
    num_steps: int, num_iterations: int
) -> None:
    fake = Fake([20])
    reports = list(_faked(fake, num_steps=num_steps, evaluate_every=1000).iterations())
    seeds = [report.seeds[0] for report in reports]
    assert [seed.env_steps for seed in seeds] == [32 * (index + 1) for index in range(num_iterations)]
    assert [seed.finished for seed in seeds] == [False] * (num_iterations - 1) + [True]
    assert [seed.evaluation is not None for seed in seeds] == [False] * (num_iterations - 1) + [True]
    assert seeds[-1].improved


def test_evaluations_come_at_the_iterations_the_recipe_says() -> None:
    fake = Fake([20], [20], [20])
    reports = list(_faked(fake, num_steps=32 * 7, evaluate_every=3).iterations())
    evaluated = [report.iteration for report in reports if report.seeds[0].evaluation is not None]
    assert evaluated == [3, 6, 7]


def _of_seed(trainer: Trainer, index: int) -> list[Tensor]:
    """Parameters, moments and step counter of one seed."""
    adam = trainer.optimizer
    parameters = [parameter[index] for parameter in trainer.policy.parameters()]
    return copy.deepcopy(
        [
            *(parameter.detach() for parameter in parameters),
            adam.first_moment[index],
            adam.second_moment[index],
            adam.beta_powers[:, index],
        ]
    )


def _equal(first: list[Tensor], second: list[Tensor]) -> bool:
    return all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


ALGORITHMS: dict[str, Callable[[], Any]] = {
    "ppo": lambda: PPORecipe(steps_per_iteration=8, num_epochs=2, minibatch_size=16),
    "reinforce": lambda: ReinforceRecipe(baseline="value"),
}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_finished_seed_leaves_and_the_others_go_on_as_if_it_had_stayed(algorithm: str) -> None:
    rows = [40, 20, 20], [40, 20, 20], [10, 40, 20], [10, 40, 20]
    fake = Fake(*rows, confirmations={1: [40, 0, 0], 3: [0, 40, 0]})
    trainer = _faked(fake, seeds=(0, 1, 2), algorithm=ALGORITHMS[algorithm](), stop_at_return=35.0)
    everyone = _faked(Fake(*rows), seeds=(0, 1, 2), algorithm=ALGORITHMS[algorithm]())
    reports = []
    for _, report, report_of_all in zip(range(4), trainer.iterations(), everyone.iterations(), strict=False):
        reports.append(report)
        for place, seed in enumerate(report.seeds):
            assert _equal(_of_seed(trainer, place), _of_seed(everyone, seed.seed))
            stayed = report_of_all.seeds[seed.seed]
            assert (seed.env_steps, seed.diagnostics) == (stayed.env_steps, stayed.diagnostics)
    assert [[seed.seed for seed in report.seeds] for report in reports] == [[0, 1, 2], [1, 2], [1, 2], [2]]
    finished = [[seed.finished for seed in report.seeds] for report in reports]
    assert finished == [[True, False, False], [False, False], [True, False], [False]]
    assert [[seed.solved for seed in report.seeds] for report in reports] == finished
    assert all(seed.improved for report in reports for seed in report.seeds), "each is measured by its own best"
    assert (trainer.policy.num_seeds, trainer.environment.num_seeds, len(trainer.optimizer.flat)) == (1, 1, 1)
    assert trainer.streams.seeds == (2,)
    assert list(zip(fake.asked, fake.confirmed, strict=True)) == [(1, (0,)), (3, (1,))], "nobody else is confirmed"


def test_the_last_seeds_to_finish_stay_as_they_were() -> None:
    """There is nothing to go on with without them, and last.pth has them."""
    fake = Fake([40, 20], [20, 40], confirmations={1: [40, 0], 2: [0, 40]})
    trainer = _faked(fake, seeds=(0, 1), stop_at_return=35.0)
    iterations = trainer.iterations()
    next(iterations)
    next(iterations)
    before = _of_seed(trainer, 0)
    assert list(iterations) == []
    assert trainer.streams.seeds == (1,)
    assert (trainer.solved, trainer.failed, trainer.finished.tolist()) == ([True], [False], [True])
    assert _equal(_of_seed(trainer, 0), before)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_seed_that_is_no_longer_finite_fails_and_the_others_go_on(algorithm: str) -> None:
    def run(seeds: Sequence[int], broken: int | None) -> tuple[list[Report], Trainer]:
        trainer = _faked(Fake(*[[20.0] * len(seeds)] * 3), seeds=seeds, algorithm=ALGORITHMS[algorithm]())
        if broken is not None:
            next(trainer.policy.torso.parameters()).data[broken] = torch.nan
            before = _of_seed(trainer, broken)
        reports = []
        for _, report in zip(range(3), trainer.iterations(), strict=False):
            if broken is not None and not reports:
                torch.testing.assert_close(_of_seed(trainer, broken), before, rtol=0, atol=0, equal_nan=True)
            reports.append(report)
        return reports, trainer

    reports, trainer = run([0, 1], broken=0)
    assert [seed.failure is None for seed in reports[0].seeds] == [False, True]
    assert str(reports[0].seeds[0].failure).endswith("in iteration 1")
    assert [seed.finished for seed in reports[0].seeds] == [True, False]
    assert reports[0].seeds[0].evaluation is None
    assert not reports[0].seeds[0].improved
    assert [[seed.seed for seed in report.seeds] for report in reports] == [[0, 1], [1], [1]]
    solo_reports, solo = run([1], broken=None)
    of_study = [repr(replace(report.seeds[-1], member=0)) for report in reports]
    assert of_study == [repr(report.seeds[0]) for report in solo_reports]
    assert _equal(_of_seed(trainer, 0), _of_seed(solo, 0))


def test_a_run_whose_only_seed_fails_ends() -> None:
    trainer = _faked(Fake([20.0]))
    next(trainer.policy.torso.parameters()).data[:] = torch.nan
    reports = list(trainer.iterations())
    assert [report.seeds[0].failure is not None for report in reports] == [True]
