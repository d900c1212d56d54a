"""Where policy and environment meet: experience of one iteration."""

from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cartpole_cli.environments.interface import Transition, VectorEnvironment
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.randomness import Streams

STEPS_PER_BLOCK = 32


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
    environment: VectorEnvironment, policy: PolicyNetwork, streams: Streams, iteration: int
) -> Rollout:
    """One whole episode per environment, from its reset to its end.

    T is always `max_episode_steps`, whatever the episodes' lengths: so no reduction over a rollout depends on
    how long another seed's episodes last. The rows after the last end are zeros.
    """
    environment.reset()
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
        if t % 8 == 7 and not running.any():
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
