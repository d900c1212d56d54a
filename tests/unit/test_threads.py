"""How many CPU threads a run may ask for."""

import os

import pytest

from cartpole_cli.errors import CartpoleError
from cartpole_cli.training.build import check_threads


def test_as_many_threads_as_cores_and_no_more(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    check_threads(1)
    check_threads(4)
    with pytest.raises(CartpoleError, match=r"^trainer.num_threads = 5: this machine has 4 cores; allowed: 1 to 4$"):
        check_threads(5)


def test_where_cores_cannot_be_counted_anything_goes(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    check_threads(1_024)
