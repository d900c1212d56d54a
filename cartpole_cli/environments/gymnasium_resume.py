"""How Gymnasium environments are put back into the middle of their episodes.

Gymnasium offers no way to. `CartPoleVectorEnv` keeps its state in attributes, which are saved and set. Of any other
environment an episode depends on its seed and its actions alone, so these are kept, and played again.
"""

from collections import deque
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from numpy.typing import NDArray
from torch import Tensor

SAVED_ARRAYS = ("state", "steps", "prev_done")


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


def save_vector_environment(environment: VectorEnv[Any, Any, Any]) -> dict[str, Any] | None:
    """The state of a CartPoleVectorEnv, of which it is all; None of any other environment."""
    inner: Any = environment.unwrapped
    if not all(hasattr(inner, name) for name in SAVED_ARRAYS):
        return None
    arrays = {name: torch.from_numpy(np.array(getattr(inner, name))) for name in SAVED_ARRAYS}
    return {"arrays": arrays, "generator": inner.np_random.bit_generator.state}


def load_vector_environment(environment: VectorEnv[Any, Any, Any], saved: dict[str, Any]) -> None:
    """Put a CartPoleVectorEnv back to where it was saved."""
    inner: Any = environment.unwrapped
    arrays: dict[str, Tensor] = saved["arrays"]
    for name, value in arrays.items():
        setattr(inner, name, value.numpy().copy())
    inner.np_random.bit_generator.state = saved["generator"]
