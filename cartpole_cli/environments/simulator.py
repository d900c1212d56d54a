"""The native backend: S x N cart-poles stepped as one tensor computation on the training device."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.actions import Discrete
from cartpole_cli.environments.interface import Transition, check_divides
from cartpole_cli.environments.physics import Physics, cart_pole_step
from cartpole_cli.randomness import Streams
from cartpole_cli.tasks import MAX_EPISODE_STEPS, PHYSICS, START_RANGE, TASKS, Task

STEPS_PER_BLOCK = 32
"""Steps whose start states are drawn at once."""


class CartPoleSimulator:
    """Gymnasium's CartPole-v1, or ContinuousCartPole-v1, in batches.

    Start states are uniform within +-0.05, as in Gymnasium. The reward is 1 for every step, the failing one
    included. An episode fails beyond the task's limits and is cut after `max_episode_steps`.
    """

    observation_size = 4

    def __init__(
        self,
        streams: Streams,
        num_envs: int,
        task: Task = TASKS["CartPole-v1"],
        *,
        max_episode_steps: int = MAX_EPISODE_STEPS,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.streams = streams.named("environment")
        self.num_seeds = len(streams.seeds)
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.device, self.dtype = streams.device, dtype
        shape = (self.num_seeds, num_envs)
        self.physics = Physics.constant(PHYSICS, *shape, device=self.device, dtype=dtype)
        self.task, self.actions = task, task.actions
        limits = [task.position_limit, math.inf, task.angle_limit, math.inf]
        self._limits = torch.tensor(limits, device=self.device, dtype=dtype).view(4, 1, 1)
        self._zero = torch.zeros((), device=self.device, dtype=dtype)
        self._ones = torch.ones(shape, device=self.device)
        self._valid = torch.ones(shape, device=self.device, dtype=torch.bool)
        self.force: Float[Tensor, "S N"] = torch.zeros(shape, device=self.device, dtype=dtype)
        self.seconds = self.force
        self._block = torch.empty(0, self.num_seeds, num_envs, device=self.device, dtype=dtype)
        self._inference_mode = torch.inference_mode()  # to make one in every step takes as long as two operations
        self.num_resets = 0
        self.num_steps = 0
        self._now = 0  # steps taken; an episode is known by when it began, so none has to be counted up
        self.reset()

    def reset(self, group_size: int = 1) -> None:
        check_divides(self.num_envs, group_size)
        starts = self._first_starts()
        self.num_resets += 1
        self.reset_to(starts.movedim(0, -1))
        self.fork(group_size)

    def reset_to(self, state: Float[Tensor, "S N 4"], elapsed: Int[Tensor, "S N"] | None = None) -> None:
        """Let every environment go on from the given state, at the start of an episode or `elapsed` steps into it."""
        self._go_on_from(state.to(self.device, self.dtype).movedim(-1, 0).contiguous())
        self.elapsed = (
            torch.zeros(state.shape[:2], device=self.device, dtype=torch.int64) if elapsed is None else elapsed
        )

    @property
    def elapsed(self) -> Int[Tensor, "S N"]:
        """Steps since the episodes began."""
        return self._now - self._began

    @elapsed.setter
    def elapsed(self, elapsed: Int[Tensor, "S N"]) -> None:
        self._began = self._now - elapsed

    def fork(self, group_size: int) -> None:
        """Let each group of `group_size` consecutive environments go on from its first member's state, in its physics.

        Raises:
            ValueError: the environments cannot be divided into groups of that size.
        """
        check_divides(self.num_envs, group_size)
        if group_size == 1:
            return
        first = torch.arange(self.num_envs, device=self.device) // group_size * group_size
        self._go_on_from(self.state[:, :, first])
        self.elapsed = self.elapsed[:, first]
        self.physics = self.physics.select(first)

    def step(self, action: Tensor) -> Transition:
        """Act: 0 or 1 pushes left or right with the force magnitude; a float [S, N, 1] is the force in newtons."""
        with self._inference_mode:
            observation = self.observation
            self.force, self.seconds = self._force(action), self.physics.time_step
            next_state = self._advance(self.force)
            going_on = (next_state.abs() - self._limits).amax(dim=0) <= self._zero  # not so for nan and infinity, too
            self._now += 1
            late = self._began <= self._now - self.max_episode_steps
            terminated = ~going_on
            ended = terminated | late
            next_observation = self._observed(next_state)  # before the next episode draws noise of its own
            starts = self._next_starts(ended)
            self._began = self._began.masked_fill(ended, self._now)
            self._go_on_from(torch.where(ended, starts, next_state))
            return Transition(
                observation=observation,
                reward=self._reward(next_state),
                next_observation=next_observation,
                terminated=terminated,
                truncated=late & going_on,
                valid=self._valid,
            )

    def _go_on_from(self, state: Float[Tensor, "4 S N"]) -> None:
        self.state = state
        self._observation: Float[Tensor, "S N O"] | None = None

    @property
    def observation(self) -> Float[Tensor, "S N O"]:
        if self._observation is None:
            self._observation = self._observed(self.state).contiguous()
        return self._observation

    def _observed(self, state: Float[Tensor, "4 S N"]) -> Float[Tensor, "S N O"]:
        return state.permute(1, 2, 0)

    def _force(self, action: Tensor) -> Float[Tensor, "S N"]:
        if isinstance(self.actions, Discrete):
            return torch.addcmul(self.physics.force_to_the_left, action.to(self.dtype), self.physics.force_range)
        magnitude = self.physics.force_magnitude
        return action.squeeze(-1).to(self.dtype).clamp(-magnitude, magnitude)

    def _advance(self, force: Float[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        return cart_pole_step(self.state, force, self.physics)

    def _reward(self, state: Float[Tensor, "4 S N"]) -> Float[Tensor, "S N"]:
        return self._ones

    def _first_starts(self) -> Float[Tensor, "4 S N"]:
        starts = self.streams.uniform("reset", self.num_resets, shape=(self.num_envs, 4))
        return self._start_states(starts.movedim(-1, 0))

    def _next_starts(self, _ended: Bool[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        """Where episodes that end now begin anew: four neighbouring rows of a block, the next step's one row further.

        So a step costs one random number per environment instead of four; an environment meets none of them twice, as
        its episodes last longer than four steps.
        """
        block, step = divmod(self.num_steps, STEPS_PER_BLOCK)
        if step == 0:
            rows = self.streams.uniform("autoreset", block, shape=(STEPS_PER_BLOCK + 3, self.num_envs))
            self._block = self._start_states(rows.movedim(0, 1))
        self.num_steps += 1
        return self._block[step : step + 4]

    def _start_states(self, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return (uniform.to(self.dtype) - 0.5) * (2 * START_RANGE)

    def keep_seeds(self, indices: Sequence[int]) -> None:
        kept = list(indices)
        self.streams, self.num_seeds = self.streams.select(kept), len(kept)
        self._go_on_from(self.state[:, kept])
        self.elapsed, self._block = self.elapsed[kept], self._block[:, kept]
        self.physics = self.physics.select_seeds(kept)
        self._ones, self._valid = self._ones[kept], self._valid[kept]

    def state_dict(self) -> dict[str, Any]:
        return {
            "state": self.state.movedim(1, 0),
            "elapsed": self.elapsed,
            "num_resets": self.num_resets,
            "num_steps": self.num_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        self._go_on_from(state["state"].to(self.device, self.dtype).movedim(0, 1).contiguous())
        self.elapsed = state["elapsed"].to(self.device)
        self.num_resets = state["num_resets"]
        self.num_steps = state["num_steps"] // STEPS_PER_BLOCK * STEPS_PER_BLOCK
        while self.num_steps < state["num_steps"]:
            self._next_starts(self._valid)
        return True

    def close(self) -> None:
        """Nothing to release."""
