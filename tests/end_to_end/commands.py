"""How a command of the command line ended."""

from dataclasses import dataclass


@dataclass
class Ended:
    code: int
    out: str
    err: str
