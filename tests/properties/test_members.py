"""Members of one computation may differ in their numbers, and each is its solo run bit for bit (CPU, one thread)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.recipe import MIN_GROUPS, NativeEnvironment, PolicyRecipe, Recipe, TrainerRecipe
from cartpole_cli.training.build import build_trainer
from cartpole_cli.training.reports import SeedReport
from cartpole_cli.training.trainer import Trainer

NUM_MEMBERS = 16
CPU = torch.device("cpu")
# Between what each member's number lies. Steps are large, so that some members are solved and leave.
ALGORITHMS: dict[str, tuple[Any, dict[str, tuple[float, float]]]] = {
    "reinforce": (
        ReinforceRecipe(entropy_coefficient=0.01),
        {"gamma": (0.9, 0.999), "value_coefficient": (0.1, 0.9), "entropy_coefficient": (0.001, 0.03)},
    ),
    "ppo": (
        PPORecipe(
            num_epochs=3,
            minibatch_size=64,
            clip_range_schedule="linear",
            value_clip_range=1.0,
            entropy_coefficient=0.01,
            target_kl=0.02,
        ),
        {
            "gamma": (0.9, 0.999),
            "gae_lambda": (0.7, 0.97),
            "clip_range": (0.1, 0.37),
            "value_coefficient": (0.1, 0.9),
            "value_clip_range": (0.3, 3.1),
            "entropy_coefficient": (0.001, 0.03),
            "target_kl": (0.003, 0.05),
        },
    ),
    "grpo": (
        GRPORecipe(
            name="grpo", group_size=4, num_epochs=2, clip_range_high=0.3, kl_weight=0.1, kl_estimator="k3",
            minibatch_size=64, reference_every=2,
        ),
        {
            "scale_floor": (0.3, 7.1),
            "clip_range": (0.1, 0.29),
            "clip_range_high": (0.3, 0.47),
            "kl_weight": (0.01, 0.3),
        },
    ),
    "dpo": (
        DPORecipe(
            name="dpo", group_size=4, num_epochs=2, loss="robust", rater="bradley_terry", min_margin=0.3,
            label_smoothing=0.1, sft_weight=0.1,
        ),
        {
            "rater_temperature": (3.0, 30.0),
            "min_margin": (0.1, 2.3),
            "beta": (0.03, 0.3),
            "label_smoothing": (0.01, 0.3),
            "sft_weight": (0.01, 0.3),
        },
    ),
    "dpo-ipo": (
        DPORecipe(name="dpo", group_size=4, num_epochs=2, loss="ipo", window="full", reference_every=2),
        {"beta": (0.03, 0.3)},
    ),
}  # fmt: skip
EACH = pytest.mark.parametrize("name", ALGORITHMS)
BOTH_HEADS = pytest.mark.parametrize("task", ["CartPole-v1", "ContinuousCartPole-v1"])


def members_of(name: str, task: Any) -> list[Recipe]:
    """Sixteen settings, whose numbers need all their digits; four seeds, each four times."""
    section, ranges = ALGORITHMS[name]
    draws = torch.rand(NUM_MEMBERS, len(ranges) + 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    environment = NativeEnvironment(
        id=task, num_envs=MIN_GROUPS * getattr(section, "group_size", 1), max_episode_steps=40
    )
    members = []
    for place, row in enumerate(draws.tolist()):
        shares = zip(ranges.items(), row, strict=False)
        numbers = {key: low + share * (high - low) for (key, (low, high)), share in shares}
        members.append(
            Recipe(
                algorithm=section.model_copy(update=numbers),
                environment=environment,
                policy=PolicyRecipe(hidden_sizes=(16,), initial_log_std=-1.5 * row[-1]),
                trainer=TrainerRecipe(
                    num_steps=2_000,
                    seed=20 + place % 4,
                    learning_rate=3e-3 * 10 ** row[-2],
                    max_grad_norm=0.1 + row[-3],
                    evaluate_every=1,
                    evaluation_episodes=5,
                    stop_at_return=25.0,
                ),
            )
        )
    return members


def iterations_of(trainer: Trainer) -> Iterator[dict[int, tuple[str, list[Tensor]]]]:
    """What each member reports, and its weights after that."""
    for report in trainer.iterations():
        weights = [parameter.detach().clone() for parameter in trainer.policy.parameters()]
        yield {
            seed.member: (_alone(seed), [each[place] for each in weights]) for place, seed in enumerate(report.seeds)
        }


def _alone(seed: SeedReport) -> str:
    return repr(replace(seed, member=0))


@EACH
@BOTH_HEADS
def test_each_of_sixteen_members_is_its_solo_run(name: str, task: str) -> None:
    members = members_of(name, task)
    together = list(iterations_of(build_trainer(members, CPU)))
    lengths = [sum(member in iteration for iteration in together) for member in range(NUM_MEMBERS)]
    assert len(set(lengths)) > 1, "members leave at different times"
    for member in range(0, NUM_MEMBERS, 1 if task == "CartPole-v1" else 3):
        solo = list(iterations_of(build_trainer([members[member]], CPU)))
        assert len(solo) == lengths[member]
        for iteration, alone in zip(together, solo, strict=False):
            (theirs, weights), (own, own_weights) = iteration[member], alone[0]
            assert theirs == own
            assert all(torch.equal(one, other) for one, other in zip(weights, own_weights, strict=True))


@EACH
def test_members_of_one_seed_go_apart_by_their_numbers(name: str) -> None:
    first = next(iterations_of(build_trainer(members_of(name, "CartPole-v1"), CPU)))
    weights = [first[member][1] for member in (0, 4, 8, 12)]
    assert all(not torch.equal(weights[0][0], other[0]) for other in weights[1:])
