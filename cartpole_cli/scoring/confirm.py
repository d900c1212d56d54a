"""Test a run again: its best checkpoint on fresh episodes, the same start states for every run."""

import math

import torch

from cartpole_cli.environments.build import build_judge
from cartpole_cli.environments.registered import check_registered
from cartpole_cli.errors import CartpoleError
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import load_recipe
from cartpole_cli.runs.checkpoint import load_policy
from cartpole_cli.runs.directory import RunDirectory
from cartpole_cli.runs.fields import Score
from cartpole_cli.training.evaluation import Evaluation, play


def confirm(directory: RunDirectory, num_episodes: int) -> Score:
    """The score of best.pth on episodes that no run was trained, chosen or scored on.

    Raises:
        CartpoleError: the checkpoint or the recipe cannot be read, do not fit each other, or the environment fails.
    """
    policy = load_policy(directory.best, torch.device("cpu"))
    streams = Streams([0], "cpu", name="confirm")
    task = load_recipe(directory.recipe).environment
    check_registered(task.id, str(directory.recipe))
    environment = build_judge(task, streams, num_episodes, 1)
    try:
        returns = play(policy.greedy_action, environment)
    except (RuntimeError, ValueError, IndexError, TypeError) as error:  # what tensors of a wrong shape raise
        reason = " ".join(str(error).split())[:200]
        raise CartpoleError(f"{directory.best}: does not fit its environment: {reason}") from error
    finally:
        environment.close()
    evaluation = Evaluation("confirm", tuple(returns[0].tolist()))
    if not math.isfinite(evaluation.mean):
        raise CartpoleError(f"{directory.best}: its returns are not finite")
    return Score("confirm", num_episodes, evaluation.estimate, min(evaluation.returns))
