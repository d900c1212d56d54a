"""The native simulator: episodes, resets, groups, physics, seeds and saved state."""

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from torch import Tensor

from cartpole_cli.actions import FORCE, Discrete
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.randomness import Streams
from cartpole_cli.tasks import TASKS

pytestmark = pytest.mark.shapes

FAILING = (2.39, 5.0, 0.0, 0.0)  # x passes 2.4 m in the next step, whatever the action
UPRIGHT = (0.0, 0.0, 0.0, 0.0)
KINDS = pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])


def _simulator(
    num_envs: int, seeds: Sequence[int] = (0,), *, device: str = "cpu", continuous: bool = False, **options: Any
) -> CartPoleSimulator:
    task = TASKS["ContinuousCartPole-v1" if continuous else "CartPole-v1"]
    return CartPoleSimulator(Streams(seeds, device), num_envs, task, **options)


def _random_actions(seeds: Sequence[int], num_steps: int, num_envs: int, *, continuous: bool) -> Tensor:
    """[T, S, N(, 1)], a seed's actions the same beside any other seeds."""
    rows = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        if continuous:
            rows.append(torch.rand(num_steps, num_envs, 1, generator=generator) * 24 - 12)
        else:
            rows.append(torch.randint(2, (num_steps, num_envs), generator=generator))
    return torch.stack(rows, dim=1)


def _columns(simulator: CartPoleSimulator, actions: Tensor) -> list[Tensor]:
    """What every step gave, and where it left the simulator, stacked along time."""
    rows = []
    for action in actions:
        transition = simulator.step(action)
        rows.append(
            (
                transition.observation,
                transition.reward,
                transition.next_observation,
                transition.terminated,
                transition.truncated,
                transition.valid,
                simulator.observation,
                simulator.elapsed,
            )
        )
    return [torch.stack(column) for column in zip(*rows, strict=True)]


def test_actions_are_two_pushes_or_ten_newtons_either_way() -> None:
    assert _simulator(1).actions == Discrete(2)
    assert _simulator(1, continuous=True).actions == FORCE


def test_reset_to_starts_episodes_from_the_given_state() -> None:
    simulator = _simulator(2, max_episode_steps=3)
    for _ in range(2):
        simulator.step(torch.tensor([[0, 1]]))
    state = torch.tensor([[[0.1, -0.2, 0.03, 0.4], UPRIGHT]])
    simulator.reset_to(state)
    assert torch.equal(simulator.observation, state)
    assert simulator.elapsed.tolist() == [[0, 0]]
    truncated = [simulator.step(torch.tensor([[0, 1]])).truncated.tolist() for _ in range(3)]
    assert truncated == [[[False, False]], [[False, False]], [[True, True]]]


def test_reset_gives_every_environment_a_new_start() -> None:
    simulator = _simulator(4)
    first = simulator.observation
    simulator.step(torch.ones(1, 4, dtype=torch.int64))
    simulator.reset()
    assert simulator.elapsed.tolist() == [[0] * 4]
    assert simulator.observation.abs().max() <= 0.05
    assert (simulator.observation != first).any(dim=-1).all()


def test_fork_lets_groups_go_on_from_their_first_member() -> None:
    simulator = _simulator(6, seeds=(0, 1))
    simulator.reset_to(torch.arange(48.0).view(2, 6, 4) / 1000)
    simulator.elapsed = torch.tensor([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 11, 12]])
    before = simulator.observation
    simulator.fork(3)
    assert torch.equal(simulator.observation, before[:, [0, 0, 0, 3, 3, 3]])
    assert simulator.elapsed.tolist() == [[1, 1, 1, 4, 4, 4], [7, 7, 7, 10, 10, 10]]
    transition = simulator.step(torch.tensor([[0, 0, 1, 1, 0, 0]] * 2))
    successor = transition.next_observation
    assert torch.equal(successor[:, 0], successor[:, 1])
    assert torch.equal(successor[:, 4], successor[:, 5])
    assert (successor[:, 1] != successor[:, 2]).any(dim=-1).all()


def test_an_ended_episode_gives_its_true_successor_and_is_followed_by_a_new_start() -> None:
    simulator = _simulator(3)
    simulator.reset_to(torch.tensor([[UPRIGHT, FAILING, UPRIGHT]]))
    transition = simulator.step(torch.tensor([[1, 1, 0]]))
    assert transition.terminated.tolist() == [[False, True, False]]
    assert not transition.truncated.any()
    assert transition.next_observation[0, 1, 0] == pytest.approx(2.39 + 0.02 * 5.0)
    assert simulator.observation[0, 1].abs().max() <= 0.05
    assert simulator.observation[0, 1].abs().min() > 0
    assert torch.equal(simulator.observation[:, [0, 2]], transition.next_observation[:, [0, 2]])
    assert simulator.elapsed.tolist() == [[1, 0, 1]]


def test_no_two_new_episodes_start_the_same() -> None:
    simulator = _simulator(3, seeds=(0, 1))
    starts = []
    for _ in range(70):  # more than two blocks of start states
        simulator.reset_to(torch.tensor([[FAILING] * 3] * 2))
        assert simulator.step(torch.zeros(2, 3, dtype=torch.int64)).terminated.all()
        starts += [tuple(row) for row in simulator.observation.flatten(0, 1).tolist()]
    assert len(set(starts)) == 70 * 6


def test_an_episode_is_truncated_at_its_time_limit() -> None:
    simulator = _simulator(1, max_episode_steps=4)
    simulator.reset_to(torch.tensor([[UPRIGHT]]))
    transitions = [simulator.step(torch.tensor([[action]])) for action in (0, 1, 0, 1)]
    assert [bool(transition.truncated) for transition in transitions] == [False, False, False, True]
    assert not any(bool(transition.terminated) for transition in transitions)
    assert simulator.elapsed.tolist() == [[0]]
    assert simulator.observation.abs().max() <= 0.05
    assert not torch.equal(simulator.observation, transitions[-1].next_observation)


def test_termination_wins_where_both_hold() -> None:
    simulator = _simulator(2, max_episode_steps=1)
    simulator.reset_to(torch.tensor([[FAILING, UPRIGHT]]))
    transition = simulator.step(torch.tensor([[0, 0]]))
    assert transition.terminated.tolist() == [[True, False]]
    assert transition.truncated.tolist() == [[False, True]]


def test_every_step_is_valid_and_rewarded_with_one_the_failing_one_included() -> None:
    simulator = _simulator(2)
    simulator.reset_to(torch.tensor([[FAILING, UPRIGHT]]))
    for _ in range(2):
        transition = simulator.step(torch.tensor([[0, 0]]))
        assert transition.reward.tolist() == [[1.0, 1.0]]
        assert transition.valid.all()


@pytest.mark.parametrize(
    ("state", "terminated"),
    [
        ((2.4 - 1e-5, 0.0, 0.0, 0.0), False),
        ((1e-5 - 2.4, 0.0, 0.0, 0.0), False),
        ((2.4 + 1e-5, 0.0, 0.0, 0.0), True),
        ((-2.4 - 1e-5, 0.0, 0.0, 0.0), True),
        ((0.0, 0.0, math.radians(12) - 1e-5, 0.0), False),
        ((0.0, 0.0, 1e-5 - math.radians(12), 0.0), False),
        ((0.0, 0.0, math.radians(12) + 1e-5, 0.0), True),
        ((0.0, 0.0, -math.radians(12) - 1e-5, 0.0), True),
        ((0.0, 100.0, 0.0, 8.0), False),
    ],
)
def test_failure_is_leaving_two_and_four_tenths_metres_or_twelve_degrees(
    state: tuple[float, ...], terminated: bool
) -> None:
    simulator = _simulator(1)
    simulator.reset_to(torch.tensor([[state]]))  # the speeds are 0 or too small to cross a limit in one step
    assert simulator.step(torch.tensor([[0]])).terminated.tolist() == [[terminated]]


@KINDS
@pytest.mark.parametrize("num_envs", [5, 16])
def test_a_seed_beside_others_is_its_solo_simulator_bit_for_bit(num_envs: int, continuous: bool) -> None:
    seeds, num_steps = (3, 4, 5), 200
    actions = _random_actions(seeds, num_steps, num_envs, continuous=continuous)
    together = _columns(_simulator(num_envs, seeds, continuous=continuous), actions)
    alone = _columns(_simulator(num_envs, seeds[1:2], continuous=continuous), actions[:, 1:2])
    for study, solo in zip(together, alone, strict=True):
        assert torch.equal(study[:, 1:2], solo)
    assert alone[3].sum() > num_envs, "autoresets must be among the steps"
    assert not torch.equal(together[0][:, 0], together[0][:, 1])


@KINDS
def test_a_saved_simulator_goes_on_bit_for_bit_in_the_middle_of_a_block(continuous: bool) -> None:
    seeds, num_envs = (0, 1), 4
    actions = _random_actions(seeds, 90, num_envs, continuous=continuous)
    simulator = _simulator(num_envs, seeds, continuous=continuous, max_episode_steps=30)
    _columns(simulator, actions[:40])
    saved = copy.deepcopy(simulator.state_dict())
    expected = _columns(simulator, actions[40:])
    fresh = _simulator(num_envs, seeds, continuous=continuous, max_episode_steps=30)
    fresh.load_state_dict(saved)
    assert torch.equal(fresh.observation, expected[0][0])
    for column, other in zip(expected, _columns(fresh, actions[40:]), strict=True):
        assert torch.equal(column, other)
    assert expected[3].any(), "autoresets must be among the steps"
    simulator.reset()
    fresh.reset()
    assert torch.equal(simulator.observation, fresh.observation)


def test_start_states_fill_the_range_and_differ_between_seeds_and_environments() -> None:
    starts = _simulator(500, seeds=(0, 1, 2)).observation
    assert starts.abs().max() <= 0.05
    assert starts.min() < -0.049
    assert starts.max() > 0.049
    assert len({tuple(row) for row in starts.flatten(0, 1).tolist()}) == 1500


def test_the_start_states_of_a_seed_do_not_depend_on_the_other_seeds() -> None:
    assert torch.equal(_simulator(3, seeds=(7, 8)).observation[1], _simulator(3, seeds=(8, 1, 2)).observation[0])


def _reference(**attributes: float) -> Any:
    environment: Any = CartPoleEnv()
    for name, value in attributes.items():
        setattr(environment, name, value)
    environment.total_mass = environment.masscart + environment.masspole
    environment.polemass_length = environment.masspole * environment.length
    return environment


@pytest.mark.parametrize(
    ("field", "theirs", "value"),
    [
        ("gravity", "gravity", 19.6),
        ("cart_mass", "masscart", 2.5),
        ("pole_mass", "masspole", 0.7),
        ("pole_half_length", "length", 1.3),
        ("force_magnitude", "force_mag", 4.0),
        ("time_step", "tau", 0.005),
    ],
)
def test_each_environment_has_physics_of_its_own(field: str, theirs: str, value: float) -> None:
    simulator = _simulator(3, dtype=torch.float64)
    state = (0.3, -0.4, 0.1, 0.7)
    values = getattr(simulator.physics, field).clone()
    values[0, 1] = value
    simulator.physics = replace(simulator.physics, **{field: values})
    simulator.reset_to(torch.tensor([[state] * 3], dtype=torch.float64))
    successor = simulator.step(torch.ones(1, 3, dtype=torch.int64)).next_observation[0].numpy()
    for index, environment in enumerate([_reference(), _reference(**{theirs: value}), _reference()]):
        environment.state = np.array(state)
        environment.step(1)
        np.testing.assert_allclose(successor[index], environment.state, rtol=0, atol=1e-12)
    assert np.abs(successor[0] - successor[1]).max() > 1e-3


def test_a_force_beyond_the_range_is_clipped_to_it() -> None:
    simulator = _simulator(4, continuous=True)
    simulator.reset_to(torch.tensor([[UPRIGHT] * 4]))
    successor = simulator.step(torch.tensor([[[50.0], [10.0], [-50.0], [-10.0]]])).next_observation[0]
    assert torch.equal(successor[0], successor[1])
    assert torch.equal(successor[2], successor[3])
    assert successor[0, 1] > 0 > successor[2, 1]


def test_action_one_and_a_positive_force_push_to_the_right() -> None:
    discrete, continuous = _simulator(2), _simulator(2, continuous=True)
    for simulator in (discrete, continuous):
        simulator.reset_to(torch.tensor([[UPRIGHT] * 2]))
    pushed = discrete.step(torch.tensor([[0, 1]])).next_observation
    # 0.02 s * 10 N * 4/3 / (1.1 kg * 4/3 - 0.1 kg) by hand: the upright pole drags on the cart.
    assert pushed[0, :, 1].tolist() == pytest.approx([-0.02 * 40 / 4.1, 0.02 * 40 / 4.1])
    assert torch.equal(pushed, continuous.step(torch.tensor([[[-10.0], [10.0]]])).next_observation)


def _device(name: str, present: bool) -> Any:
    return pytest.param(name, marks=pytest.mark.skipif(not present, reason=f"no {name} here"))


@KINDS
@pytest.mark.parametrize(
    "device",
    ["cpu", _device("cuda", torch.cuda.is_available()), _device("mps", torch.backends.mps.is_available())],
)
def test_every_device_runs_the_same_cart_poles(device: str, continuous: bool) -> None:
    num_envs, num_steps = 16, 300
    actions = _random_actions((0, 1), num_steps, num_envs, continuous=continuous)
    simulator = _simulator(num_envs, (0, 1), device=device, continuous=continuous)
    exact = _simulator(num_envs, (0, 1), continuous=continuous, dtype=torch.float64)
    num_ended = 0
    for step, action in enumerate(actions):
        transition = simulator.step(action.to(device))
        assert transition.next_observation.device.type == device
        num_ended += int((transition.terminated | transition.truncated).sum())
        if step < 6:
            expected = exact.step(action)
            torch.testing.assert_close(transition.observation.cpu().double(), expected.observation, rtol=0, atol=1e-5)
            torch.testing.assert_close(
                transition.next_observation.cpu().double(), expected.next_observation, rtol=0, atol=1e-5
            )
            assert torch.equal(transition.terminated.cpu(), expected.terminated)
    assert simulator.observation.isfinite().all()
    assert num_ended > 2 * num_envs


def test_a_state_that_is_no_number_ends_the_episode():
    simulator = _simulator(2, continuous=True)
    transition = simulator.step(torch.tensor([[[float("nan")], [1.0]]]))
    assert transition.terminated.tolist() == [[True, False]]


@KINDS
@pytest.mark.parametrize("num_steps", [0, 5, 32, 45], ids=lambda steps: f"after{steps}")
def test_seeds_that_are_kept_go_on_as_if_the_others_were_there(continuous: bool, num_steps: int) -> None:
    """In the middle of a block of resets, at its end, and before the first."""
    seeds, kept = (4, 5, 6, 7), [1, 3]
    simulator, stayed = (_simulator(3, seeds, continuous=continuous, max_episode_steps=20) for _ in range(2))
    for one in (simulator, stayed):
        generator = torch.Generator().manual_seed(0)
        masses = torch.rand(4, 3, generator=generator) + 0.5
        one.physics = replace(one.physics, cart_mass=masses)
    actions = _random_actions(seeds, num_steps + 60, 3, continuous=continuous)
    for action in actions[:num_steps]:
        simulator.step(action)
        stayed.step(action)
    simulator.keep_seeds(kept)
    assert (simulator.num_seeds, simulator.streams.seeds) == (2, (5, 7))
    for ours, theirs in zip(
        _columns(simulator, actions[num_steps:, kept]), _columns(stayed, actions[num_steps:]), strict=True
    ):
        assert torch.equal(ours, theirs[:, kept])
    simulator.reset()
    stayed.reset()
    assert torch.equal(simulator.observation, stayed.observation[kept])


def test_kept_seeds_are_saved_and_loaded_without_the_others() -> None:
    simulator = _simulator(3, (4, 5, 6))
    actions = _random_actions((4, 5, 6), 70, 3, continuous=False)
    _columns(simulator, actions[:40])
    simulator.keep_seeds([2])
    loaded = _simulator(3, (6,))
    assert loaded.load_state_dict(copy.deepcopy(simulator.state_dict()))
    rest = [_columns(one, actions[40:, 2:]) for one in (simulator, loaded)]
    assert all(torch.equal(one, other) for one, other in zip(*rest, strict=True))
