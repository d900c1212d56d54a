"""Libraries that would send something, or write outside our folders: told not to before they are imported."""

import atexit
import logging
import os
import shutil
import tempfile
from functools import cache


def quiet_onnxruntime() -> None:
    """No telemetry: since 1.32 it writes a device's id and queued events to the user's cache, and sends them.

    Whatever the user has set: that nothing is sent is our promise, not theirs.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"


def quiet_matplotlib() -> None:
    """Its settings and its list of fonts (0.1 s for 20) go to a folder that is gone with this process."""
    os.environ.setdefault("MPLCONFIGDIR", _passing_folder())
    logging.getLogger("matplotlib").setLevel(logging.ERROR)


def quiet_ray(*, on_this_machine: bool) -> None:
    """Switch off Ray's usage reports, which are on by default, and require tokens of every client.

    Args:
        on_this_machine: listen at the loopback address only: Ray takes another one unless it is told that clusters are
            not enabled.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if on_this_machine:
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"


def quiet_wandb() -> None:
    """No crash reports to W&B, and so no connection at all while offline; its service's own log is not kept."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    os.environ.setdefault("WANDB_CACHE_DIR", _passing_folder())
    logging.getLogger("wandb").setLevel(logging.CRITICAL)


@cache
def _passing_folder() -> str:
    folder = tempfile.mkdtemp(prefix="cartpole-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
