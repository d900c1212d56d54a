"""stable-baselines3's PPO on CartPole-v1 with rl-zoo's numbers, until its first evaluation of 500.0.

    python benchmarks/peers/sb3_ppo.py SEED [EVALUATION_EPISODES]

Needs an environment of its own: `pip install stable-baselines3`. Prints one JSON object; its `evaluation_seconds` are
those of the held-out episodes, so that they can be taken off.
"""

import json
import sys
import time

import gymnasium
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import EvalCallback, StopTrainingOnRewardThreshold
from stable_baselines3.common.env_util import make_vec_env

BUDGET = 100_000
STEPS_BETWEEN_EVALUATIONS = 2_048


class TimedEvaluation(EvalCallback):
    """SB3's own evaluation, with a clock around it."""

    seconds = 0.0

    def _on_step(self) -> bool:
        started = time.perf_counter()
        try:
            return super()._on_step()
        finally:
            self.seconds += time.perf_counter() - started


def main(seed: int, evaluation_episodes: int = 100) -> None:
    torch.set_num_threads(1)
    environments = make_vec_env("CartPole-v1", n_envs=8, seed=seed)
    evaluation = TimedEvaluation(
        make_vec_env("CartPole-v1", n_envs=evaluation_episodes, seed=seed + 10_000),
        callback_on_new_best=StopTrainingOnRewardThreshold(500.0, verbose=0),
        n_eval_episodes=evaluation_episodes,
        eval_freq=STEPS_BETWEEN_EVALUATIONS // environments.num_envs,
        verbose=0,
    )
    model = PPO(
        "MlpPolicy",
        environments,
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=lambda remaining: 1e-3 * remaining,
        clip_range=lambda remaining: 0.2 * remaining,
        seed=seed,
        device="cpu",
    )
    model.learn(BUDGET, callback=evaluation)
    result = {
        "env_steps": model.num_timesteps,
        "mean_return": float(evaluation.best_mean_reward),
        "evaluation_seconds": evaluation.seconds,
        "gymnasium": gymnasium.__version__,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
