"""How all tests run: on one thread, the longest files first."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, here and in the processes of tests
LONGEST = (
    "end_to_end/test_kill_and_resume.py",
    "properties/test_seeds_axis.py",
    "browser/test_browser.py",
    "browser/test_view_page.py",
    "properties/test_studies.py",
    "unit/test_code_export.py",
    "unit/test_view.py",
    "end_to_end/test_sweep.py",
    "end_to_end/test_workers.py",
    "properties/test_members.py",
    "end_to_end/test_documents.py",
    "end_to_end/test_benchmarks.py",
    "end_to_end/test_eval.py",
    "end_to_end/test_cli.py",
    "faults/test_disk_full.py",
    "unit/test_trackers.py",
    "faults/test_bad_run_files.py",
    "properties/test_group_properties.py",
    "properties/test_preference_properties.py",
    "properties/test_algorithm_properties.py",
    "unit/test_gymnasium_adapter.py",
    "end_to_end/test_study.py",
    "unit/test_resume.py",
    "end_to_end/test_export.py",
    "end_to_end/test_export_code.py",
    "unit/test_randomized.py",
    "faults/test_bad_onnx.py",
    "faults/test_odd_files.py",
)
"""What takes more than ten seconds begins before the rest, so that all processes end together."""
HERE = Path(__file__).parent
# What a shell begins in the background ignores Ctrl-C, and so do the commands that tests start from there.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Equal bits are promised on one thread only, and a command may have set another number."""
    import torch

    torch.set_num_threads(1)
    yield
    torch.set_num_threads(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {HERE / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))
