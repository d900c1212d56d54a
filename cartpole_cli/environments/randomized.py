"""The native backend beyond CartPole-v1: other physics, pushes, delays and starts in every episode, and swing-up."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.environments.interface import check_divides
from cartpole_cli.environments.physics import Physics, cart_pole_step, drag_
from cartpole_cli.environments.randomization import Conditions, Starts
from cartpole_cli.environments.simulator import STEPS_PER_BLOCK, CartPoleSimulator
from cartpole_cli.randomness import Streams, derive, uniform_of
from cartpole_cli.tasks import MAX_EPISODE_STEPS, STANDARD, Task

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
        self._keys: Tensor
        self._values: Tensor
        self._late: list[Tensor]
        self._decisions: Tensor | None
        self._place: int
        self._next: _Episodes | None
        self._is_disturbed = bool(conditions.push_rate or conditions.change_rate)
        rates = [conditions.push_rate, conditions.change_rate]
        self._rates = torch.tensor(rates, device=streams.device, dtype=dtype).view(2, 1, 1)
        super().__init__(streams, num_envs, task, max_episode_steps=max_episode_steps, dtype=dtype)

    def reset_to(self, state: Float[Tensor, "S N 4"], elapsed: Int[Tensor, "S N"] | None = None) -> None:
        """As in CartPole-v1, with what the last reset drew for an environment's first episode."""
        super().reset_to(state, elapsed)
        self._reached = self.state
        keys = self._keys_of_reset(self.num_resets - 1)
        self._go_on_with(keys, self._values_of(keys), self.state.new_zeros(self._conditions.max_delay, *keys.shape))

    def _first_starts(self) -> Float[Tensor, "4 S N"]:
        return self._starts(self._keys_of_reset(self.num_resets))

    def _next_starts(self, ended: Bool[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        rows = _rows_of(ended)
        if self._next is None:
            self._next = self._episodes_of(derive(self._keys, NEXT_EPISODE))
        if rows.numel() == 0:
            return self._next.starts
        if _take(self._is_begun, rows).any():
            begun = _rows_of(self._is_begun)
            self._next.put_(begun, self._episodes_of(derive(_take(self._keys, begun), NEXT_EPISODE)))
            self._is_begun.zero_()
        self._begin(rows, self._next)
        return self._next.starts

    def _keys_of_reset(self, reset: int) -> Int[Tensor, "S N"]:
        of_seeds = self.streams.keys("episodes", reset).unsqueeze(1)
        return derive(of_seeds, torch.arange(self.num_envs, device=self.device))

    def _starts(self, keys: Int[Tensor, "*episodes"]) -> Float[Tensor, "4 *episodes"]:
        return self._conditions.starts.at(uniform_of(derive(keys, START), Starts.NUM_DRAWS)).to(self.dtype)

    def _values_of(self, keys: Int[Tensor, "*episodes"]) -> Float[Tensor, "V *episodes"]:
        return self._conditions.sample(uniform_of(derive(keys, VALUES), len(STANDARD)).to(self.dtype))

    def _decisions_of(
        self, keys: Int[Tensor, "*episodes"], elapsed: Int[Tensor, "*episodes"] | int
    ) -> Float[Tensor, "B 3 *episodes"]:
        """Of a block of decisions: shares of which the small ones mean a push or a change, and how strong it pushes."""
        steps = torch.arange(STEPS_PER_BLOCK, device=self.device).view(-1, *[1] * keys.dim())
        push, side, change = uniform_of(derive(keys, elapsed + steps), 3)
        return torch.stack([push, change, self._conditions.strength(side)], dim=1)

    def _episodes_of(self, keys: Int[Tensor, "*episodes"]) -> "_Episodes":
        decisions = self._decisions_of(keys, 0) if self._is_disturbed else None
        return _Episodes(keys, self._starts(keys), self._values_of(keys), decisions)

    def _begin(self, rows: Int[Tensor, "K"], episodes: "_Episodes") -> None:
        """Those of these episodes that are of the environments at these places among all."""
        self._is_begun.view(-1).index_fill_(0, rows, True)
        self._keys = _put(self._keys, rows, _take(episodes.keys, rows))
        self._set_values(_put(self._values, rows, _take(episodes.values, rows)))
        self._late = [force.flatten().index_fill(0, rows, 0.0).view_as(force) for force in self._late]
        if self._decisions is not None and episodes.decisions is not None:
            rest = self._decisions[self._place :]
            rest.flatten(-2).index_copy_(-1, rows, _take(episodes.decisions[: len(rest)], rows))

    def _go_on_with(
        self, keys: Int[Tensor, "S N"], values: Float[Tensor, "V S N"], late: Float[Tensor, "D S N"]
    ) -> None:
        self._keys, self._late = keys, list(late)
        self._set_values(values)
        self._decisions, self._place = None, 0
        self._next = None
        self._is_begun = torch.zeros_like(keys, dtype=torch.bool)

    def _set_values(self, values: Float[Tensor, "V S N"]) -> None:
        self._values = values
        *physics, self._hold, delay, self._noise = values.unbind()
        self.physics = Physics(*physics)
        self._is_late = [delay > decisions for decisions in range(self._conditions.max_delay)]

    def _advance(self, force: Float[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        state, num_steps, seconds = self.state, None, self.physics.time_step
        if self._conditions.is_held:
            num_steps = (self._hold * (self.elapsed + 1)).floor() - (self._hold * self.elapsed).floor()
            seconds = num_steps * seconds
        if self._is_disturbed:
            state = self._disturbed(state, seconds)
        self.force, self.seconds = self._delayed(force), self.physics.time_step
        if num_steps is None:
            state = drag_(cart_pole_step(state, self.force, self.physics), self.physics)
        else:
            self.seconds = num_steps * self.seconds
            for step in range(self._conditions.max_hold):
                moved = drag_(cart_pole_step(state, self.force, self.physics), self.physics)
                state = torch.where(num_steps > step, moved, state)
        self._reached = state
        return state

    def _disturbed(self, state: Float[Tensor, "4 S N"], seconds: Float[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        """The state after this decision's pushes, before which physics may change."""
        if self._decisions is None or self._place == STEPS_PER_BLOCK:
            self._decisions, self._place = self._decisions_of(self._keys, self.elapsed), 0
        decision = self._decisions[self._place]
        self._place += 1
        is_pushed, changes = (decision[:2] < self._rates * seconds).unbind()
        if self._conditions.change_rate:
            rows = _rows_of(changes)
            if rows.numel():
                keys = derive(_take(self._keys, rows), _take(self.elapsed, rows))
                self._set_values(_put(self._values, rows, self._values_of(keys)))
        asking_waits = self.device.type != "cpu"  # for the device: then all are pushed, most by 0
        if self._conditions.push_rate and (asking_waits or is_pushed.any()):
            state = self._conditions.push(state, (is_pushed * decision[2]).to(self.dtype))
        return state

    def _delayed(self, force: Float[Tensor, "S N"]) -> Float[Tensor, "S N"]:
        """What acts now of this decision's force and those before."""
        acting = force
        for is_late, earlier in zip(self._is_late, self._late, strict=True):
            acting = torch.where(is_late, earlier, acting)
        self._late = [force, *self._late][: len(self._late)]
        return acting

    @property
    def _late_forces(self) -> Float[Tensor, "D S N"]:
        """Of the decisions before this one, the last first."""
        return torch.stack(self._late) if self._late else self.state.new_empty(0, *self._keys.shape)

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
        self._go_on_with(self._keys[:, first], self._values[..., first], self._late_forces[..., first])

    def keep_seeds(self, indices: Sequence[int]) -> None:
        super().keep_seeds(indices)
        kept = list(indices)
        self._go_on_with(self._keys[kept], self._values[:, kept], self._late_forces[:, kept])

    def state_dict(self) -> dict[str, Any]:
        values, late = (each.movedim(1, 0) for each in (self._values, self._late_forces))
        return super().state_dict() | {"keys": self._keys, "values": values, "late": late}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        values, late = (state[name].to(self.device, self.dtype).movedim(0, 1) for name in ("values", "late"))
        self._go_on_with(state["keys"].to(self.device), values.contiguous(), late.contiguous())
        return super().load_state_dict(state)


@dataclass(frozen=True, slots=True)
class _Episodes:
    """What episodes begin with; `decisions` is a block of those where any is disturbed."""

    keys: Int[Tensor, "*episodes"]
    starts: Float[Tensor, "4 *episodes"]
    values: Float[Tensor, "V *episodes"]
    decisions: Float[Tensor, "B 3 *episodes"] | None

    def put_(self, rows: Int[Tensor, "K"], others: "_Episodes") -> None:
        """Other episodes at these places, in this memory."""
        for name in self.__slots__:
            ours, theirs = getattr(self, name), getattr(others, name)
            if ours is not None:
                ours.flatten(-2).index_copy_(-1, rows, theirs)


def _rows_of(mask: Bool[Tensor, "S N"]) -> Int[Tensor, "K"]:
    """Places among all environments."""
    return mask.view(-1).nonzero().squeeze(1)


def _take(tensor: Tensor, rows: Int[Tensor, "K"]) -> Tensor:
    """What stands at some places among all environments, along the last two axes together."""
    return tensor.flatten(-2).index_select(-1, rows)


def _put(tensor: Tensor, rows: Int[Tensor, "K"], values: Tensor) -> Tensor:
    """The tensor with other values at some places among all environments, along its last two axes together."""
    return tensor.flatten(-2).index_copy(-1, rows, values).view_as(tensor)
