"""Where policy and environment meet: experience of one iteration."""

from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cartpole_cli.environments.interface import (
    BranchingEnvironment,
    TrainingEnvironment,
    Transition,
    VectorEnvironment,
)
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams

STEPS_PER_BLOCK = 32
"""Steps whose noise is drawn at once."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """Experience of one iteration; the fields of `Transition` with a time axis, and the raw actions.

    Rows that are not `valid` (after an episode's end, reset rows) hold anything and must be ignored.
    """

    observation: Float[Tensor, "S T N O"]
    action: Tensor
    reward: Float[Tensor, "S T N"]
    next_observation: Float[Tensor, "S T N O"]
    terminated: Bool[Tensor, "S T N"]
    truncated: Bool[Tensor, "S T N"]
    valid: Bool[Tensor, "S T N"]
    scout_steps: Int[Tensor, "S"] | int = 0

    @property
    def num_steps(self) -> Int[Tensor, "S"]:
        """Environment steps it took: the valid rows, and those of the episodes it branched from."""
        return self.valid.sum(dim=(1, 2)) + self.scout_steps

    @property
    def ended(self) -> Bool[Tensor, "S T N"]:
        """Valid rows at which an episode ended, for either reason."""
        return (self.terminated | self.truncated) & self.valid


def collect_steps(
    environment: VectorEnvironment, policy: PolicyNetwork, streams: Streams, num_steps: int, iteration: int
) -> Rollout:
    """T = num_steps steps in every environment; episodes go on from one iteration to the next."""
    noise = policy.action_noise(streams, (num_steps, environment.num_envs), iteration)
    steps = [_act(environment, policy, noise[:, t]) for t in range(num_steps)]
    return _stack(steps, [transition.valid for transition, _ in steps], num_steps)


def collect_episodes(
    environment: TrainingEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int, group_size: int = 1
) -> Rollout:
    """One whole episode per environment, from its reset to its end; a group's begin in the same state.

    T is always `max_episode_steps`, whatever the episodes' lengths: so no reduction over a rollout depends on
    how long another seed's episodes last. The rows after the last end are zeros.
    """
    environment.reset(group_size)
    return _play_out(environment, policy, streams, iteration)


def collect_branches(
    environment: TrainingEnvironment,
    policy: PolicyNetwork,
    streams: Streams,
    iteration: int,
    group_size: int,
    steps_before_failure: int | None,
) -> Rollout:
    """As `collect_episodes`, but a group begins in the middle of an episode that a scout has played before.

    It begins `steps_before_failure` steps before the scout failed (at the scout's start, if that is too early or
    the scout never failed), or at a random step if None. The scouts' own steps are counted, but are no rows.
    """
    assert isinstance(environment, BranchingEnvironment)
    scouts = collect_episodes(environment, policy, streams.named("scouts"), iteration)
    length = scouts.valid.sum(dim=1)
    if steps_before_failure is None:
        share = streams.uniform("branch", iteration, shape=(environment.num_envs,))
        step = (share * length).long()
    else:
        step = (length - steps_before_failure).clamp(min=0) * (scouts.terminated & scouts.valid).any(dim=1)
    index = step[:, None, :, None].expand(-1, 1, -1, environment.observation_size)
    environment.reset_to(scouts.observation.gather(1, index).squeeze(1), step)
    environment.fork(group_size)
    branches = _play_out(environment, policy, streams, iteration)
    return replace(branches, scout_steps=length[:, ::group_size].sum(dim=1))


def _play_out(environment: VectorEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int) -> Rollout:
    """Go on in every environment to its episode's end."""
    running = torch.ones(environment.num_seeds, environment.num_envs, dtype=torch.bool, device=streams.device)
    steps: list[tuple[Transition, Tensor]] = []
    valid: list[Tensor] = []
    for t in range(environment.max_episode_steps):
        block, row = divmod(t, STEPS_PER_BLOCK)
        if row == 0:
            noise = policy.action_noise(streams, (STEPS_PER_BLOCK, environment.num_envs), iteration, block)
        transition, action = _act(environment, policy, noise[:, row])
        steps.append((transition, action))
        valid.append(running & transition.valid)
        running = running & ~(transition.terminated | transition.truncated)
        if t % 8 == 7 and not running.any():  # to ask makes the host wait for the device
            break
    return _stack(steps, valid, environment.max_episode_steps)


@torch.no_grad()
def _act(environment: VectorEnvironment, policy: PolicyNetwork, noise: Tensor) -> tuple[Transition, Tensor]:
    action = policy.distribution(environment.observation).sample(noise)
    return environment.step(policy.environment_action(action)), action


def _stack(steps: list[tuple[Transition, Tensor]], valid: list[Tensor], num_steps: int) -> Rollout:
    """Rows along axis 1, padded with zeros to num_steps."""

    def column(rows: list[Tensor]) -> Tensor:
        stacked = torch.stack(rows, dim=1)
        missing = num_steps - len(rows)
        if missing == 0:
            return stacked
        padding = stacked.new_zeros(stacked.shape[0], missing, *stacked.shape[2:])
        return torch.cat([stacked, padding], dim=1)

    transitions = [transition for transition, _ in steps]
    columns = {
        field.name: column([getattr(transition, field.name) for transition in transitions])
        for field in fields(Transition)
        if field.name != "valid"
    }
    return Rollout(action=column([action for _, action in steps]), valid=column(valid), **columns)
