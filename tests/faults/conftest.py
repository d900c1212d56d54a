"""Where the damage is done."""

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from damage import TINY


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with nothing but a recipe, outside any repository."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)


@pytest.fixture(autouse=True)
def _garbage_waits() -> Iterator[None]:
    """Where a file makes a parser recurse to its limit, what other tests left behind cannot be finalized."""
    gc.disable()
    yield
    gc.enable()
