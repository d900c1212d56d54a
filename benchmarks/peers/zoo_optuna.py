"""rl-zoo3's optuna on CartPole-v1, for PPO's learning rate, gamma, lambda and clip range; random, nothing pruned.

    python benchmarks/peers/zoo_optuna.py TRIALS ENV_STEPS FOLDER

Needs an environment of its own: `pip install rl_zoo3`. A trial is one training of one seed in the zoo's own process;
the zoo's other numbers are its own for CartPole-v1 (8 environments x 32 steps, minibatches of 256, 20 epochs), and so
is its evaluation: once, at the end, 5 episodes.
"""

import sys
from typing import Any

import optuna
from rl_zoo3 import hyperparams_opt
from rl_zoo3.train import train


def sample(trial: optuna.Trial, n_actions: int, n_envs: int, additional_args: dict[str, Any]) -> dict[str, Any]:
    return {
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 1e-1, log=True),
        "gamma": trial.suggest_float("gamma", 0.9, 0.999),
        "gae_lambda": trial.suggest_float("gae_lambda", 0.7, 0.99),
        "clip_range": trial.suggest_float("clip_range", 0.1, 0.4),
    }


def main(trials: str, env_steps: str, folder: str) -> None:
    hyperparams_opt.HYPERPARAMS_SAMPLER["ppo"] = sample
    hyperparams_opt.HYPERPARAMS_CONVERTER["ppo"] = dict
    how = ["-optimize", "--n-trials", trials, "--n-jobs", "1", "--sampler", "random", "--pruner", "none"]
    what = ["--algo", "ppo", "--env", "CartPole-v1", "-n", env_steps, "-f", folder, "--device", "cpu"]
    sys.argv = ["train", *what, *how, "--num-threads", "1", "--no-optim-plots", "--verbose", "0"]
    train()


if __name__ == "__main__":
    main(*sys.argv[1:])
