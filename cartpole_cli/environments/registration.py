"""Our environments for Gymnasium users, registered when `cartpole_cli.environments` is imported (no torch here).

gymnasium.make("cartpole_cli.environments:cartpole_cli/ContinuousCartPole-v1")
gymnasium.make("cartpole_cli.environments:cartpole_cli/CartPoleSwingUp-v1")
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from gymnasium.spaces import Box

from cartpole_cli.actions import MAX_FORCE
from cartpole_cli.environments.swing_up import CALM, HANGING_SHARE, OFF_CENTER, POSITION_LIMIT

CONTINUOUS_CART_POLE = "cartpole_cli/ContinuousCartPole-v1"
SWING_UP = "cartpole_cli/CartPoleSwingUp-v1"
CONTINUOUS_SWING_UP = "cartpole_cli/ContinuousCartPoleSwingUp-v1"
HANGING = (0.0, 0.0, np.pi, 0.0)

StepResult = tuple[Any, float, bool, bool, dict[str, Any]]


class ContinuousCartPoleEnv(CartPoleEnv):
    """CartPole with any force from -10 to 10 N as its action: a float32 array of shape (1,), in newtons.

    Everything else, rendering included, is Gymnasium's CartPole.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.action_space = Box(-MAX_FORCE, MAX_FORCE, (1,), np.float32)

    def step(self, action: Any) -> StepResult:
        """Push with the given force; one beyond the range is clipped to it."""
        clipped = np.clip(np.asarray(action, dtype=np.float32), -MAX_FORCE, MAX_FORCE)
        force = float(clipped[0])
        # CartPoleEnv pushes by +force_mag if the action equals 1, else by -force_mag.
        self.force_mag = force if force == 1.0 else -force
        # Gymnasium leaves this method without types.
        result: StepResult = super().step(clipped)  # type: ignore[no-untyped-call]
        return result


class CartPoleSwingUpEnv(CartPoleEnv):
    """CartPole whose pole hangs at first, within +-0.05, and may turn all the way; a rail of 5 m to either side.

    `swing_up.py` has the reward; leaving the rail ends the episode.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.x_threshold, self.theta_threshold_radians = POSITION_LIMIT, np.inf
        highest = np.array([2 * POSITION_LIMIT, np.inf, np.inf, np.inf], dtype=np.float32)
        self.observation_space = Box(-highest, highest, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start anew; options `low` and `high` bound the start around the hanging pole."""
        super().reset(seed=seed, options=options)
        assert self.state is not None
        self.state = np.add(self.state, HANGING)
        if self.render_mode == "human":
            self.render()  # type: ignore[no-untyped-call]
        return np.array(self.state, dtype=np.float32), {}

    def step(self, action: Any) -> StepResult:
        """Act as in CartPole."""
        observation, _, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]
        return observation, self._reward(), terminated, truncated, info

    def _reward(self) -> float:
        assert self.state is not None
        x, _, theta, theta_dot = self.state
        cos = np.cos(theta)
        upright = HANGING_SHARE + (1 - HANGING_SHARE) * 0.5 * (1 + cos)
        centered = 1 - OFF_CENTER * (x / POSITION_LIMIT) ** 2
        return float(upright * centered - CALM * max(cos, 0.0) * theta_dot**2)


class ContinuousCartPoleSwingUpEnv(CartPoleSwingUpEnv, ContinuousCartPoleEnv):
    """Swing-up by any force from -10 to 10 N, as in ContinuousCartPole."""


def register() -> None:
    """Tell Gymnasium about our environments."""
    module = "cartpole_cli.environments.registration"
    gymnasium.register(
        id=CONTINUOUS_CART_POLE,
        entry_point=f"{module}:ContinuousCartPoleEnv",
        max_episode_steps=500,
        reward_threshold=475.0,
    )
    gymnasium.register(id=SWING_UP, entry_point=f"{module}:CartPoleSwingUpEnv", max_episode_steps=500)
    gymnasium.register(
        id=CONTINUOUS_SWING_UP, entry_point=f"{module}:ContinuousCartPoleSwingUpEnv", max_episode_steps=500
    )
