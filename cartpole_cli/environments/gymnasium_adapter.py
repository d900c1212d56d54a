"""Any Gymnasium environment with a Box observation and a Discrete or Box action, S seeds of N environments.

What both ways of beginning episodes anew share: `gymnasium_masked.py` and `gymnasium_next_step.py` have one each.
"""

import signal
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from cartpole_cli.actions import Actions, Continuous, Discrete
from cartpole_cli.environments.interface import Transition
from cartpole_cli.environments.registered import registered_id
from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.randomness import Streams

Vectorization = Literal["sync", "async", "vector_entry_point"]


class GymnasiumAdapter(ABC):
    """S Gymnasium vector environments, stepped in turn.

    Raises:
        CartpoleError: Gymnasium cannot make the environment, or its spaces are of another kind.
    """

    observation: Float[Tensor, "S N O"]

    def __init__(
        self,
        environment_id: str,
        vectorization: Vectorization,
        streams: Streams,
        num_envs: int,
        *,
        max_episode_steps: int | None = None,
    ) -> None:
        self.streams = streams.named("environment")
        self.num_seeds, self.num_envs = len(streams.seeds), num_envs
        self._environments = [_make(environment_id, vectorization, num_envs, max_episode_steps) for _ in streams.seeds]
        first = self._environments[0]
        self.actions = _actions(environment_id, first)
        self.observation_size = _observation_size(environment_id, first)
        self.max_episode_steps = _episode_limit(environment_id, first, max_episode_steps)
        self.num_resets = 0
        self.reset()

    @abstractmethod
    def reset(self, group_size: int = 1) -> None: ...

    def _seed(self, index: int, stream: str, *counters: int) -> int:
        """A seed as Gymnasium takes them, for seed number `index` of ours."""
        return self.streams.integer(index, stream, *counters) % 2**63

    def _actions_of(self, action: Tensor) -> list[NDArray[Any]]:
        """Each seed's, as its environments take them."""
        dtype = self._environments[0].single_action_space.dtype
        return [row.astype(dtype) for row in action.cpu().numpy()]

    def _transition(self, actions: list[NDArray[Any]], valid: Bool[Tensor, "S N"]) -> Transition:
        """One step of every environment."""
        steps = [environment.step(row) for environment, row in zip(self._environments, actions, strict=True)]
        observations, rewards, terminated, truncated, _ = zip(*steps, strict=True)
        failed = np.stack(terminated)
        return Transition(
            observation=self.observation,
            reward=self._tensor(np.stack(rewards).astype(np.float32)),
            next_observation=self._observations(observations),
            terminated=self._tensor(failed),
            truncated=self._tensor(np.stack(truncated) & ~failed),
            valid=valid,
        )

    def _observations(self, rows: Sequence[Any]) -> Float[Tensor, "S N O"]:
        stacked = np.stack(rows).astype(np.float32)
        return self._tensor(stacked.reshape(len(rows), self.num_envs, -1))

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(self.streams.device)

    def keep_seeds(self, indices: Sequence[int]) -> None:
        kept = list(indices)
        for index, environment in enumerate(self._environments):
            if index not in kept:
                environment.close()
        self.streams, self.num_seeds = self.streams.select(kept), len(kept)
        self._environments = [self._environments[index] for index in kept]
        self.observation = self.observation[kept]

    def close(self) -> None:
        for environment in self._environments:
            environment.close()


def _make(
    environment_id: str, vectorization: Vectorization, num_envs: int, max_episode_steps: int | None
) -> VectorEnv[Any, Any, Any]:
    options: dict[str, Any] = {"vectorization_mode": vectorization}
    if vectorization != "vector_entry_point":
        options["vector_kwargs"] = {"autoreset_mode": AutoresetMode.DISABLED}
    if max_episode_steps is not None:
        options["max_episode_steps"] = max_episode_steps
    try:
        with _interrupts_ignored_by_workers():
            return gymnasium.make_vec(registered_id(environment_id), num_envs=num_envs, **options)
    except Exception as error:  # making it runs other people's code, which raises anything
        raise CartpoleError(
            f"environment.id = {environment_id!r} (vectorization_mode = {vectorization!r}): "
            f"Gymnasium cannot make it: {one_line(error)}"
        ) from error


@contextmanager
def _interrupts_ignored_by_workers() -> Iterator[None]:
    """A terminal's Ctrl-C goes to worker processes too, but stopping is for the training loop to decide."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _actions(environment_id: str, environment: VectorEnv[Any, Any, Any]) -> Actions:
    space = environment.single_action_space
    if isinstance(space, spaces.Discrete) and space.start == 0:
        return Discrete(int(space.n))
    if isinstance(space, spaces.Box) and len(space.shape) == 1 and space.is_bounded():
        return Continuous(tuple(space.low.tolist()), tuple(space.high.tolist()))
    raise CartpoleError(
        f"environment.id = {environment_id!r}: its actions are {space}; "
        "allowed: Discrete from 0, or a bounded one-dimensional Box"
    )


def _observation_size(environment_id: str, environment: VectorEnv[Any, Any, Any]) -> int:
    space = environment.single_observation_space
    if isinstance(space, spaces.Box):
        return int(np.prod(space.shape))
    raise CartpoleError(f"environment.id = {environment_id!r}: its observations are {space}; allowed: Box")


def _episode_limit(environment_id: str, environment: VectorEnv[Any, Any, Any], max_episode_steps: int | None) -> int:
    limit = max_episode_steps or (environment.spec and environment.spec.max_episode_steps)
    if limit:
        return int(limit)
    raise CartpoleError(
        f"environment.id = {environment_id!r} has no time limit of its own: set environment.max_episode_steps"
    )
