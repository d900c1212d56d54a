"""The native backend: S x N cart-poles stepped as one tensor computation on the training device."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.environments.interface import ContinuousActions, DiscreteActions, Transition, check_divides
from cartpole_cli.environments.physics import Physics, cart_pole_step
from cartpole_cli.randomness import Streams, derive, uniform_of

POSITION_LIMIT = 2.4
ANGLE_LIMIT = math.radians(12)
START_RANGE = 0.05


class CartPoleSimulator:
    """Gymnasium's CartPole-v1 (or, with continuous actions, ContinuousCartPole-v1) in batches.

    Start states are uniform within +-0.05, as in Gymnasium. The reward is 1 for every step, the failing one
    included. An episode fails when |x| > 2.4 m or |theta| > 12 degrees and is cut after `max_episode_steps`.
    """

    observation_size = 4

    def __init__(
        self,
        streams: Streams,
        num_envs: int,
        *,
        continuous: bool,
        max_episode_steps: int = 500,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.streams = streams.named("environment")
        self.num_seeds = len(streams.seeds)
        self.num_envs = num_envs
        self.max_episode_steps = max_episode_steps
        self.device, self.dtype = streams.device, dtype
        shape = (self.num_seeds, num_envs)
        self.physics = Physics.standard(*shape, device=self.device, dtype=dtype)
        force = self.physics.force_magnitude.max().item()
        self.actions = ContinuousActions((-force,), (force,)) if continuous else DiscreteActions(2)
        limits = [POSITION_LIMIT, math.inf, ANGLE_LIMIT, math.inf]
        self._limits = torch.tensor(limits, device=self.device, dtype=dtype).view(4, 1, 1)
        self._one, self._max_steps = torch.tensor([1, max_episode_steps], device=self.device).unbind()
        self._ones = torch.ones(shape, device=self.device)
        self._valid = torch.ones(shape, device=self.device, dtype=torch.bool)
        self.num_resets = 0
        self.num_episodes = torch.zeros(shape, device=self.device, dtype=torch.int64)
        self._start_used = self._valid
        self.reset()

    def reset(self, group_size: int = 1) -> None:
        check_divides(self.num_envs, group_size)
        self.num_resets += 1
        self._expect_episodes(torch.zeros_like(self.num_episodes))
        self._state, self.elapsed = self._next_start, torch.zeros_like(self.num_episodes)
        self._begin_episodes(torch.ones_like(self._valid))
        self.fork(group_size)

    def reset_to(self, state: Float[Tensor, "S N 4"], elapsed: Int[Tensor, "S N"] | None = None) -> None:
        """Let every environment go on from the given state, at the start of an episode or `elapsed` steps into it."""
        self.observation: Float[Tensor, "S N 4"] = state.to(self.device, self.dtype)
        self._state = _copied(self.observation.movedim(-1, 0))
        self.elapsed = torch.zeros_like(self.num_episodes) if elapsed is None else elapsed

    def fork(self, group_size: int) -> None:
        """Let each group of `group_size` consecutive environments go on from its first member's state, in its physics.

        Raises:
            ValueError: the environments cannot be divided into groups of that size.
        """
        check_divides(self.num_envs, group_size)
        if group_size == 1:
            return
        first = torch.arange(self.num_envs, device=self.device) // group_size * group_size
        self.reset_to(self.observation[:, first], self.elapsed[:, first])
        self.physics = self.physics.select(first)

    def step(self, action: Tensor) -> Transition:
        """Act: 0 or 1 pushes left or right with the force magnitude; a float [S, N, 1] is the force in newtons."""
        observation = self.observation
        self._state = cart_pole_step(self._state, self._force(action), self.physics)
        self.elapsed = self.elapsed + self._one
        self.observation = next_observation = _copied(self._state.movedim(0, -1))
        within = (self._state.abs() <= self._limits).all(dim=0)  # false for nan, too
        late = self.elapsed >= self._max_steps
        ended = late | ~within
        if ended.any():
            self._begin_episodes(ended)
        return Transition(
            observation=observation,
            reward=self._ones,
            next_observation=next_observation,
            terminated=~within,
            truncated=late & within,
            valid=self._valid,
        )

    def _begin_episodes(self, where: Bool[Tensor, "S N"]) -> None:
        if (where & self._start_used).any():
            self._draw_starts()
        self._state = torch.where(where, self._next_start, self._state)
        self.observation = _copied(self._state.movedim(0, -1))
        self.elapsed = self.elapsed.masked_fill(where, 0)
        self.num_episodes = self.num_episodes + where
        self._start_used = self._start_used | where

    def _expect_episodes(self, num_episodes: Int[Tensor, "S N"]) -> None:
        """Be ready for the episodes after so many of each environment since the last reset."""
        self.num_episodes = num_episodes
        seed_keys = self.streams.keys("episodes", self.num_resets).unsqueeze(1)
        self._keys = derive(seed_keys, torch.arange(self.num_envs, device=self.device))
        starts = torch.empty(4, *num_episodes.shape, device=self.device, dtype=self.dtype)
        self._next_start: Float[Tensor, "4 S N"] = starts
        self._start_used = torch.ones_like(self._valid)

    def _draw_starts(self) -> None:
        """Where the next episodes of those environments begin that have used what was drawn for them.

        Keyed by (seed, reset, environment, episode), so it depends neither on other environments nor on when it is
        drawn; for many environments at once, as a draw costs as much as it is for one.
        """
        rows = self._start_used.view(-1).nonzero().squeeze(1)
        keys = derive(self._keys.view(-1)[rows], self.num_episodes.view(-1)[rows])
        self._next_start.view(4, -1)[:, rows] = (uniform_of(keys, 4).to(self.dtype) * 2 - 1) * START_RANGE
        self._start_used = torch.zeros_like(self._start_used)

    def _force(self, action: Tensor) -> Float[Tensor, "S N"]:
        magnitude = self.physics.force_magnitude
        if isinstance(self.actions, DiscreteActions):
            return action * (2 * magnitude) - magnitude
        return action.squeeze(-1).to(self.dtype).clamp(-magnitude, magnitude)

    def keep_seeds(self, indices: Sequence[int]) -> None:
        kept = list(indices)
        self.streams, self.num_seeds = self.streams.select(kept), len(kept)
        self.physics = self.physics.select_seeds(kept)
        self._ones, self._valid = self._ones[kept], self._valid[kept]
        self._expect_episodes(self.num_episodes[kept])
        self.reset_to(self.observation[kept], self.elapsed[kept])

    def state_dict(self) -> dict[str, Any]:
        return {
            "state": self.observation,
            "elapsed": self.elapsed,
            "num_episodes": self.num_episodes,
            "num_resets": self.num_resets,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        self.num_resets = state["num_resets"]
        self._expect_episodes(state["num_episodes"].to(self.device))
        self.reset_to(state["state"], state["elapsed"].to(self.device))
        return True

    def close(self) -> None:
        """Nothing to release."""


def _copied(view: Tensor) -> Tensor:
    return view.clone(memory_format=torch.contiguous_format)
