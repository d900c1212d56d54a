"""Scores for people, on scripted episodes whose numbers can be worked out by hand."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from cartpole_cli.actions import FORCE, PUSHES, Discrete
from cartpole_cli.environments.build import build_judge
from cartpole_cli.environments.interface import CartPoleEnvironment, Transition
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.environments.physics import Physics
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.environment import GymnasiumEnvironment, NativeEnvironment
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.scoring.candidates import Candidate
from cartpole_cli.scoring.motion import MotionMeter
from cartpole_cli.scoring.scorecard import Scored, Terms, compare, score, watching
from cartpole_cli.tasks import PHYSICS
from cartpole_cli.training.evaluation import play

pytestmark = pytest.mark.shapes

TWO_PUSHES = Discrete(2)


def scripted(positions, ends, *, rewards=None, actions=TWO_PUSHES, truncates=False, forces=None) -> SimpleNamespace:
    """Environments whose cart is at `positions[t][n]` and whose episodes end with the steps `ends[n]`, from 1."""
    num_envs = len(ends)

    def observe(step: int) -> Tensor:
        row = torch.tensor(positions[min(step, len(positions) - 1)])
        return torch.stack([row, *torch.zeros(3, num_envs)], dim=-1).unsqueeze(0)

    def step(action: Tensor) -> Transition:
        environment.actions_taken.append(action)
        before = environment.observation
        if forces is not None:
            environment.force = torch.tensor([forces[len(environment.actions_taken) - 1]])
        number = len(environment.actions_taken)
        environment.observation = observe(number)
        over = torch.tensor([[end == number for end in ends]])
        reward = torch.ones(1, num_envs) if rewards is None else torch.tensor([rewards[number - 1]])
        return Transition(
            observation=before,
            reward=reward,
            next_observation=environment.observation,
            terminated=over & (not truncates),
            truncated=over & truncates,
            valid=torch.ones_like(over),
        )

    environment = SimpleNamespace(
        num_seeds=1,
        num_envs=num_envs,
        observation_size=4,
        actions=actions,
        max_episode_steps=100,
        observation=observe(0),
        actions_taken=[],
        step=step,
        reset=lambda: None,
        close=lambda: None,
    )
    if forces is not None:
        environment.force, environment.seconds = torch.zeros(1, num_envs), torch.full((1, num_envs), 0.02)
        environment.physics, environment.position_limit = Physics.constant(PHYSICS, 1, num_envs), 2.4
        environment.reached = environment.observation
    return environment


def replay(*rows):
    """An action rule that plays the rows one after another."""
    remaining = iter(rows)
    return lambda _: torch.tensor([next(remaining)])


def judge(num_episodes: int = 5, *, continuous: bool = False, limit: int = 500) -> GymnasiumCartPole:
    return GymnasiumCartPole(Streams([0]), num_episodes, FORCE if continuous else PUSHES, max_episode_steps=limit)


def scored(act, environment, *, on_step=lambda done: None):
    """The returns of the first episodes, and the motion, if there are cart-poles."""
    meter = MotionMeter(environment) if isinstance(environment, CartPoleEnvironment) else None
    returns = play(act, environment, watching([meter, None], on_step))
    return tuple(returns[0].tolist()), meter and meter.motion()


# Motion


def test_motion_is_the_mean_over_the_steps_of_the_first_episodes():
    # The first episode has 2 steps at x = 1 and -3, the second 3 at 0.5, 0.5 and -2: (1 + 3 + 0.5 + 0.5 + 2) / 5.
    positions = [[1.0, 0.5], [-3.0, 0.5], [100.0, -2.0], [100.0, 100.0]]
    # 4, -6 and then, after its end, 9; 10, 0 and -1: (4 + 6 + 10 + 0 + 1) / 5.
    forces = [[4.0, 10.0], [-6.0, 0.0], [9.0, -1.0]]
    done: list[int] = []
    environment = scripted(positions, (2, 3), forces=forces)
    returns, motion = scored(replay(*[[0, 0]] * 3), environment, on_step=done.append)
    assert returns == (2.0, 3.0)
    assert motion.mean_abs_position == pytest.approx(7 / 5)
    assert motion.effort == pytest.approx(21 / 5)
    # Two switches (a force of 0 is none, but its sign is not forgotten) in 5 steps of 0.02 s.
    assert motion.switches_per_second == pytest.approx(2 / 0.1)
    assert done == [1, 2, 3]


def native(*, limit: int, **fields):
    """The judge of a native task that Gymnasium does not have."""
    task = {"id": "CartPoleSwingUp-v1", "max_episode_steps": limit, **fields}
    return build_judge(NativeEnvironment.model_validate(task), Streams([0]), 5, 1)


def test_effort_and_seconds_are_those_of_the_physics():
    physics = {"force_magnitude": 4.0, "time_step": 0.01}
    rule = itertools.count()
    _, motion = scored(lambda seen: steps_of(seen, next(rule) % 2), native(limit=20, physics=physics))
    assert motion.effort == pytest.approx(4.0)
    assert motion.switches_per_second == pytest.approx(19 / (20 * 0.01))


def steps_of(seen: Tensor, action: int) -> Tensor:
    return torch.full(seen.shape[:2], action)


def test_a_force_that_is_held_counts_for_as_long_and_one_that_is_late_when_it_acts():
    # 10 N to the right are decided on at first, then always to the left; one decision late, and held for 2.5 steps on
    # average: 2, 3, 2, 3. So none acts for 2 steps, 10 N for 3 to the right and for 5 to the left.
    physics = {"hold": 2.5, "delay": 1}
    decisions = itertools.chain([1], itertools.repeat(0))
    _, motion = scored(lambda seen: steps_of(seen, next(decisions)), native(limit=4, physics=physics))
    assert motion.effort == pytest.approx(10 * 8 / 10)
    assert motion.switches_per_second == pytest.approx(1 / 0.2)


def test_each_episode_has_the_force_and_the_time_it_drew():
    judged = native(limit=1, physics={"force_magnitude": [2.0, 30.0], "time_step": [0.005, 0.05]})
    force, seconds = judged.physics.force_magnitude.clone(), judged.physics.time_step.clone()
    _, motion = scored(lambda seen: steps_of(seen, 1), judged)
    assert force.std() > 1
    assert motion.effort == pytest.approx((force * seconds).sum().item() / seconds.sum().item())


@pytest.mark.parametrize("continuous", [False, True])
def test_swing_up_on_either_backend_has_motion(continuous):
    name = "ContinuousCartPoleSwingUp-v1" if continuous else "CartPoleSwingUp-v1"
    gymnasiums = GymnasiumEnvironment(backend="gymnasium", id=f"cartpole_cli/{name}", max_episode_steps=30)
    for environment in (native(limit=30, id=name), build_judge(gymnasiums, Streams([0]), 5, 1)):
        rule = itertools.count()

        def act(seen: Tensor, rule=rule) -> Tensor:
            right = next(rule) % 2
            return torch.full((1, 5, 1), 40.0 * right - 20) if continuous else steps_of(seen, right)

        _, motion = scored(act, environment)
        assert motion.effort == pytest.approx(10.0)
        assert motion.switches_per_second == pytest.approx(29 / 0.6)


def test_an_episode_ended_by_the_time_limit_ends_too():
    returns, _ = scored(replay([0], [1], [1]), scripted([[0.0]], (3,), truncates=True))
    assert returns == (3.0,)


def test_another_tasks_returns_are_sums_of_rewards_and_it_has_no_motion():
    rewards = [[-1.5, 2.0], [0.25, 4.0], [100.0, -8.0]]
    environment = scripted([[0.0, 0.0]], (2, 3), rewards=rewards, actions=Discrete(3))
    returns, motion = scored(replay([0, 2], [1, 1], [2, 0]), environment)
    assert returns == (-1.25, -2.0)
    assert motion is None


# In the judge


@pytest.mark.parametrize(("continuous", "push"), [(False, 1), (True, 10.0), (True, 4.0), (True, -25.0)])
def test_a_constant_push_is_its_own_effort_and_never_switches(continuous, push):
    shape = (1, 5, 1) if continuous else (1, 5)
    returns, motion = scored(lambda _: torch.full(shape, push), judge(continuous=continuous))
    assert motion.effort == (min(abs(push), 10.0) if continuous else 10.0)
    assert motion.switches_per_second == 0.0
    assert all(8 <= steps <= 40 for steps in returns)


@pytest.mark.parametrize("continuous", [False, True])
def test_alternating_pushes_switch_at_every_step_but_the_first(continuous):
    steps = 0

    def act(observation: Tensor) -> Tensor:
        nonlocal steps
        steps += 1
        push = torch.full(observation.shape[:2], steps % 2)
        return (push * 20.0 - 10.0).unsqueeze(-1) if continuous else push

    returns, motion = scored(act, judge(continuous=continuous, limit=30))
    total = sum(returns)
    assert motion.effort == 10.0
    assert motion.switches_per_second == pytest.approx(50 * (total - 5) / total)


def test_the_position_is_that_before_each_step():
    environment = judge(1, limit=7)
    seen: list[float] = []

    def act(observation: Tensor) -> Tensor:
        seen.append(abs(observation[0, 0, 0].item()))
        return torch.ones(1, 1, dtype=torch.int64)

    _, motion = scored(act, environment)
    assert len(seen) == 7
    assert motion.mean_abs_position == pytest.approx(sum(seen) / 7)


def test_returns_are_those_of_play():
    def act(observation: Tensor) -> Tensor:
        return (observation[..., 2] + 0.3 * observation[..., 3] > 0).long()

    returns, _ = scored(act, judge(20, limit=200))
    assert list(returns) == play(act, judge(20, limit=200))[0].tolist()


# Which is better


def card_of(target, returns, task=None, *, limit: int = 500, study=None) -> Scored:
    card = {"target": target, "returns": returns, "study": study, "max_episode_steps": limit}
    return Scored(card, task or NativeEnvironment(), None)


def test_every_pair_of_scorecards_is_compared_in_their_order():
    cards = [card_of("a", [1.0, 1.0]), card_of("b", [2.0, 0.0]), card_of("c", [3.0, 3.0])]
    pairs = compare(cards)
    assert [(pair["first"], pair["second"], pair["probability"]) for pair in pairs] == [
        ("a", "b", 0.5),
        ("a", "c", 0.0),
        ("b", "c", 0.0),
    ]
    assert compare(cards[:1]) == []
    assert compare([cards[0], card_of("b", [2.0, 0.0], limit=1000)]) == []
    assert compare([cards[0], card_of("b", [2.0, 0.0], study="study")]) == []


def task_of(**fields) -> NativeEnvironment:
    return NativeEnvironment.model_validate(fields)


def gymnasiums(name: str) -> GymnasiumEnvironment:
    return GymnasiumEnvironment(backend="gymnasium", id=name)


HEAVY = {"physics": {"cart_mass": 2.0}}
SAME = {
    "pushes and forces": (task_of(), task_of(id="ContinuousCartPole-v1")),
    "on either backend": (task_of(), gymnasiums("CartPole-v1")),
    "trained with more environments": (task_of(**HEAVY, num_envs=1), task_of(**HEAVY, num_envs=8)),
    "pushes and forces in other physics": (task_of(**HEAVY), task_of(id="ContinuousCartPole-v1", **HEAVY)),
    "another task": (gymnasiums("Acrobot-v1"), gymnasiums("Acrobot-v1")),
}
DIFFERENT = {
    "physics": (task_of(), task_of(**HEAVY)),
    "another mass": (task_of(physics={"cart_mass": 3.0}), task_of(**HEAVY)),
    "pushed around": (task_of(), task_of(disturb={"push_rate": 1.0})),
    "another limit": (task_of(), task_of(position_limit=3.0)),
    "another start": (task_of(), task_of(start={"balance": 0.0, "anywhere": 1.0})),
    "another task": (task_of(), gymnasiums("Acrobot-v1")),
    "swing-up": (task_of(), task_of(id="CartPoleSwingUp-v1")),
    "the judge's own simulator": (task_of(id="CartPoleSwingUp-v1"), gymnasiums("cartpole_cli/CartPoleSwingUp-v1")),
}


@pytest.mark.parametrize("tasks", SAME.values(), ids=SAME)
def test_what_was_scored_from_the_same_states_in_the_same_physics_is_compared(tasks):
    assert len(compare([card_of("a", [1.0, 1.0], tasks[0]), card_of("b", [2.0, 0.0], tasks[1])])) == 1


@pytest.mark.parametrize("tasks", DIFFERENT.values(), ids=DIFFERENT)
def test_what_was_scored_otherwise_is_not(tasks):
    assert compare([card_of("a", [1.0, 1.0], tasks[0]), card_of("b", [2.0, 0.0], tasks[1])]) == []


# A recording


@pytest.mark.parametrize("stochastic", [False, True])
@pytest.mark.parametrize(
    "environment",
    [{}, {"id": "ContinuousCartPole-v1"}, {**HEAVY, "disturb": {"push_rate": 2.0}}, {"id": "CartPoleSwingUp-v1"}],
    ids=["CartPole-v1", "ContinuousCartPole-v1", "other physics", "swing-up"],
)
def test_what_is_filmed_is_the_first_episode_that_was_scored(environment, stochastic):
    recipe = Recipe(environment=task_of(**environment, max_episode_steps=60))
    actions = FORCE if environment.get("id", "").startswith("Continuous") else PUSHES
    sizes = {"observation_size": 4, "hidden_sizes": (16,), "activation": "tanh", "value_network": False}
    policy = PolicyNetwork(Architecture(actions=actions, **sizes), Streams([0], "cpu"))
    candidate = Candidate("it", policy, recipe, torch.device("cpu"))
    result = score(candidate, Terms(episodes=8, seed=5, stochastic=stochastic), record=True)
    states = result.recording.states
    start = build_judge(recipe.environment, Streams([5], name="eval"), 8, 1).observation[0, 0]
    torch.testing.assert_close(torch.tensor(states[0]), start)
    if recipe.environment.counts_steps:
        assert len(states) == result.card["returns"][0] + 1
    plain = score(candidate, Terms(episodes=8, seed=5, stochastic=stochastic))
    assert plain.card == result.card
    assert plain.recording is None
    other = score(candidate, Terms(episodes=8, seed=5, stochastic=not stochastic), record=True)
    assert states != other.recording.states
    assert states[0] == other.recording.states[0]
