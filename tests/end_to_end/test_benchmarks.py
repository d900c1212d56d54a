"""The benchmarks run; what they measure is nobody's test."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_solve_prints_a_row_per_recipe() -> None:
    budget = ["--seeds", "2", "--set", "trainer.num_steps=1000", "--set", "trainer.evaluation_episodes=2"]
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks" / "solve.py", "ppo", "reinforce-continuous", *budget],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ") and "of 2" in line]
    assert [row.split("|")[1].strip() for row in rows] == ["ppo", "reinforce-continuous"]
    assert done.stderr == ""


def test_checkpointing_prints_a_row_per_recipe() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "checkpointing.py", "ppo", "reinforce", "--num-steps", "1000"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if " % |" in line]
    assert rows == ["ppo", "reinforce"]
    assert done.stderr == ""


def test_listing_prints_a_row_per_way_to_ask() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "listing.py", "--runs", "3", "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if "(" in line]
    assert len([row for row in rows if row.startswith("cartpole best")]) == 4
    assert done.stderr == ""


def test_simulator_prints_a_row_per_size() -> None:
    command = [sys.executable, ROOT / "benchmarks" / "simulator.py", "--tiny"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = [line.split("|")[1].strip() for line in done.stdout.splitlines() if line.startswith("| ")]
    assert rows == ["environments", "1", "8", "64", "1024", "16384"]
    assert done.stderr == ""
