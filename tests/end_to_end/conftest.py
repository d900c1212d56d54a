"""Where the commands run."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from commands import Ended, captured


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, a terminal that no variable pretends to be, and no progress lines on a slow machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cartpole_cli.cli.progress.SECONDS_BETWEEN_LINES", 3600.0)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "PYTHONIOENCODING"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cartpole(capfd: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Runs a command in this process; its exit code and all that it wrote."""
    return partial(captured, capfd)
