"""A target's report on a suite of conditions."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cartpole_cli.actions import MAX_FORCE, PUSHES, drives_cart_pole
from cartpole_cli.deploy.onnx_batching import batched
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import PolicyNetwork
from cartpole_cli.scoring.candidates import Candidate, load_candidate
from cartpole_cli.scoring.page.physics import Floats
from cartpole_cli.scoring.page.report import play_suite
from cartpole_cli.scoring.page.simulate import Pilot
from cartpole_cli.scoring.page.suite import Suite
from cartpole_cli.scoring.scorecard import make_scorecard
from cartpole_cli.training.build import choose_device

DISCRETE, CONTINUOUS = "CartPole-v1", "ContinuousCartPole-v1"


def make_report(
    name: str,
    runs_dir: Path,
    suite: Suite,
    *,
    device: str,
    seed: int,
    episodes: int | None,
    on_step: Callable[[int, int], None],
) -> dict[str, Any]:
    """Put a target to a suite; the keys are those of `cartpole eval --suite --json`.

    Raises:
        CartpoleError: nothing that can be played, or no policy for a page.
    """
    where = choose_device(device)
    candidate = load_candidate(name, runs_dir, where)
    if isinstance(candidate.policy, OnnxPolicy):
        candidate = replace(candidate, policy=batched(candidate.policy, candidate.policy.model, name))
    pilot = _pilot(candidate, where)
    report = play_suite(pilot, suite, seed=seed, episodes=episodes, on_step=on_step)
    cart_pole = None
    if suite.cart_pole_episodes:
        cart_pole = make_scorecard(
            name,
            runs_dir,
            device=device,
            episodes=episodes or suite.cart_pole_episodes,
            seed=seed,
            environment_id=DISCRETE if candidate.policy.actions == PUSHES else CONTINUOUS,
            stochastic=False,
            horizon=None,
            video=None,
            on_step=lambda done, limit: None,
        )
    return {"target": name, **report, "cart_pole": cart_pole}


def _pilot(candidate: Candidate, device: torch.device) -> Pilot:
    """The force a page gets from a policy."""
    policy = candidate.policy
    if not drives_cart_pole(policy.observation_size, policy.actions):
        reason = "no cart-pole policy: a page gives 4 observations, and takes 2 actions or one force"
        raise CartpoleError(f"{candidate.name}: {reason}")

    def force(observation: NDArray[np.float32]) -> Floats:
        rows = torch.from_numpy(observation).to(device)
        with torch.inference_mode():
            if isinstance(policy, PolicyNetwork):
                action = policy.greedy_action(rows.unsqueeze(0))
                given = action * (2 * MAX_FORCE) - MAX_FORCE if policy.actions == PUSHES else action
            else:
                given = policy.force(rows)
        return given.reshape(-1).cpu().numpy().astype(np.float64)

    return force
