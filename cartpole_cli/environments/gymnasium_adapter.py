"""Any Gymnasium environment with a Box observation and a Discrete or Box action, S seeds of N environments.

`sync` and `async` run with autoreset disabled: an environment that ended is reset by mask, with a seed of its own
episode, so that an episode depends on nothing that happened before it. `vector_entry_point` (CartPoleVectorEnv)
knows next-step autoreset only: the row after an end is a reset, ignores its action and is not valid.
"""

import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cartpole_cli.actions import Actions, Continuous, Discrete
from cartpole_cli.environments.gymnasium_resume import EpisodeLog, load_vector_environment, save_vector_environment
from cartpole_cli.environments.interface import Transition, check_divides
from cartpole_cli.environments.registered import registered_id
from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.randomness import Streams

Vectorization = Literal["sync", "async", "vector_entry_point"]


class GymnasiumAdapter:
    """S Gymnasium vector environments, stepped in turn.

    Raises:
        CartpoleError: Gymnasium cannot make the environment, or its spaces are of another kind.
    """

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
        self._next_step_reset = vectorization == "vector_entry_point"
        self._environments = [_make(environment_id, vectorization, num_envs, max_episode_steps) for _ in streams.seeds]
        first = self._environments[0]
        self.actions = _actions(environment_id, first)
        self.observation_size = _observation_size(environment_id, first)
        self.max_episode_steps = _episode_limit(environment_id, first, max_episode_steps)
        self.num_episodes = np.zeros((self.num_seeds, num_envs), dtype=np.int64)
        self._over = np.zeros((self.num_seeds, num_envs), dtype=bool)
        self._logs = [EpisodeLog(num_envs, self.max_episode_steps) for _ in streams.seeds]
        self.num_resets = 0
        self.reset()

    def reset(self, group_size: int = 1) -> None:
        check_divides(self.num_envs, group_size)
        if self._next_step_reset and group_size > 1:
            raise ValueError("vector_entry_point has one seed for all environments: it cannot start groups")
        self.num_resets += 1
        self.num_episodes[:] = 0
        observations = []
        for index, environment in enumerate(self._environments):
            seeds: Any = self._episode_seeds(index, group_size)
            alone = self.streams.integer(index, "reset", self.num_resets) % 2**63
            observations.append(environment.reset(seed=alone if self._next_step_reset else seeds)[0])
            self._logs[index].begin(seeds, np.ones(self.num_envs, dtype=bool))
            self.num_episodes[index] += 1
        self._over[:] = False
        self.observation: Float[Tensor, "S N O"] = self._observations(observations)

    def step(self, action: Tensor) -> Transition:
        observation, valid = self.observation, self._tensor(~self._over)
        steps = [
            self._step(index, row.astype(self._environments[index].single_action_space.dtype))
            for index, row in enumerate(action.cpu().numpy())
        ]
        next_observation = self._observations([step[0] for step in steps])
        terminated = np.stack([step[2] for step in steps])
        truncated = np.stack([step[3] for step in steps]) & ~terminated
        ended = terminated | truncated
        if self._next_step_reset:
            self._over = ended
            self.observation = next_observation
        else:
            self.observation = self._reset_ended(ended, next_observation)
        return Transition(
            observation=observation,
            reward=self._tensor(np.stack([step[1] for step in steps]).astype(np.float32)),
            next_observation=next_observation,
            terminated=self._tensor(terminated),
            truncated=self._tensor(truncated),
            valid=valid,
        )

    def _step(self, index: int, actions: NDArray[Any]) -> Any:
        if not self._next_step_reset:
            self._logs[index].act(actions)
        return self._environments[index].step(actions)

    def _reset_ended(self, ended: NDArray[np.bool_], observation: Float[Tensor, "S N O"]) -> Float[Tensor, "S N O"]:
        if not ended.any():
            return observation
        fresh = observation.clone()
        for index, environment in enumerate(self._environments):
            if ended[index].any():
                seeds: Any = self._episode_seeds(index)
                self._logs[index].begin(seeds, ended[index])
                after = environment.reset(seed=seeds, options={"reset_mask": ended[index].copy()})[0]
                fresh[index] = self._observations([after])[0]
                self.num_episodes[index] += ended[index]
        return fresh

    def _episode_seeds(self, index: int, group_size: int = 1) -> list[int]:
        """A seed for the next episode of each environment of a seed, keyed by (resets, environment, episodes since).

        A group has its first member's seed, so all that the environment draws is the same within it.
        Counting anew after each reset keeps a seed's episodes apart from how long other seeds went on before it.
        """
        return [
            self.streams.integer(index, "episode", self.num_resets, env // group_size * group_size, int(episode))
            % 2**63
            for env, episode in enumerate(self.num_episodes[index])
        ]

    def _observations(self, rows: list[Any]) -> Float[Tensor, "S N O"]:
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
        self._logs = [self._logs[index] for index in kept]
        self.num_episodes, self._over = self.num_episodes[kept], self._over[kept]
        self.observation = self.observation[kept]

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_resets": self.num_resets,
            "num_episodes": torch.from_numpy(self.num_episodes.copy()),
            "over": torch.from_numpy(self._over.copy()),
            "observation": self.observation,
            "environments": [
                save_vector_environment(environment) if self._next_step_reset else log.state_dict()
                for environment, log in zip(self._environments, self._logs, strict=True)
            ],
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on in the same episodes; one that leads elsewhere when it is played again makes room for a new one."""
        self.num_resets = state["num_resets"]
        if None in state["environments"]:
            self.reset()
            return False
        self.observation = self._put_back(state["environments"]).to(self.streams.device)
        self.num_episodes = state["num_episodes"].numpy().copy()
        self._over = state["over"].numpy().copy()
        lost = (self.observation != state["observation"].to(self.streams.device)).any(dim=2).cpu().numpy()
        if not self._next_step_reset:
            self.observation = self._reset_ended(lost, self.observation)
        return not lost.any()

    def _put_back(self, saved: list[dict[str, Any]]) -> Float[Tensor, "S N O"]:
        observations = []
        for log, environment, state in zip(self._logs, self._environments, saved, strict=True):
            if self._next_step_reset:
                load_vector_environment(environment, state)
                observations.append(state["arrays"]["state"].T.numpy())
            else:
                log.load_state_dict(state)
                observations.append(log.replay(environment))
        return self._observations(observations).cpu()

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
