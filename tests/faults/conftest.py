"""Where the damage is done."""

from pathlib import Path

import pytest
from damage import TINY


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with nothing but a recipe, outside any repository."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
