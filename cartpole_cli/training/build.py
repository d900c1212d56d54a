"""Recipe -> trainer, with everything it needs."""

import os
from collections.abc import Sequence
from functools import partial

import torch

from cartpole_cli.actions import Discrete
from cartpole_cli.algorithms.build import build_algorithm
from cartpole_cli.environments.build import build_environment, build_judge
from cartpole_cli.environments.interface import TrainingEnvironment
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.build import build_policy
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.recipe.sections import TrainerRecipe
from cartpole_cli.training.evaluation import Evaluator
from cartpole_cli.training.optimizer import Adam
from cartpole_cli.training.size import IterationSize
from cartpole_cli.training.trainer import Trainer


def build_trainer(members: Sequence[Recipe], device: torch.device) -> Trainer:
    """A trainer at its first iteration, of members that each train one seed, by recipes of one shape.

    Raises:
        CartpoleError: the environment cannot be made, does not fit the policy, or is too large for the memory.
    """
    recipe = members[0]
    streams = Streams([member.trainer.seed for member in members], device)
    algorithm = build_algorithm([member.algorithm for member in members], device)
    shows_physics = recipe.policy.value_sees == "physics"
    environment = build_environment(recipe.environment, streams, shows_physics=shows_physics)
    value_extras = environment.observation_size - 4 if shows_physics else 0
    iteration_size(recipe, environment).check_fits(device)
    policy = build_policy(
        [member.policy for member in members],
        streams,
        observation_size=environment.observation_size - value_extras,
        actions=environment.actions,
        value_network=algorithm.needs_value_network,
        value_extras=value_extras,
    )
    settings = [member.trainer for member in members]
    max_grad_norm = torch.tensor([each.max_grad_norm for each in settings], device=device)
    return Trainer(
        algorithm=algorithm,
        environment=environment,
        policy=policy,
        optimizer=Adam(policy.parameters(), max_grad_norm=max_grad_norm),
        evaluator=build_evaluator(recipe),
        streams=streams,
        settings=recipe.trainer,
        learning_rate=torch.tensor([each.learning_rate for each in settings], device=device),
    )


def iteration_size(recipe: Recipe, environment: TrainingEnvironment) -> IterationSize:
    """How large an iteration is at the most: an algorithm collects whole episodes if its section names no steps."""
    algorithm, actions = recipe.algorithm, environment.actions
    action_bytes = 8 if isinstance(actions, Discrete) else 4 * len(actions.low)
    return IterationSize(
        num_steps=getattr(algorithm, "steps_per_iteration", environment.max_episode_steps),
        num_envs=environment.num_envs,
        num_seeds=environment.num_seeds,
        num_epochs=getattr(algorithm, "num_epochs", 1),
        # Two observations, an action, a reward and three flags, as `Rollout` holds them.
        bytes_per_row=8 * environment.observation_size + action_bytes + 7,
    )


def build_evaluator(recipe: Recipe) -> Evaluator:
    """The judge of what a recipe trains."""
    return Evaluator(
        partial(build_judge, recipe.environment),
        selection_episodes=recipe.trainer.evaluation_episodes,
        confirmation_horizon=2 if recipe.environment.counts_steps else 1,
    )


def check_threads(wanted: int) -> None:
    """Refuse more CPU threads than there are cores: torch starts them all, and then they wait for one another.

    Raises:
        CartpoleError: there are fewer cores.
    """
    cores = os.cpu_count()
    if cores is not None and wanted > cores:
        raise CartpoleError(f"trainer.num_threads = {wanted}: this machine has {cores} cores; allowed: 1 to {cores}")


def set_up_torch(settings: TrainerRecipe) -> torch.device:
    """Give torch the threads that a recipe asks for; the device that it trains on.

    Raises:
        CartpoleError: there are fewer cores, or the device is not there.
    """
    check_threads(settings.num_threads)
    torch.set_num_threads(settings.num_threads)
    device = choose_device(settings.device)
    if device.type == "cuda":
        torch.use_deterministic_algorithms(True, warn_only=True)
    return device


def choose_device(name: str) -> torch.device:
    """The device a recipe asks for; `auto` is CUDA, then MPS, then CPU.

    Raises:
        CartpoleError: the device is not there.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(device for device, present in available.items() if present))
    if not available.get(name):
        present = ", ".join(device for device, there in available.items() if there)
        raise CartpoleError(f"device {name!r}: not available here; available: {present}")
    return torch.device(name)
