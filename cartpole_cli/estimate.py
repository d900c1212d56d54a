"""A figure and how sure it is. No numpy: `cartpole best` reads thousands of them."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean, a share or a probability, and its 95 % interval."""

    value: float
    interval: tuple[float, float]

    def as_plain_data(self, name: str = "value") -> dict[str, float | list[float]]:
        """The object that files and --json hold; `name` is the key of the value."""
        return {name: self.value, "ci95": list(self.interval)}
