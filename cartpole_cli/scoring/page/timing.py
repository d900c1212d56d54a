"""When a page's drawn frames run the physics, ask the policy, and let a visitor's pushes in.

A drawn frame lets land the pushes since the last frame, runs the physics steps that are due with the force of the last
finished inference, and then asks for one inference, whose force is used from the next frame on. Frame k is drawn at
k / frames_per_second, except while the tab is hidden or a frame takes long; inferences begin once the model is loaded,
until then the force is 0.

Seen from the physics steps, which is how many episodes are simulated at once: some steps begin with a fresh inference,
and a push lands right before a step, either before that step's inference (and is seen by it) or after.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cartpole_cli.scoring.page.physics import STEPS_PER_SECOND, Flags, Floats

Strengths = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pushes:
    """Times in seconds, and strengths whose sign is the direction."""

    times: Floats
    strengths: Floats


@dataclass(frozen=True, slots=True)
class Timing:
    """Of one episode of T steps.

    asks: [T], whether a step is the first to use a new inference.
    seen, late: [T], the signed strengths of the pushes that land before each step: before, and after its inference.
        Those that land together are added: but for the clamp of the angle, pushes are sums.
    """

    asks: Flags
    seen: Strengths
    late: Strengths


def timing(
    num_steps: int,
    *,
    frames_per_second: float,
    model_after: float,
    gaps: Sequence[tuple[float, float]],
    pushes: Pushes,
) -> Timing:
    """The timing of one episode.

    Args:
        num_steps: T.
        frames_per_second: how often the page draws.
        model_after: when the model is loaded, in seconds.
        gaps: from when to when no frame is drawn, in seconds: the tab is hidden, or a frame takes long.
        pushes: sorted by time.
    """
    num_frames = int(np.ceil(num_steps * frames_per_second / STEPS_PER_SECOND)) + 2
    frames = np.arange(num_frames) / frames_per_second
    for begin, end in gaps:
        frames = frames[(frames < begin) | (frames >= end)]
    # A frame at a step's very time runs that step: rounding must not decide.
    done = np.minimum(np.floor(frames * STEPS_PER_SECOND + 1e-6).astype(np.int64), num_steps)
    first = np.concatenate([[0], done[:-1]])
    asked = np.concatenate([[False], frames[:-1] >= model_after])
    runs = done > first
    asks = np.zeros(num_steps, dtype=np.bool_)
    asks[first[runs & asked]] = True
    seen, late = np.zeros((2, num_steps), dtype=np.float32)
    landing = np.searchsorted(frames, pushes.times)
    for frame, strength in zip(landing.tolist(), pushes.strengths.tolist(), strict=True):
        if frame < len(first) and first[frame] < num_steps:
            (late if runs[frame] else seen)[first[frame]] += strength
    return Timing(asks, seen, late)
