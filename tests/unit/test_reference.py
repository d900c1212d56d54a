"""The trainer's reference policy: when it is renewed, by what, and what a report says beside an algorithm's numbers."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from members import of_members, trainer_of
from torch import Tensor

from cartpole_cli.algorithms.grpo import GRPO
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.recipe import NativeEnvironment, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.training.trainer import Trainer


def two_seeds(algorithm: Any, **settings: Any) -> Trainer:
    recipe = Recipe(
        algorithm=algorithm,
        environment=NativeEnvironment(num_envs=16, max_episode_steps=30),
        policy=PolicyRecipe(hidden_sizes=(16,)),
        trainer=TrainerRecipe(**{"evaluate_every": 1000} | settings),
    )
    return trainer_of(recipe, [0, 1])


def grpo(reference_every: int, kl_weight: float = 0.1) -> GRPORecipe:
    return GRPORecipe(name="grpo", group_size=2, num_epochs=1, kl_weight=kl_weight, reference_every=reference_every)


def dpo(reference_every: int) -> DPORecipe:
    return DPORecipe(name="dpo", group_size=2, num_epochs=1, reference_every=reference_every)


def flat(network: PolicyNetwork) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def run(trainer: Trainer, num_iterations: int) -> tuple[list[Tensor], list[Tensor]]:
    """The policy's parameters before each iteration (and after the last one), and the reference's during each."""
    policy, reference = [flat(trainer.policy)], []
    for _ in zip(range(num_iterations), trainer.iterations(), strict=False):
        policy.append(flat(trainer.policy))
        reference.append(flat(trainer.reference))
    return policy, reference


@pytest.mark.parametrize("make", [grpo, dpo])
@pytest.mark.parametrize("every", [2, 3, 5])
def test_the_reference_is_the_policy_as_it_was_every_so_many_iterations_ago(make: Any, every: int) -> None:
    policy, reference = run(two_seeds(make(every)), 7)
    assert all(not torch.equal(before, after) for before, after in pairwise(policy))
    for iteration, used in enumerate(reference):
        same = [index for index, parameters in enumerate(policy) if torch.equal(parameters, used)]
        assert same == [iteration // every * every]


@pytest.mark.parametrize("make", [grpo, dpo])
def test_with_one_iteration_between_renewals_the_reference_is_the_policy_itself(make: Any) -> None:
    trainer = two_seeds(make(1))
    run(trainer, 2)
    assert trainer.reference is trainer.policy
    assert trainer.state_dict()["reference"] is None


@pytest.mark.parametrize(
    "algorithm",
    [ReinforceRecipe(), PPORecipe(minibatch_size=64, num_epochs=1), grpo(5, kl_weight=0.0)],
    ids=["reinforce", "ppo", "grpo-without-kl"],
)
def test_an_algorithm_that_needs_no_reference_keeps_no_copy(algorithm: Any) -> None:
    trainer = two_seeds(algorithm)
    assert trainer.algorithm.reference_every == 1
    run(trainer, 1)
    assert trainer.reference is trainer.policy


def test_a_reference_is_no_parameter_of_the_optimizer_and_takes_no_gradient() -> None:
    trainer = two_seeds(dpo(3))
    assert not any(parameter.requires_grad for parameter in trainer.reference.parameters())
    assert all(parameter.requires_grad for parameter in trainer.policy.parameters())
    places = {parameter.data_ptr() for parameter in trainer.policy.parameters()}
    assert places.isdisjoint(parameter.data_ptr() for parameter in trainer.reference.parameters())


@pytest.mark.parametrize("make", [grpo, dpo])
def test_targets_are_made_with_the_reference_of_their_iteration(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = two_seeds(make(3))
    kind = type(trainer.algorithm)
    original, seen = kind.targets, []

    def targets(self: Any, rollout: Any, policy: PolicyNetwork, reference: PolicyNetwork) -> Any:
        seen.append((flat(policy), flat(reference)))
        return original(self, rollout, policy, reference)

    monkeypatch.setattr(kind, "targets", targets)
    policy, reference = run(trainer, 5)
    for iteration, (current, used) in enumerate(seen):
        assert torch.equal(current, policy[iteration])
        assert torch.equal(used, reference[iteration])
        assert torch.equal(used, current) == (iteration % 3 == 0)


def test_a_loaded_trainer_keeps_the_reference_until_its_next_renewal() -> None:
    first = two_seeds(grpo(4))
    policy, _ = run(first, 2)
    second = two_seeds(grpo(4))
    second.load_state_dict(first.state_dict())
    assert torch.equal(flat(second.reference), policy[0])
    later, reference = run(second, 3)
    assert [torch.equal(used, policy[0]) for used in reference] == [True, True, False]
    assert torch.equal(reference[2], later[2])


# Hints


class Hinting(GRPO):
    """GRPO that says which numbers it was shown."""

    def hint(self, diagnostics: Mapping[str, float]) -> str | None:
        return f"shown {sorted(diagnostics)}: {diagnostics['gradient_norm']}" if self.section.num_epochs == 1 else None


@pytest.mark.parametrize("num_epochs", [1, 2])
def test_a_seeds_report_carries_the_algorithms_hint_about_its_own_numbers(num_epochs: int) -> None:
    trainer = two_seeds(grpo(1))
    trainer.algorithm = of_members(Hinting, grpo(1).model_copy(update={"num_epochs": num_epochs}), 2)
    seeds = next(trainer.iterations()).seeds
    if num_epochs == 2:
        assert [seed.hint for seed in seeds] == [None, None]
        return
    for seed in seeds:
        assert seed.hint == f"shown {sorted(seed.diagnostics)}: {seed.diagnostics['gradient_norm']}"
    assert seeds[0].hint != seeds[1].hint


def test_the_hint_is_made_of_reported_numbers_where_nothing_could_be_compared_too() -> None:
    for algorithm, words in ((grpo(2), "every group's returns are equal"), (dpo(2), "no pairs are left")):
        recipe = Recipe(algorithm=algorithm, environment=NativeEnvironment(num_envs=16, max_episode_steps=5))
        [seed] = next(trainer_of(recipe, [0]).iterations()).seeds
        assert words in (seed.hint or "")
        assert seed.failure is None
