"""Gymnasium's own cart-poles as judges of a policy: independent of the simulator it was trained on."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cartpole_cli.actions import MAX_FORCE, Actions, Continuous, Discrete
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


class _AnyAction:
    """Takes the place of an action space that is asked at each step, for a fifth of its time."""

    def contains(self, _action: NDArray[np.int64]) -> bool:
        return True


class GymnasiumCartPole:
    """CartPole-v1 (or its continuous form) for S x N episodes, computed by `CartPoleVectorEnv` in float64.

    Start states come from our streams and are set. A force F is applied as `force_mag = |F|` with the action its
    sign. Rows after an episode's first end are not valid: only first episodes are judged, so that short ones are not
    favoured.
    """

    observation_size = 4

    def __init__(self, streams: Streams, num_envs: int, actions: Actions, *, max_episode_steps: int) -> None:
        self.streams, self.actions, self._device = streams, actions, streams.device
        self.num_seeds, self.num_envs = len(streams.seeds), num_envs
        self.max_episode_steps = max_episode_steps
        self._environment: Any = CartPoleVectorEnv(
            num_envs=self.num_seeds * num_envs, max_episode_steps=max_episode_steps
        )
        self.position_limit = float(self._environment.x_threshold)
        self.physics = Physics.constant(PHYSICS, self.num_seeds, num_envs, dtype=torch.float64)
        self.seconds = self.physics.time_step
        self._environment.force_mag = MAX_FORCE
        self._environment.action_space = _AnyAction()  # type: ignore[assignment]  # zeros and ones are given
        self.reset()

    @property
    def reached(self) -> Float[Tensor, "S N 4"]:
        return self.observation

    def reset(self) -> None:
        starts = self.streams.uniform("starts", shape=(self.num_envs, 4)).cpu().double()
        states = ((starts * 2 - 1) * START_RANGE).flatten(0, 1)
        self._environment.reset(seed=0)
        self._environment.state = states.T.contiguous().numpy()
        self._action: Tensor | None = None
        self._over = np.zeros(self.num_seeds * self.num_envs, dtype=bool)
        self.observation: Float[Tensor, "S N 4"] = self._tensor(states.float().numpy())

    def step(self, action: Tensor) -> Transition:
        observation, valid = self.observation, ~self._over
        reward, terminated, truncated = self._advance(action)
        self._over = self._over | terminated | truncated
        return Transition(
            observation=observation,
            reward=self._tensor(reward),
            next_observation=self.observation,
            terminated=self._tensor(terminated),
            truncated=self._tensor(truncated & ~terminated),
            valid=self._tensor(valid),
        )

    def returns_of(self, act: Callable[[Tensor], Tensor]) -> Float[Tensor, "S N"]:
        """The returns of the first episodes: `step` until all are over, without a transition's tensors."""
        total = np.zeros(self.num_seeds * self.num_envs)
        while not self._over.all():
            reward, terminated, truncated = self._advance(act(self.observation))
            total += np.where(self._over, 0.0, reward)
            self._over = self._over | terminated | truncated
        return torch.from_numpy(total).view(self.num_seeds, self.num_envs)

    def _advance(self, action: Tensor) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_]]:
        """One step of every environment: its reward, and whether it terminated or was truncated."""
        self._action = action
        if isinstance(self.actions, Discrete):
            pushes = action.cpu().numpy().reshape(-1) > 0  # also of a policy with more actions
            state, reward, terminated, truncated, _ = self._environment.step(pushes.astype(np.int64))
        else:
            newtons = self.force.flatten().numpy()
            self._environment.force_mag = np.abs(newtons)
            state, reward, terminated, truncated, _ = self._environment.step((newtons > 0).astype(np.int64))
            terminated = terminated | np.isnan(newtons)  # a force that is no number holds no pole up
        self.observation = self._tensor(state)
        return reward, terminated, truncated

    @property
    def force(self) -> Float[Tensor, "S N"]:
        """What acted on the carts in the last step, N; before it 0."""
        return torch.zeros_like(self.seconds) if self._action is None else _newtons(self._action, self.actions)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        shaped = array.reshape(self.num_seeds, self.num_envs, *array.shape[1:])
        return torch.from_numpy(shaped).to(self._device)

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
