"""Fields of files that may be damaged. No torch, no numpy: as in `reading.py`."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cartpole_cli.estimate import Estimate
from cartpole_cli.files import read_text

LARGEST = 1e300


@dataclass(frozen=True, slots=True)
class Score:
    """Returns on one set of episodes: "final", "selection" (on which the checkpoint was chosen) or "confirm"."""

    set_name: str
    episodes: int
    mean_return: Estimate
    min_return: float

    def as_plain_data(self) -> dict[str, Any]:
        return {
            "set": self.set_name,
            "episodes": self.episodes,
            "mean_return": self.mean_return.value,
            "min_return": self.min_return,
            "ci95": list(self.mean_return.interval),
        }


class Reader:
    """Reads fields that may be damaged: notes each wrong one, and reads it as None."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def fields(self, path: Path) -> dict[str, Any]:
        """What a JSON file holds."""
        try:
            content = json.loads(read_text(path))
        except FileNotFoundError:
            self.problems.append(f"{path.name}: missing")
        except OSError as error:
            self.problems.append(f"{path.name}: cannot be read ({error.strerror})")
        except (ValueError, RecursionError):  # also text that is not UTF-8
            self.problems.append(f"{path.name}: not valid JSON")
        else:
            if isinstance(content, dict):
                return content
            self.problems.append(f"{path.name}: no fields in it")
        return {}

    def text(self, value: Any, name: str) -> str | None:
        if isinstance(value, str):
            return value
        self._note(value, name, "text")
        return None

    def number(self, value: Any, name: str, least: float = -LARGEST) -> float | None:
        if isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= LARGEST:
            return float(value)
        self._note(value, name, "a number" if least < 0 else "a number from 0")
        return None

    def count(self, value: Any, name: str) -> int | None:
        number = self.number(value, name, 0.0)
        return None if number is None else int(number)

    def score(self, value: Any, name: str, set_name: str) -> Score | None:
        if not isinstance(value, dict):
            self._note(value, name, "fields")
            return None
        episodes = self.number(value.get("episodes"), f"{name}: episodes", 0.0)
        mean = self.estimate(value, name, "mean_return")
        worst = self.number(value.get("min_return"), f"{name}: min_return")
        if episodes is None or mean is None or worst is None:
            return None
        return Score(set_name, int(episodes), mean, worst)

    def estimate(self, value: Any, name: str, key: str) -> Estimate | None:
        """What `Estimate.as_plain_data` wrote under that key."""
        if not isinstance(value, dict):
            self._note(value, name, "fields")
            return None
        middle, interval = self.number(value.get(key), f"{name}: {key}"), self._interval(value.get("ci95"), name)
        return None if middle is None or interval is None else Estimate(middle, interval)

    def _interval(self, value: Any, name: str) -> tuple[float, float] | None:
        if not isinstance(value, list) or len(value) != 2:
            self._note(value, f"{name}: ci95", "two numbers")
            return None
        low, high = (self.number(end, f"{name}: ci95") for end in value)
        return None if low is None or high is None else (low, high)

    def _note(self, value: Any, name: str, right: str) -> None:
        self.problems.append(f"{name}: missing" if value is None else f"{name}: not {right}")
