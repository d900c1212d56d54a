"""The native backend beyond CartPole-v1: other physics, pushes, delays and starts in every episode, and swing-up."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.environments.interface import check_divides
from cartpole_cli.environments.physics import Physics, cart_pole_step, drag
from cartpole_cli.environments.randomization import Conditions, Starts
from cartpole_cli.environments.simulator import CartPoleSimulator
from cartpole_cli.randomness import Streams, derive, uniform_of
from cartpole_cli.tasks import MAX_EPISODE_STEPS, PHYSICS, STANDARD, Task

NEXT_EPISODE, START, VALUES, NOISE = -1, -2, -3, -4
"""What is derived from an episode's key besides the keys of its decisions, 0, 1, 2, ..."""


class RandomizedCartPole(CartPoleSimulator):
    """Cart-poles that a `Conditions` is drawn for, at an episode's start and, for pushes and changes, in its middle.

    A step is a decision: its force may come late, and may be held for several steps of the physics. A push comes
    between the observation and the force that answers it. Everything drawn is keyed by (seed, reset, environment,
    episode, decision), so it depends on nothing else.

    Args:
        task: limits and reward; its start is not asked for, as `conditions` say where episodes begin.
        conditions: what to draw from.
    """

    def __init__(
        self,
        streams: Streams,
        num_envs: int,
        task: Task,
        conditions: Conditions,
        *,
        max_episode_steps: int = MAX_EPISODE_STEPS,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self._conditions, self.position_limit = conditions, task.position_limit
        shape = (len(streams.seeds), num_envs)
        self._keys = torch.zeros(shape, dtype=torch.int64, device=streams.device)
        self._values = torch.zeros(len(STANDARD), *shape, dtype=dtype, device=streams.device)
        self._late = torch.zeros(conditions.max_delay, *shape, dtype=dtype, device=streams.device)
        super().__init__(streams, num_envs, task, max_episode_steps=max_episode_steps, dtype=dtype)

    def reset_to(self, state: Float[Tensor, "S N 4"], elapsed: Int[Tensor, "S N"] | None = None) -> None:
        """As in CartPole-v1, with what the last reset drew for an environment's first episode."""
        super().reset_to(state, elapsed)
        self._reached = self.state
        rows = torch.arange(self._keys.numel(), device=self.device)
        self._begin(rows, self._keys_of_reset(self.num_resets - 1).view(-1))

    def _first_starts(self) -> Float[Tensor, "4 S N"]:
        return self._starts(self._keys_of_reset(self.num_resets))

    def _next_starts(self, ended: Bool[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        rows = ended.view(-1).nonzero().squeeze(1)
        keys = derive(self._keys.view(-1)[rows], NEXT_EPISODE)
        self._begin(rows, keys)
        return _put(torch.zeros_like(self._values[:4]), rows, self._starts(keys))

    def _keys_of_reset(self, reset: int) -> Int[Tensor, "S N"]:
        of_seeds = self.streams.keys("episodes", reset).unsqueeze(1)
        return derive(of_seeds, torch.arange(self.num_envs, device=self.device))

    def _starts(self, keys: Int[Tensor, "*episodes"]) -> Float[Tensor, "4 *episodes"]:
        return self._conditions.starts.at(uniform_of(derive(keys, START), Starts.NUM_DRAWS)).to(self.dtype)

    def _begin(self, rows: Int[Tensor, "K"], keys: Int[Tensor, "K"]) -> None:
        """Episodes of these keys in the environments at these places among all."""
        self._keys = _put(self._keys, rows, keys)
        self._late = _put(self._late, rows, self._late.new_zeros(len(self._late), len(rows)))
        self._draw_values(rows, keys)

    def _draw_values(self, rows: Int[Tensor, "K"], keys: Int[Tensor, "K"]) -> None:
        share = uniform_of(derive(keys, VALUES), len(STANDARD)).to(self.dtype)
        self._set_values(_put(self._values, rows, self._conditions.sample(share)))

    def _set_values(self, values: Float[Tensor, "V S N"]) -> None:
        self._values = values
        self.physics = Physics(*values[: len(PHYSICS)])
        self._hold, self._delay, self._noise = values[len(PHYSICS) :]

    def _advance(self, force: Float[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        keys = derive(self._keys, self.elapsed)
        share = uniform_of(keys, 3)
        num_steps = (self._hold * (self.elapsed + 1)).floor() - (self._hold * self.elapsed).floor()
        seconds = num_steps * self.physics.time_step
        if self._conditions.change_rate:
            rows = (share[2] < self._conditions.change_rate * seconds).view(-1).nonzero().squeeze(1)
            self._draw_values(rows, keys.view(-1)[rows])
        state = self.state
        if self._conditions.push_rate:
            state = self._conditions.push(state, self._conditions.pushes(share[:2], seconds).to(self.dtype))
        forces = torch.cat([force.unsqueeze(0), self._late])
        self._late = forces[:-1]
        applied = forces.gather(0, self._delay.long().unsqueeze(0)).squeeze(0)
        self.force, self.seconds = applied, num_steps * self.physics.time_step
        for step in range(self._conditions.max_hold):
            moved = drag(cart_pole_step(state, applied, self.physics), self.physics)
            state = torch.where(num_steps > step, moved, state)
        self._reached = state
        return state

    @property
    def reached(self) -> Float[Tensor, "S N 4"]:
        """The states where the last step led, before any reset and without noise."""
        return self._reached.movedim(0, -1)

    def _observed(self, state: Float[Tensor, "4 S N"]) -> Float[Tensor, "S N 4"]:
        if self._conditions.is_noisy:
            state = state + self._noise * self._standard_normal()
        return super()._observed(state).float()

    def _standard_normal(self) -> Float[Tensor, "4 S N"]:
        """The same at the same decision of an episode: sums of twelve uniform numbers, of variance 1 (Irwin-Hall)."""
        share = uniform_of(derive(derive(self._keys, NOISE), self.elapsed), 48).to(self.dtype)
        # One after another: the bits of a reduction depend on S.
        return sum(torch.split(share, 4), start=share.new_tensor(-6.0))

    def _reward(self, state: Float[Tensor, "4 S N"]) -> Float[Tensor, "S N"]:
        if self.task.reward is None:
            return super()._reward(state)
        x, _, theta, theta_dot = state.unbind()
        reward: Tensor = self.task.reward(x, theta.cos(), theta_dot, self.task.position_limit)
        return reward.float()

    def fork(self, group_size: int) -> None:
        """As in CartPole-v1, with the same pushes, delays and changes of physics for all of a group."""
        check_divides(self.num_envs, group_size)
        if group_size == 1:
            return
        super().fork(group_size)
        first = torch.arange(self.num_envs, device=self.device) // group_size * group_size
        self._keys, self._late = self._keys[:, first], self._late[..., first]
        self._set_values(self._values[..., first])

    def keep_seeds(self, indices: Sequence[int]) -> None:
        super().keep_seeds(indices)
        kept = list(indices)
        self._keys, self._late = self._keys[kept], self._late[:, kept]
        self._set_values(self._values[:, kept])

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "keys": self._keys,
            "values": self._values,
            "late": self._late,
        }

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        self._keys = state["keys"].to(self.device)
        self._late = state["late"].to(self.device, self.dtype)
        self._set_values(state["values"].to(self.device, self.dtype))
        return super().load_state_dict(state)


def _put(tensor: Tensor, rows: Int[Tensor, "K"], values: Tensor) -> Tensor:
    """The tensor with other values at some places among all environments, along its last two axes together."""
    return tensor.flatten(-2).index_copy(-1, rows, values).view_as(tensor)
