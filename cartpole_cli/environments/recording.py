"""What is needed to draw the first episode of a judge's first environment, noted while it is scored.

A recording is a watcher of `training.evaluation.play`, which calls it after every step.
"""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from jaxtyping import Bool
from numpy.typing import NDArray
from torch import Tensor

from cartpole_cli.environments.gymnasium_masked import MaskedResets
from cartpole_cli.environments.interface import CartPoleEnvironment, Transition, VectorEnvironment
from cartpole_cli.environments.registered import registered_id
from cartpole_cli.errors import CartpoleError, one_line

FRAMES_PER_SECOND = 50.0
"""Of what does not say how long its steps last."""
Picture = NDArray[np.uint8]


class CartPoleRecording:
    """A cart-pole's states, drawn by Gymnasium's CartPole. The rail is as long as the task's."""

    def __init__(self, judge: CartPoleEnvironment) -> None:
        self._judge = judge
        self._half_length = judge.physics.pole_half_length[0, 0].item()
        self.states: list[list[float]] = [judge.reached[0, 0].tolist()]
        self._seconds = 0.0

    def __call__(self, action: Tensor, transition: Transition, running: Bool[Tensor, "S N"]) -> None:
        if running[0, 0]:
            self.states.append(self._judge.reached[0, 0].tolist())
            self._seconds += self._judge.seconds[0, 0].item()

    @property
    def frames_per_second(self) -> float:
        """Pictures in a second of the episode's own time."""
        return (len(self.states) - 1) / self._seconds if self._seconds else FRAMES_PER_SECOND

    def pictures(self) -> Iterator[Picture]:
        """Draw the start, and where each step led."""
        limit = self._judge.position_limit
        with closing(CartPoleEnv(render_mode="rgb_array")) as drawn:
            drawn.x_threshold, drawn.length = limit, self._half_length
            for state in np.nan_to_num(self.states):
                state[0] = state[0].clip(-2 * limit, 2 * limit)  # pygame takes no coordinate beyond 32767
                drawn.state = state
                yield _picture(drawn)


class ReplayRecording:
    """Another environment's seed and actions, which are played again to draw it."""

    def __init__(self, judge: MaskedResets, environment_id: str) -> None:
        self._id, self.seed = environment_id, judge.episode_seeds[0][0]
        self.actions: list[NDArray[Any]] = []
        try:
            self._drawn = gymnasium.make(registered_id(environment_id), render_mode="rgb_array")
        except Exception as error:  # making it runs other people's code, which raises anything
            raise self._failure(error) from error

    def __call__(self, action: Tensor, transition: Transition, running: Bool[Tensor, "S N"]) -> None:
        if running[0, 0]:
            self.actions.append(action[0, 0].cpu().numpy())

    @property
    def frames_per_second(self) -> float:
        """As many as the environment says."""
        return float(self._drawn.metadata.get("render_fps", FRAMES_PER_SECOND))

    def pictures(self) -> Iterator[Picture]:
        """Play the episode again, and draw the start and where each step leads."""
        space: Any = self._drawn.action_space
        with closing(self._drawn) as environment:
            try:
                environment.reset(seed=self.seed)
                yield _picture(environment)
                for action in self.actions:
                    environment.step(action.astype(space.dtype))
                    yield _picture(environment)
            except Exception as error:  # the same
                raise self._failure(error) from error

    def _failure(self, error: Exception) -> CartpoleError:
        return CartpoleError(f"{self._id}: cannot be filmed: {one_line(error)}")


Recording = CartPoleRecording | ReplayRecording


def recording_of(judge: VectorEnvironment, environment_id: str) -> Recording:
    """A recording that begins with the episode that the judge is at the start of.

    Raises:
        CartpoleError: the environment cannot be drawn.
    """
    if isinstance(judge, CartPoleEnvironment):
        return CartPoleRecording(judge)
    assert isinstance(judge, MaskedResets)
    return ReplayRecording(judge, environment_id)


def _picture(environment: "gymnasium.Env[Any, Any]") -> Picture:
    return np.asarray(environment.render(), dtype=np.uint8)
