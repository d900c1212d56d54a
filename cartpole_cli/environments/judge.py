"""Gymnasium's own cart-poles as judges of a policy: independent of the simulator it was trained on."""

from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from jaxtyping import Float
from torch import Tensor

from cartpole_cli.actions import MAX_FORCE, Actions, Continuous
from cartpole_cli.environments.gymnasium_masked import MaskedResets
from cartpole_cli.environments.interface import Transition
from cartpole_cli.environments.physics import Physics
from cartpole_cli.randomness import Streams
from cartpole_cli.tasks import PHYSICS, RAIL, START_RANGE


def _newtons(action: Tensor, actions: Actions) -> Float[Tensor, "S N"]:
    """The force on the cart that an action asks for, positive to the right."""
    given = action.cpu().double().flatten(1)
    if isinstance(actions, Continuous):
        return given.clamp(actions.low[0], actions.high[0])
    return (2 * given - 1) * MAX_FORCE


class GymnasiumCartPole:
    """CartPole-v1 (or its continuous form) for S x N episodes, computed by `CartPoleVectorEnv` in float64.

    Start states come from our streams and are set. A force F is applied as `force_mag = |F|` with the action its
    sign. Rows after an episode's first end are not valid: only first episodes are judged, so that short ones are not
    favoured.
    """

    observation_size = 4

    def __init__(self, streams: Streams, num_envs: int, actions: Actions, *, max_episode_steps: int) -> None:
        self.streams, self.actions = streams, actions
        self.num_seeds, self.num_envs = len(streams.seeds), num_envs
        self.max_episode_steps = max_episode_steps
        self._environment: Any = CartPoleVectorEnv(
            num_envs=self.num_seeds * num_envs, max_episode_steps=max_episode_steps
        )
        self.position_limit = float(self._environment.x_threshold)
        self.physics = Physics.constant(PHYSICS, self.num_seeds, num_envs, dtype=torch.float64)
        self.force, self.seconds = torch.zeros_like(self.physics.time_step), self.physics.time_step
        self.reset()

    @property
    def reached(self) -> Float[Tensor, "S N 4"]:
        return self.observation

    def reset(self) -> None:
        starts = self.streams.uniform("starts", shape=(self.num_envs, 4)).cpu().double()
        states = ((starts * 2 - 1) * START_RANGE).flatten(0, 1)
        self._environment.reset(seed=0)
        self._environment.state = states.T.contiguous().numpy()
        self._over = np.zeros(self.num_seeds * self.num_envs, dtype=bool)
        self.observation: Float[Tensor, "S N 4"] = self._tensor(states.float().numpy())

    def step(self, action: Tensor) -> Transition:
        observation, valid = self.observation, ~self._over
        self.force = _newtons(action, self.actions)
        force = self.force.flatten().numpy()
        self._environment.force_mag = np.abs(force)
        state, reward, terminated, truncated, _ = self._environment.step((force > 0).astype(np.int64))
        terminated = terminated | ~np.isfinite(state).all(axis=1)  # a force that is no number holds no pole up
        self._over = self._over | terminated | truncated
        self.observation = self._tensor(state)
        return Transition(
            observation=observation,
            reward=self._tensor(reward),
            next_observation=self.observation,
            terminated=self._tensor(terminated),
            truncated=self._tensor(truncated & ~terminated),
            valid=self._tensor(valid),
        )

    def _tensor(self, array: "np.ndarray[tuple[int, ...], np.dtype[np.generic]]") -> Tensor:
        tensor = torch.from_numpy(array).to(self.streams.device)
        return tensor.view(self.num_seeds, self.num_envs, *array.shape[1:])

    def close(self) -> None:
        self._environment.close()


class GymnasiumSwingUp(MaskedResets):
    """Our swing-up environments as Gymnasium makes them, which also tell how the carts were pushed."""

    def __init__(self, environment_id: str, streams: Streams, num_envs: int, *, max_episode_steps: int | None) -> None:
        super().__init__(environment_id, "sync", streams, num_envs, max_episode_steps=max_episode_steps)
        self.position_limit = RAIL
        self.physics = Physics.constant(PHYSICS, self.num_seeds, num_envs, dtype=torch.float64)
        self.force, self.seconds = torch.zeros_like(self.physics.time_step), self.physics.time_step
        self.reached = self.observation

    def step(self, action: Tensor) -> Transition:
        self.force = _newtons(action, self.actions)
        transition = super().step(action)
        self.reached = transition.next_observation
        return transition
