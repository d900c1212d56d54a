"""Gymnasium environments with a vector implementation of their own (CartPoleVectorEnv): they know next-step autoreset
only, where the row after an end is a reset, ignores its action and is not valid.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.vector import VectorEnv
from torch import Tensor

from cartpole_cli.environments.gymnasium_adapter import GymnasiumAdapter
from cartpole_cli.environments.interface import Transition, check_divides

SAVED_ARRAYS = ("state", "steps", "prev_done")
"""CartPoleVectorEnv's attributes, all that it goes on from but its generator."""


class NextStepResets(GymnasiumAdapter):
    """One seed for all environments of a vector, so groups cannot start from one state."""

    def reset(self, group_size: int = 1) -> None:
        check_divides(self.num_envs, group_size)
        if group_size > 1:
            raise ValueError("vector_entry_point has one seed for all environments: it cannot start groups")
        self.num_resets += 1
        seeds = (self._seed(index, "reset", self.num_resets) for index in range(self.num_seeds))
        starts = [one.reset(seed=seed)[0] for one, seed in zip(self._environments, seeds, strict=True)]
        self.observation = self._observations(starts)
        self._over = torch.zeros(self.num_seeds, self.num_envs, dtype=torch.bool, device=self.streams.device)

    def step(self, action: Tensor) -> Transition:
        transition = self._transition(self._actions_of(action), ~self._over)
        self._over = transition.terminated | transition.truncated
        self.observation = transition.next_observation
        return transition

    def keep_seeds(self, indices: Sequence[int]) -> None:
        super().keep_seeds(indices)
        self._over = self._over[list(indices)]

    def state_dict(self) -> dict[str, Any]:
        return {
            "num_resets": self.num_resets,
            "over": self._over,
            "observation": self.observation,
            "environments": [_save(environment) for environment in self._environments],
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        """Go on in the same episodes, or begin new ones where they could not be saved."""
        self.num_resets = state["num_resets"]
        if None in state["environments"]:
            self.reset()
            return False
        for environment, saved in zip(self._environments, state["environments"], strict=True):
            _load(environment, saved)
        self._over = state["over"].to(self.streams.device)
        self.observation = state["observation"].to(self.streams.device)
        return True


def _save(environment: VectorEnv[Any, Any, Any]) -> dict[str, Any] | None:
    """The whole state of a CartPoleVectorEnv; None for any other environment."""
    inner: Any = environment.unwrapped
    if not all(hasattr(inner, name) for name in SAVED_ARRAYS):
        return None
    arrays = {name: torch.from_numpy(np.array(getattr(inner, name))) for name in SAVED_ARRAYS}
    return {"arrays": arrays, "generator": inner.np_random.bit_generator.state}


def _load(environment: VectorEnv[Any, Any, Any], saved: dict[str, Any]) -> None:
    """Put a CartPoleVectorEnv back to where it was saved."""
    inner: Any = environment.unwrapped
    arrays: dict[str, Tensor] = saved["arrays"]
    for name, value in arrays.items():
        setattr(inner, name, value.numpy().copy())
    inner.np_random.bit_generator.state = saved["generator"]
