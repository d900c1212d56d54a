"""Gymnasium environments whose autoreset is disabled (`sync`, `async`): those that ended are reset by mask.

Each episode has a seed of its own, so it depends on nothing that happened before it. Gymnasium offers no way to put an
environment into the middle of an episode, so the seed and the actions are kept, and played again.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cartpole_cli.environments.gymnasium_adapter import GymnasiumAdapter
from cartpole_cli.environments.interface import Transition, check_divides


class MaskedResets(GymnasiumAdapter):
    """Every row is a transition; an environment that ended observes its next episode's start at once."""

    def reset(self, group_size: int = 1) -> None:
        check_divides(self.num_envs, group_size)
        self.num_resets += 1
        self.num_episodes = np.zeros((self.num_seeds, self.num_envs), dtype=np.int64)
        self._logs = [EpisodeLog(self.num_envs, self.max_episode_steps) for _ in self._environments]
        everywhere = np.ones(self.num_envs, dtype=bool)
        starts = [
            environment.reset(seed=self._begin(index, everywhere, group_size))[0]
            for index, environment in enumerate(self._environments)
        ]
        self.observation = self._observations(starts)

    def step(self, action: Tensor) -> Transition:
        actions = self._actions_of(action)
        for log, row in zip(self._logs, actions, strict=True):
            log.act(row)
        transition = self._transition(actions, self._tensor(np.ones((self.num_seeds, self.num_envs), dtype=bool)))
        ended = (transition.terminated | transition.truncated).cpu().numpy()
        self.observation = self._reset_where(ended, transition.next_observation)
        return transition

    def _reset_where(self, ended: NDArray[np.bool_], observation: Float[Tensor, "S N O"]) -> Float[Tensor, "S N O"]:
        fresh = observation.clone()
        for index in np.flatnonzero(ended.any(axis=1)).tolist():
            seeds, mask = self._begin(index, ended[index]), ended[index].copy()
            after = self._environments[index].reset(seed=seeds, options={"reset_mask": mask})[0]
            fresh[index] = self._observations([after])[0]
        return fresh

    def _begin(self, index: int, mask: NDArray[np.bool_], group_size: int = 1) -> Any:
        """Begin episodes where `mask` holds; their seeds, keyed by (resets, environment, episodes since).

        A group has its first member's seed, so all that the environment draws is the same within it.
        Counting anew after each reset keeps a seed's episodes apart from how long other seeds went on before it.
        """
        seeds = [
            self._seed(index, "episode", self.num_resets, env // group_size * group_size, int(episode))
            for env, episode in enumerate(self.num_episodes[index])
        ]
        self._logs[index].begin(seeds, mask)
        self.num_episodes[index] += mask
        return seeds

    @property
    def episode_seeds(self) -> list[list[int]]:
        """What each environment of each seed was reset with for its episode under way."""
        return [list(log.seeds) for log in self._logs]

    def keep_seeds(self, indices: Sequence[int]) -> None:
        super().keep_seeds(indices)
        self._logs = [self._logs[index] for index in indices]
        self.num_episodes = self.num_episodes[list(indices)]

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_resets": self.num_resets,
            "num_episodes": torch.from_numpy(self.num_episodes.copy()),
            "observation": self.observation,
            "environments": [log.state_dict() for log in self._logs],
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on in the same episodes; one that leads elsewhere when it is played again makes room for a new one."""
        self.num_resets, self.num_episodes = state["num_resets"], state["num_episodes"].numpy().copy()
        for log, saved in zip(self._logs, state["environments"], strict=True):
            log.load_state_dict(saved)
        pairs = zip(self._logs, self._environments, strict=True)
        replayed = self._observations([log.replay(environment) for log, environment in pairs])
        lost = (replayed != state["observation"].to(self.streams.device)).any(dim=2).cpu().numpy()
        self.observation = self._reset_where(lost, replayed)
        return not lost.any()


class EpisodeLog:
    """The seed of each environment's current episode, and its actions so far.

    Args:
        num_envs: environments of one seed.
        max_episode_steps: no episode has more actions than that.
    """

    def __init__(self, num_envs: int, max_episode_steps: int) -> None:
        self._actions: deque[NDArray[Any]] = deque(maxlen=max_episode_steps)
        self.age: NDArray[np.int64] = np.zeros(num_envs, dtype=np.int64)
        self.seeds: list[int] = [0] * num_envs

    def begin(self, seeds: list[int], mask: NDArray[np.bool_]) -> None:
        """New episodes where `mask` holds."""
        self.age[mask] = 0
        self.seeds = [new if begins else old for new, old, begins in zip(seeds, self.seeds, mask, strict=True)]

    def act(self, actions: NDArray[Any]) -> None:
        self._actions.append(actions)
        self.age += 1

    def state_dict(self) -> dict[str, Any]:
        actions = list(self._actions)[len(self._actions) - int(self.age.max()) :]
        stacked = torch.from_numpy(np.stack(actions)) if actions else None
        return {"actions": stacked, "age": torch.from_numpy(self.age.copy()), "seeds": list(self.seeds)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._actions.clear()
        self._actions.extend(() if state["actions"] is None else state["actions"].numpy())
        self.age = state["age"].numpy().copy()
        self.seeds = list(state["seeds"])

    def replay(self, environment: VectorEnv[Any, Any, Any]) -> NDArray[Any]:
        """Play the episodes again, the longest from the beginning, others so that all end now; the observation."""
        seeds: Any = self.seeds
        longest = int(self.age.max())
        observation = np.array(environment.reset(seed=seeds)[0])
        ended = np.zeros(len(self.age), dtype=bool)
        for t, actions in enumerate([*list(self._actions)[len(self._actions) - longest :], None]):
            begins = self.age == longest - t
            mask = begins | ended  # what has not begun yet only passes the time, and may end
            if t and mask.any():
                observation = np.array(environment.reset(seed=seeds, options={"reset_mask": mask.copy()})[0])
            if actions is not None:
                stepped, _, terminated, truncated, _ = environment.step(actions)
                observation, ended = np.array(stepped), terminated | truncated
        return observation
