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
from cartpole_cli.tasks import MAX_EPISODE_STEPS, RAIL, TASKS, TaskId, swing_up_reward

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
        result: StepResult = super().step(clipped)  # type: ignore[no-untyped-call]  # Gymnasium's has no types
        return result


class CartPoleSwingUpEnv(CartPoleEnv):
    """CartPole whose pole hangs at first, within +-0.05, and may turn all the way; a rail of 5 m to either side.

    The reward is `swing_up_reward`; leaving the rail ends the episode.
    """

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.x_threshold, self.theta_threshold_radians = RAIL, np.inf
        highest = np.array([2 * RAIL, np.inf, np.inf, np.inf], dtype=np.float32)
        self.observation_space = Box(-highest, highest, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start anew; options `low` and `high` bound the start around the hanging pole."""
        super().reset(seed=seed, options=options)
        assert self.state is not None
        self.state = np.add(self.state, HANGING)
        if self.render_mode == "human":
            self.render()  # type: ignore[no-untyped-call]  # Gymnasium's has no types
        return np.array(self.state, dtype=np.float32), {}

    def step(self, action: Any) -> StepResult:
        """Act as in CartPole."""
        observation, _, terminated, truncated, info = super().step(action)  # type: ignore[no-untyped-call]  # Gymnasium's has no types
        return observation, self._reward(), terminated, truncated, info

    def _reward(self) -> float:
        assert self.state is not None
        x, _, theta, theta_dot = self.state
        return float(swing_up_reward(x, np.cos(theta), theta_dot, RAIL))


class ContinuousCartPoleSwingUpEnv(CartPoleSwingUpEnv, ContinuousCartPoleEnv):
    """Swing-up by any force from -10 to 10 N, as in ContinuousCartPole."""


ENVIRONMENTS: dict[TaskId, type[CartPoleEnv]] = {
    "ContinuousCartPole-v1": ContinuousCartPoleEnv,
    "CartPoleSwingUp-v1": CartPoleSwingUpEnv,
    "ContinuousCartPoleSwingUp-v1": ContinuousCartPoleSwingUpEnv,
}


def register() -> None:
    """Tell Gymnasium about our environments."""
    for name, environment in ENVIRONMENTS.items():
        task = TASKS[name]
        gymnasium.register(
            id=task.gymnasium_id,
            entry_point=f"{environment.__module__}:{environment.__name__}",
            max_episode_steps=MAX_EPISODE_STEPS,
            reward_threshold=475.0 if task.counts_steps else None,
        )
