"""Training stays on its device: on the CPU every forgotten `device=` is made to fail; others run where present."""

import pytest
import torch
from members import trainer_of

from cartpole_cli.recipe.algorithm import DPORecipe, GRPORecipe, PPORecipe, ReinforceRecipe
from cartpole_cli.recipe.recipe import MIN_GROUPS, NativeEnvironment, Recipe, TrainerRecipe
from cartpole_cli.training.trainer import Trainer

ACCELERATORS = [
    name
    for name, present in (("cuda", torch.cuda.is_available()), ("mps", torch.backends.mps.is_available()))
    if present
]
ALGORITHMS = [
    PPORecipe(steps_per_iteration=16, minibatch_size=32, num_epochs=2, target_kl=0.1, entropy_coefficient=0.01),
    ReinforceRecipe(baseline="value"),
    ReinforceRecipe(baseline="leave_one_out"),
    GRPORecipe(name="grpo", group_size=2, num_epochs=2, kl_weight=0.1, reference_every=2),
    GRPORecipe(
        name="grpo",
        group_size=2,
        branch_from="episode",
        credit="to_go",
        advantage_scale="group",
        minibatch_size=48,
        num_epochs=2,
        kl_weight=0.1,
        kl_estimator="k3",
    ),
    DPORecipe(name="dpo", group_size=2, rater="bradley_terry", num_epochs=2, sft_weight=0.1, reference_every=2),
    DPORecipe(
        name="dpo",
        group_size=3,
        branch_from="before_failure",
        pairs="all",
        window="last_k",
        loss="ipo",
        num_epochs=2,
        groups_per_minibatch=3,
    ),
]
AlgorithmRecipe = ReinforceRecipe | PPORecipe | GRPORecipe | DPORecipe
EACH_ALGORITHM = pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda recipe: f"{recipe.name}")
BOTH_TASKS = pytest.mark.parametrize("task", ["CartPole-v1", "ContinuousCartPole-v1"])


def trainer_on(device: str, algorithm: AlgorithmRecipe, task: str) -> Trainer:
    num_envs = MIN_GROUPS * algorithm.group_size if isinstance(algorithm, GRPORecipe | DPORecipe) else 4
    recipe = Recipe(
        algorithm=algorithm,
        environment=NativeEnvironment(id=task, num_envs=num_envs, max_episode_steps=50),
        trainer=TrainerRecipe(evaluate_every=1, evaluation_episodes=3),
    )
    return trainer_of(recipe, [3, 4], device)


@BOTH_TASKS
@EACH_ALGORITHM
def test_no_tensor_is_left_to_the_default_device(algorithm: AlgorithmRecipe, task: str) -> None:
    """With "meta" as the default device, a tensor made without saying where cannot meet the run's tensors."""
    with torch.device("meta"):
        trainer = trainer_on("cpu", algorithm, task)
        report = next(trainer.iterations())
    assert all(seed.evaluation is not None for seed in report.seeds)
    assert trainer.optimizer.flat.isfinite().all()


@pytest.mark.skipif(not ACCELERATORS, reason="neither CUDA nor MPS here")
@BOTH_TASKS
@EACH_ALGORITHM
def test_the_first_iteration_is_that_of_the_cpu(algorithm: AlgorithmRecipe, task: str) -> None:
    expected = trainer_on("cpu", algorithm, task)
    next(expected.iterations())
    for device in ACCELERATORS:
        trainer = trainer_on(device, algorithm, task)
        next(trainer.iterations())
        assert trainer.optimizer.flat.device.type == device
        torch.testing.assert_close(trainer.optimizer.flat.cpu(), expected.optimizer.flat, rtol=1e-4, atol=1e-5)
