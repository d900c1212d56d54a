"""The native backend beyond CartPole-v1: other physics, pushes, delays and starts in every episode, and swing-up."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.environments.episodes import NEXT_EPISODE, NOISE, Draws, Episodes, put, rows_of, take
from cartpole_cli.environments.interface import check_divides
from cartpole_cli.environments.physics import Physics, cart_pole_step, drag_
from cartpole_cli.environments.randomization import Conditions
from cartpole_cli.environments.simulator import STEPS_PER_BLOCK, CartPoleSimulator
from cartpole_cli.environments.spells import Spells
from cartpole_cli.randomness import Streams, derive, uniform_of
from cartpole_cli.tasks import MAX_EPISODE_STEPS, Costs, Task


class RandomizedCartPole(CartPoleSimulator):
    """Cart-poles that a `Conditions` is drawn for, at an episode's start and, for pushes and changes, in its middle.

    A step is a decision: its force may come late, and may be held for several steps of the physics. A push comes
    between the observation and the force that answers it. Everything drawn is keyed by (seed, reset, environment,
    episode, decision), so it depends on nothing else.

    Args:
        task: limits and reward; its start is not asked for, as `conditions` say where episodes begin.
        conditions: what to draw from.
        shows_physics: whether observations go on after the four numbers, with what episodes have drawn and with what
            goes on in them, all from -1 to 1.
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
        shows_physics: bool = False,
    ) -> None:
        self._conditions, self.position_limit = conditions, task.position_limit
        self._has_spells = bool(conditions.hitch_rate or conditions.burst_rate or task.costs.change)
        self._num_carried = conditions.max_delay + (3 if self._has_spells else 0)
        self._shows_physics = shows_physics
        if shows_physics:
            self.observation_size = 4 + len(conditions.varied) + (3 if self._has_spells else 0)
        self._keys: Tensor
        self._values: Tensor
        self._carried: list[Tensor]
        self._decisions: Tensor | None
        self._place: int
        self._next: Episodes | None
        self._draws = Draws(conditions, dtype)
        rates = [conditions.push_rate, conditions.change_rate]
        self._rates = torch.tensor(rates, device=streams.device, dtype=dtype).view(2, 1, 1)
        super().__init__(streams, num_envs, task, max_episode_steps=max_episode_steps, dtype=dtype)

    def reset_to(self, state: Float[Tensor, "S N 4"], elapsed: Int[Tensor, "S N"] | None = None) -> None:
        """As in CartPole-v1, with what the last reset drew for an environment's first episode."""
        super().reset_to(state, elapsed)
        self._reached = self.state
        keys = self._keys_of_reset(self.num_resets - 1)
        self._go_on_with(keys, self._draws.values(keys), self.state.new_zeros(self._num_carried, *keys.shape))

    def _first_starts(self) -> Float[Tensor, "4 S N"]:
        return self._draws.starts(self._keys_of_reset(self.num_resets))

    def _next_starts(self, ended: Bool[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        rows = rows_of(ended)
        if self._next is None:
            self._next = self._draws.episodes(derive(self._keys, NEXT_EPISODE))
        if rows.numel() == 0:
            return self._next.starts
        if take(self._is_begun, rows).any():
            begun = rows_of(self._is_begun)
            self._next.put_(begun, self._draws.episodes(derive(take(self._keys, begun), NEXT_EPISODE)))
            self._is_begun.zero_()
        self._begin(rows, self._next)
        return self._next.starts

    def _keys_of_reset(self, reset: int) -> Int[Tensor, "S N"]:
        of_seeds = self.streams.keys("episodes", reset).unsqueeze(1)
        return derive(of_seeds, torch.arange(self.num_envs, device=self.device))

    def _begin(self, rows: Int[Tensor, "K"], episodes: Episodes) -> None:
        """Those of these episodes that are of the environments at these places among all."""
        self._is_begun.view(-1).index_fill_(0, rows, True)
        self._keys = put(self._keys, rows, take(episodes.keys, rows))
        self._set_values(put(self._values, rows, take(episodes.values, rows)))
        self._carried = [each.flatten().index_fill(0, rows, 0.0).view_as(each) for each in self._carried]
        if self._decisions is not None and episodes.decisions is not None:
            rest = self._decisions[self._place :]
            rest.flatten(-2).index_copy_(-1, rows, take(episodes.decisions[: len(rest)], rows))

    def _go_on_with(
        self, keys: Int[Tensor, "S N"], values: Float[Tensor, "V S N"], carried: Float[Tensor, "C S N"]
    ) -> None:
        self._keys, self._carried = keys, list(carried)
        self._set_values(values)
        self._decisions, self._place = None, 0
        self._next = None
        self._is_begun = torch.zeros_like(keys, dtype=torch.bool)

    def _set_values(self, values: Float[Tensor, "V S N"]) -> None:
        self._values = values
        *physics, self._hold, delay, self._noise = values.unbind()
        self.physics = Physics(*physics)
        if self._shows_physics:
            self._shown = self._conditions.shown(values)
        self._is_late = [delay > decisions for decisions in range(self._conditions.max_delay)]

    def _advance(self, force: Float[Tensor, "S N"]) -> Float[Tensor, "4 S N"]:
        state, num_steps, seconds = self.state, None, self.physics.time_step
        if self._conditions.is_held:
            num_steps = (self._hold * (self.elapsed + 1)).floor() - (self._hold * self.elapsed).floor()
            seconds = num_steps * seconds
        if self._conditions.is_disturbed:
            state = self._disturbed(state, seconds)
        self.force, self.seconds = self._acting(force, seconds), self.physics.time_step
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
            self._decisions, self._place = self._draws.decisions(self._keys, self.elapsed), 0
        decision = self._decisions[self._place]
        self._place += 1
        if self._conditions.has_spells:
            self._spells = self._spells.begun(self._conditions, decision[3:], seconds)
            if self._conditions.burst_rate:
                strength = self._spells.pushes(self._conditions, self.elapsed, seconds)
                state = self._conditions.push(state, strength.to(self.dtype))
        is_pushed, changes = (decision[:2] < self._rates * seconds).unbind()
        if self._conditions.change_rate:
            rows = rows_of(changes)
            if rows.numel():
                keys = derive(take(self._keys, rows), take(self.elapsed, rows))
                self._set_values(put(self._values, rows, self._draws.values(keys)))
        asking_waits = self.device.type != "cpu"  # for the device: then all are pushed, most by 0
        if self._conditions.push_rate and (asking_waits or is_pushed.any()):
            state = self._conditions.push(state, (is_pushed * decision[2]).to(self.dtype))
        return state

    def _acting(self, force: Float[Tensor, "S N"], seconds: Float[Tensor, "S N"]) -> Float[Tensor, "S N"]:
        """What acts now of this decision's force and those before."""
        acting, late = force, self._carried[: self._conditions.max_delay]
        for is_late, earlier in zip(self._is_late, late, strict=True):
            acting = torch.where(is_late, earlier, acting)
        if self._has_spells:
            self._acted_before = self._spells.acted
            acting = self._spells.acting(acting)
            self._spells = self._spells.after(acting, seconds)
        self._carried[: len(late)] = [force, *late][: len(late)]
        return acting

    @property
    def _spells(self) -> Spells:
        return Spells(*self._carried[self._conditions.max_delay :])

    @_spells.setter
    def _spells(self, spells: Spells) -> None:
        self._carried[self._conditions.max_delay :] = [spells.hitch, spells.burst, spells.acted]

    @property
    def _all_carried(self) -> Float[Tensor, "C S N"]:
        """The forces of the decisions before this one, the last first, and the spells."""
        return torch.stack(self._carried) if self._carried else self.state.new_empty(0, *self._keys.shape)

    @property
    def reached(self) -> Float[Tensor, "S N 4"]:
        """The states where the last step led, before any reset and without noise."""
        return self._reached.movedim(0, -1)

    def _observed(self, state: Float[Tensor, "4 S N"]) -> Float[Tensor, "S N O"]:
        if self._conditions.is_noisy:
            state = state + self._noise * self._standard_normal()
        observed = super()._observed(state).float()
        if self._shows_physics:
            spells = self._spells.shown(self._conditions, self.physics.force_magnitude) if self._has_spells else []
            shown = torch.stack([*self._shown, *spells], dim=-1) if spells or len(self._shown) else observed[..., :0]
            return torch.cat([observed, shown.float()], dim=-1)
        return observed

    def _standard_normal(self) -> Float[Tensor, "4 S N"]:
        """The same at the same decision of an episode: sums of twelve uniform numbers, of variance 1 (Irwin-Hall)."""
        share = uniform_of(derive(derive(self._keys, NOISE), self.elapsed), 48).to(self.dtype)
        # One after another: the bits of a reduction depend on S.
        return sum(torch.split(share, 4), start=share.new_tensor(-6.0))

    def _reward(self, state: Float[Tensor, "4 S N"]) -> Float[Tensor, "S N"]:
        if self.task.reward is None:
            return super()._reward(state)
        x, _, theta, theta_dot = state.unbind()
        reward: Tensor = self.task.reward(x, theta.cos(), theta_dot, self.position_limit)
        if self.task.costs != Costs():
            before = self._acted_before if self._has_spells else self.force
            magnitude = self.physics.force_magnitude
            reward = reward - self.task.costs(self.force / magnitude, before / magnitude, x / self.position_limit)
        return reward.float()

    def fork(self, group_size: int) -> None:
        """As in CartPole-v1, with the same pushes, delays and changes of physics for all of a group."""
        check_divides(self.num_envs, group_size)
        if group_size == 1:
            return
        super().fork(group_size)
        first = torch.arange(self.num_envs, device=self.device) // group_size * group_size
        self._go_on_with(self._keys[:, first], self._values[..., first], self._all_carried[..., first])

    def keep_seeds(self, indices: Sequence[int]) -> None:
        super().keep_seeds(indices)
        kept = list(indices)
        self._go_on_with(self._keys[kept], self._values[:, kept], self._all_carried[:, kept])

    def state_dict(self) -> dict[str, Any]:
        values, carried = (each.movedim(1, 0) for each in (self._values, self._all_carried))
        return super().state_dict() | {"keys": self._keys, "values": values, "carried": carried}

    def load_state_dict(self, state: dict[str, Any]) -> bool:
        values, carried = (state[name].to(self.device, self.dtype).movedim(0, 1) for name in ("values", "carried"))
        self._go_on_with(state["keys"].to(self.device), values.contiguous(), carried.contiguous())
        return super().load_state_dict(state)
