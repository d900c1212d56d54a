"""The judge: Gymnasium's vectorized cart-pole, from our start states, first episodes only."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from torch import Tensor

from cartpole_cli.actions import FORCE, PUSHES, Discrete
from cartpole_cli.environments.interface import Transition
from cartpole_cli.environments.judge import GymnasiumCartPole
from cartpole_cli.environments.registration import ContinuousCartPoleEnv
from cartpole_cli.randomness import Streams

pytestmark = pytest.mark.shapes

KINDS = pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
SPECIAL_FORCES = torch.tensor([0.0, 1.0, -1.0, 10.0, -10.0, 25.0, -25.0, 1e-3])


def _judge(num_envs: int, *, seeds: Sequence[int] = (0,), name: str = "selection", **options: Any) -> GymnasiumCartPole:
    defaults: dict[str, Any] = {"actions": PUSHES, "max_episode_steps": 500}
    return GymnasiumCartPole(Streams(seeds).named(name), num_envs, **defaults | options)


def _act(observation: Tensor, noise: Tensor, *, continuous: bool) -> Tensor:
    """Newtons or pushes of a feedback under noise: the more noise, the sooner the pole falls."""
    x, x_dot, theta, theta_dot = observation.unbind(dim=-1)
    force = x + 2.0 * x_dot + 30.0 * theta + 6.0 * theta_dot + noise
    return force.unsqueeze(-1) if continuous else (force > 0).long()


def _noise(num_steps: int, num_seeds: int, num_envs: int) -> Tensor:
    """[T, S, N]: none in the first environment, ever more in the others."""
    noise = torch.randn(num_steps, 1, num_envs, generator=torch.Generator().manual_seed(0))
    return (noise * 12.0 * torch.arange(num_envs)).expand(-1, num_seeds, -1)


@KINDS
def test_an_episode_is_gymnasiums_environment_stepped_alone(continuous: bool) -> None:
    num_envs, limit = 8, 200
    judge = _judge(num_envs, actions=FORCE if continuous else PUSHES, max_episode_steps=limit)
    assert judge.max_episode_steps == limit
    alone: list[Any] = [ContinuousCartPoleEnv() if continuous else CartPoleEnv() for _ in range(num_envs)]
    for index, environment in enumerate(alone):
        environment.reset(seed=0)
        environment.state = judge._environment.state[:, index].copy()
        np.testing.assert_array_equal(judge.observation[0, index].numpy(), environment.state.astype(np.float32))
    returns, expected = np.zeros(num_envs), np.zeros(num_envs)
    terminated, over = np.zeros(num_envs, dtype=bool), np.zeros(num_envs, dtype=bool)
    for step, noise in enumerate(_noise(limit, 1, num_envs)):
        action = _act(judge.observation, noise, continuous=continuous)
        transition = judge.step(action)
        assert transition.valid[0].tolist() == (~over).tolist()
        returns += (transition.reward * transition.valid)[0].numpy()
        for index in np.flatnonzero(~over):
            theirs = action[0, index].numpy() if continuous else int(action[0, index])
            state, reward, fell, _, _ = alone[index].step(theirs)
            expected[index] += reward
            terminated[index] = fell
            np.testing.assert_allclose(transition.next_observation[0, index].numpy(), state, rtol=0, atol=1e-6)
            assert bool(transition.terminated[0, index]) == fell
            assert bool(transition.truncated[0, index]) == (step + 1 == limit and not fell)
            over[index] = fell or step + 1 == limit
    assert over.all()
    assert returns.tolist() == expected.tolist()
    assert not terminated[0], "the feedback balances without noise"
    assert terminated[1:].any()
    assert len(set(returns)) > 2


def test_forces_are_applied_in_newtons_and_clipped_to_the_range() -> None:
    judge = _judge(len(SPECIAL_FORCES), actions=FORCE)
    assert judge.actions == FORCE
    starts = judge._environment.state.T.copy()
    successor = judge.step(SPECIAL_FORCES[None, :, None]).next_observation[0].numpy()
    for index, force in enumerate(SPECIAL_FORCES.clamp(-10, 10).numpy()):
        environment: Any = CartPoleEnv()
        environment.state, environment.force_mag = starts[index], float(force)
        environment.step(1)
        np.testing.assert_allclose(successor[index], environment.state, rtol=0, atol=1e-7)


def test_discrete_actions_push_left_and_right() -> None:
    judge = _judge(2)
    assert judge.actions == Discrete(2)
    successor = judge.step(torch.tensor([[0, 1]])).next_observation[0]
    assert successor[0, 1] < -0.1
    assert successor[1, 1] > 0.1


def test_termination_wins_where_both_hold() -> None:
    judge = _judge(50, max_episode_steps=9)  # pushed to one side, a pole falls after 8 to 10 steps
    for _ in range(9):
        transition = judge.step(torch.ones(1, 50, dtype=torch.int64))
    fell = (transition.next_observation[..., 2].abs() > 12 * 2 * np.pi / 360) & transition.valid
    assert fell.any()
    assert torch.equal(transition.terminated & transition.valid, fell)
    assert transition.truncated[~fell & transition.valid].all()
    assert not (transition.terminated & transition.truncated).any()


def test_only_first_episodes_are_valid() -> None:
    judge = _judge(4, seeds=(0, 1))
    valid = torch.stack([judge.step(torch.ones(2, 4, dtype=torch.int64)).valid for _ in range(60)])
    lengths = valid.sum(dim=0)
    assert (lengths >= 8).all()
    assert (lengths <= 10).all()
    assert torch.equal(valid, torch.arange(60)[:, None, None] < lengths)


def test_reset_starts_the_same_episodes_again() -> None:
    judge = _judge(3)
    start = judge.observation
    first = [judge.step(torch.ones(1, 3, dtype=torch.int64)) for _ in range(15)]
    judge.reset()
    assert torch.equal(judge.observation, start)
    for before, after in zip(first, [judge.step(torch.ones(1, 3, dtype=torch.int64)) for _ in range(15)], strict=True):
        rows = before.valid
        assert torch.equal(rows, after.valid)
        assert torch.equal(before.next_observation[rows], after.next_observation[rows])


def test_start_states_fill_the_range_and_differ_by_set_seed_and_environment() -> None:
    starts = [_judge(300, seeds=(0, 1), name=name).observation for name in ("selection", "confirmation/3", "final")]
    for start in starts:
        assert start.abs().max() <= 0.05
        assert start.min() < -0.049
        assert start.max() > 0.049
    rows = torch.cat([start.reshape(-1, 4) for start in starts])
    assert len({tuple(row) for row in rows.tolist()}) == 3 * 2 * 300


@KINDS
@pytest.mark.parametrize("num_envs", [5, 16])
def test_a_seed_beside_others_is_its_solo_judge_bit_for_bit(num_envs: int, continuous: bool) -> None:
    actions = FORCE if continuous else PUSHES
    together = _judge(num_envs, seeds=(3, 4, 5), actions=actions)
    alone = _judge(num_envs, seeds=(4,), actions=actions)
    for noise in _noise(200, 3, num_envs):
        study = together.step(_act(together.observation, noise, continuous=continuous))
        solo = alone.step(_act(alone.observation, noise[1:2], continuous=continuous))
        rows = solo.valid
        assert torch.equal(study.valid[1:2], rows)
        for field in Transition.__dataclass_fields__:
            assert torch.equal(getattr(study, field)[1:2][rows], getattr(solo, field)[rows])
    assert rows.any(), "some episodes must still go on"
    assert not rows.all(), "some episodes must have ended"


def test_a_force_that_is_no_number_ends_the_episode():
    judge = _judge(2, actions=FORCE)
    transition = judge.step(torch.tensor([[[float("nan")], [1.0]]]))
    assert transition.terminated.tolist() == [[True, False]]


@KINDS
def test_the_returns_of_first_episodes_are_those_of_the_steps(continuous: bool) -> None:
    noise = _noise(300, 2, 8)
    stepped, at_once = (
        _judge(8, seeds=(3, 4), actions=FORCE if continuous else PUSHES, max_episode_steps=300) for _ in range(2)
    )
    returns, steps = torch.zeros(2, 8, dtype=torch.float64), iter(noise)
    for step in noise:
        transition = stepped.step(_act(stepped.observation, step, continuous=continuous))
        returns += transition.reward * transition.valid
    assert torch.equal(at_once.returns_of(lambda seen: _act(seen, next(steps), continuous=continuous)), returns)
    assert len(returns.unique()) > 2
    assert torch.equal(at_once.force, stepped.force)


def test_a_force_that_is_no_number_ends_what_it_returns():
    judge = _judge(2, actions=FORCE, max_episode_steps=9)
    assert judge.returns_of(lambda _: torch.tensor([[[float("nan")], [1.0]]])).tolist() == [[1.0, 9.0]]


def test_an_action_beyond_the_second_pushes_to_the_right():
    """A checkpoint of another task must cost a score, not a traceback."""
    third, second = (_judge(3).returns_of(lambda _, a=action: torch.full((1, 3), a)) for action in (2, 1))
    assert torch.equal(third, second)
