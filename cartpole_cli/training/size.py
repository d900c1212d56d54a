"""How large an iteration is: told before it starts, where it cannot fit into memory or will take minutes."""

from dataclasses import dataclass

import torch

from cartpole_cli.errors import CartpoleError
from cartpole_cli.memory import memory_of

COPIES = 2
"""Of a rollout at the least: its steps, and these side by side."""
SLOW = 20_000_000
"""Row passes of about a minute on one core."""


@dataclass(frozen=True, slots=True)
class IterationSize:
    """Of one iteration: T steps of N environments of S seeds, and the passes over them."""

    num_steps: int
    num_envs: int
    num_seeds: int
    num_epochs: int
    bytes_per_row: int

    @property
    def num_rows(self) -> int:
        return self.num_steps * self.num_envs * self.num_seeds

    @property
    def num_bytes(self) -> int:
        """The least that it takes."""
        return COPIES * self.num_rows * self.bytes_per_row

    def __str__(self) -> str:
        seeds = f"{self.num_seeds:,} seeds x " if self.num_seeds > 1 else ""
        return f"{self.num_rows:,} steps ({seeds}{self.num_steps:,} steps x {self.num_envs:,} environments)"

    def check_fits(self, device: torch.device) -> None:
        """Raises CartpoleError if the device has no memory for it."""
        memory = memory_of(device)
        if memory is not None and self.num_bytes > memory:
            raise CartpoleError(
                f"an iteration of up to {self} takes {self.num_bytes / 2**30:,.0f} GiB at least, and {device.type} has "
                f"{memory / 2**30:,.0f}; allowed: fewer environments, shorter episodes or fewer seeds"
            )

    @property
    def warning(self) -> str | None:
        """A line for the user if it will take long."""
        if self.num_rows * (1 + self.num_epochs) < SLOW:
            return None
        return f"note: an iteration is up to {self}, and {self.num_epochs} passes over them: that may take minutes"
