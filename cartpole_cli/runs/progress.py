"""How far a seed is."""

from dataclasses import dataclass, field, fields
from typing import Any
from uuid import uuid4


@dataclass(slots=True)
class Progress:
    """How far a seed is: what last.pth remembers of its run."""

    env_steps: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    best_return: float | None = None
    best_digest: str | None = None
    solved: bool = False
    failure: str | None = None
    finished: bool = False
    evaluations: int = 0
    tracker_id: str = field(default_factory=lambda: uuid4().hex[:8])

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> "Progress":
        """What last.pth remembers.

        Raises:
            KeyError: it does not.
        """
        return cls(**{part.name: state[part.name] for part in fields(cls)})
