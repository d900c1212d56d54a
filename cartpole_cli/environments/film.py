"""A film of one episode, in Gymnasium's own rendering ([video] extra: pygame and PyAV)."""

import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from cartpole_cli.environments.registered import registered_id
from cartpole_cli.errors import CartpoleError, one_line
from cartpole_cli.files import folders_for, replacing
from cartpole_cli.recipe.environment import GymnasiumEnvironment, NativeEnvironment

FORMATS = {".mp4": ("libx264", "yuv420p"), ".gif": ("gif", "rgb8")}
FRAMES_PER_SECOND = 50


def check_can_film() -> None:
    """Raises CartpoleError if a package is missing."""
    missing = [name for name in ("av", "pygame") if importlib.util.find_spec(name) is None]
    if missing:
        raise CartpoleError(f"filming needs {' and '.join(missing)}: pip install 'cartpole-cli[video]'")


def film(
    act: Callable[[Tensor], Tensor],
    task: NativeEnvironment | GymnasiumEnvironment,
    path: Path,
    *,
    seed: int,
    start: Float[Tensor, "4"] | None = None,
) -> None:
    """Film one episode, from a cart-pole's state `start` or where Gymnasium's `seed` begins.

    Args:
        act: observation [1, 1, O] on the CPU -> the environment's action.
        task: what is played.
        path: a .mp4 or .gif file.
        seed: of the environment.
        start: x, x_dot, theta, theta_dot, of a cart-pole.

    Raises:
        CartpoleError: a package is missing, the environment cannot be rendered, or the file cannot be written or
            has another ending than .mp4 or .gif.
    """
    check_can_film()
    if path.suffix not in FORMATS:
        raise CartpoleError(f"{path}: not a film's name; allowed: .mp4 or .gif")
    import av  # noqa: PLC0415 (an extra)

    for device in ("SDL_VIDEODRIVER", "SDL_AUDIODRIVER"):
        os.environ.setdefault(device, "dummy")  # a file needs neither screen nor sound card
    codec, pixel_format = FORMATS[path.suffix]
    try:
        with (
            folders_for(path),
            replacing(path, ending=path.suffix) as temporary,
            av.open(str(temporary), "w") as container,
        ):
            pictures = _frames(act, task, seed, start)
            first = next(pictures)
            stream: Any = container.add_stream(codec, rate=FRAMES_PER_SECOND)
            stream.pix_fmt, (stream.height, stream.width) = pixel_format, first.shape[:2]
            for picture in itertools.chain([first], pictures):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
    except av.FFmpegError as error:
        raise CartpoleError(f"{path}: cannot be written ({error.strerror or one_line(error)})") from error


def _frames(
    act: Callable[[Tensor], Tensor],
    task: NativeEnvironment | GymnasiumEnvironment,
    seed: int,
    start: Float[Tensor, "4"] | None,
) -> Iterator[NDArray[np.uint8]]:
    with closing(_make(task)) as environment:
        observation, _ = environment.reset(seed=seed % 2**31)
        if start is not None:
            observation = start.numpy()
            environment.unwrapped.state = observation.astype(np.float64)  # type: ignore[attr-defined]  # CartPoleEnv's
        ended = False
        while not ended:
            yield _picture(environment)
            row = torch.as_tensor(np.asarray(observation, dtype=np.float32), device="cpu").view(1, 1, -1)
            with torch.inference_mode():
                action = act(row)[0, 0].cpu().numpy()
            observation, _, terminated, truncated, _ = environment.step(action)
            ended = terminated or truncated
        yield _picture(environment)


def _make(task: NativeEnvironment | GymnasiumEnvironment) -> "gymnasium.Env[Any, Any]":
    ours = isinstance(task, NativeEnvironment) and task.id != "CartPole-v1"
    try:
        name = f"cartpole_cli/{task.id}" if ours else registered_id(task.id)
        return gymnasium.make(name, render_mode="rgb_array", max_episode_steps=task.max_episode_steps)
    except Exception as error:  # making it runs other people's code, which raises anything
        raise CartpoleError(f"{task.id}: cannot be filmed: {' '.join(str(error).split())}") from error


def _picture(environment: "gymnasium.Env[Any, Any]") -> NDArray[np.uint8]:
    return np.asarray(environment.render(), dtype=np.uint8)
