"""Where the damage is done."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from damage import TINY


@pytest.fixture(autouse=True)
def _somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder with nothing but a recipe, outside any repository."""
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(TINY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
