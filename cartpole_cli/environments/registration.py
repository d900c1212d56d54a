"""Our environments for Gymnasium users, registered when `cartpole_cli.environments` is imported (no torch here).

gymnasium.make("cartpole_cli.environments:cartpole_cli/ContinuousCartPole-v1")
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box

CONTINUOUS_CART_POLE = "cartpole_cli/ContinuousCartPole-v1"
MAX_FORCE = 10.0


class ContinuousCartPoleEnv(CartPoleEnv):
    """CartPole with any force from -10 to 10 N as its action: a float32 array of shape (1,), in newtons.

    Everything else, rendering included, is Gymnasium's CartPole.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.action_space = Box(-MAX_FORCE, MAX_FORCE, (1,), np.float32)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Push with the given force; one beyond the range is clipped to it."""
        clipped = np.clip(np.asarray(action, dtype=np.float32), -MAX_FORCE, MAX_FORCE)
        force = float(clipped[0])
        # CartPoleEnv pushes by +force_mag if the action equals 1, else by -force_mag.
        self.force_mag = force if force == 1.0 else -force
        # Gymnasium leaves this method without types.
        result: tuple[Any, float, bool, bool, dict[str, Any]] = super().step(clipped)  # type: ignore[no-untyped-call]
        return result


def register() -> None:
    """Tell Gymnasium about our environments."""
    gymnasium.register(
        id=CONTINUOUS_CART_POLE,
        entry_point="cartpole_cli.environments.registration:ContinuousCartPoleEnv",
        max_episode_steps=500,
        reward_threshold=475.0,
    )
