"""A candidate's report on a suite of conditions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from cartpole_cli.actions import MAX_FORCE, PUSHES
from cartpole_cli.deploy.onnx_batching import batched
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.errors import CartpoleError
from cartpole_cli.scoring.candidates import Candidate
from cartpole_cli.scoring.page.physics import Floats
from cartpole_cli.scoring.page.report import report_on
from cartpole_cli.scoring.page.simulate import Pilot
from cartpole_cli.scoring.page.suite import Suite
from cartpole_cli.scoring.scorecard import Terms, score


def suite_report(
    candidate: Candidate,
    suite: Suite,
    *,
    seed: int,
    episodes: int | None,
    on_step: Callable[[int, int], None],
) -> dict[str, Any]:
    """Put a candidate to a suite; the keys are those of `cartpole eval --suite --json`.

    Args:
        candidate: the policy.
        suite: the conditions.
        seed: of all that is random.
        episodes: of each condition and of the cart-pole's, instead of the suite's own numbers.
        on_step: told the number of steps done, and of all.

    Raises:
        CartpoleError: no policy for a page, or too many episodes.
    """
    report = report_on(_pilot(candidate), suite, seed=seed, episodes=episodes, on_step=on_step)
    card = None
    if suite.cart_pole_episodes:
        num_episodes = episodes or suite.cart_pole_episodes
        terms = Terms(episodes=num_episodes, seed=seed, environment_id=candidate.cart_pole)
        card = score(candidate, terms).card
    return {"target": candidate.name, **report, "cart_pole": card}


def _pilot(candidate: Candidate) -> Pilot:
    """The force a page gets from a policy."""
    if not candidate.drives_cart_pole:
        reason = "not a cart-pole policy: a page gives 4 observations, and takes 2 actions or one force"
        raise CartpoleError(f"{candidate.name}: {reason}")
    policy = batched(candidate.policy) if isinstance(candidate.policy, OnnxPolicy) else candidate.policy

    def force(observation: NDArray[np.float32]) -> Floats:
        rows = torch.from_numpy(observation).to(candidate.device)
        with torch.inference_mode():
            if isinstance(policy, OnnxPolicy):
                given = policy.force(rows)
            else:
                action = policy.greedy_action(rows.unsqueeze(0))
                given = action * (2 * MAX_FORCE) - MAX_FORCE if policy.actions == PUSHES else action
        return given.reshape(-1).cpu().numpy().astype(np.float64)

    return force
