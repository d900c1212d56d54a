"""How a sweep's score depends on each number of its space, from its trials. No torch, no matplotlib."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeGuard

import numpy as np
from jaxtyping import Bool, Float, Int

from cartpole_cli.errors import CartpoleError, reading
from cartpole_cli.files import MAX_METRICS, read_bytes
from cartpole_cli.runs.fields import LARGEST

MOST_CHOICES = 6
"""Different numbers that are shown one by one where some were tried more than once; more are binned."""
QUARTERS = 4
FEWEST_TRIALS = 8
"""For an importance."""
LATEST = 2**63
LONGEST_LABEL = 40
Scalar = str | int | float | bool | None
Value = Scalar | list[Scalar]


@dataclass(frozen=True, slots=True)
class Trial:
    """A line of trials.jsonl. `score` is None where a seed failed before its first evaluation."""

    number: int
    setting: dict[str, Value]
    score: float | None


@dataclass(frozen=True, slots=True)
class Bin:
    """Trials of one choice, or of a quarter of the values."""

    label: str
    scores: Float[np.ndarray, "_"]

    @property
    def mean(self) -> float:
        return float(self.scores.mean())


@dataclass(frozen=True, slots=True)
class Slice:
    """The score over one number of the space.

    `numbers` are the trials' values, None where they are choices; `places` the bins that the trials are in. `failed`
    trials have no score of their own, and count with the least. `importance` is that of `importance_of`.
    """

    key: str
    numbers: Float[np.ndarray, "T"] | None
    places: Int[np.ndarray, "T"]
    scores: Float[np.ndarray, "T"]
    failed: Bool[np.ndarray, "T"]
    bins: tuple[Bin, ...]
    importance: float | None


def read_trials(folder: Path) -> list[Trial]:
    """The trials of a sweep that have ended, by number; lines that are damaged or half-written are passed over.

    Of several lines of one trial the last counts.

    Raises:
        CartpoleError: the file cannot be read.
    """
    path, trials = folder / "trials.jsonl", {}
    with reading(path):
        lines = read_bytes(path, MAX_METRICS).splitlines() if path.exists() else []
    for line in lines:
        with suppress(ValueError, RecursionError):
            trial = _trial(json.loads(line))
            if trial is not None:
                trials[trial.number] = trial
    return [trials[number] for number in sorted(trials)]


def read_slices(folder: Path) -> list[Slice]:
    """The slices of a sweep.

    Raises:
        CartpoleError: its trials cannot be read, or none has a score and a setting.
    """
    slices = slices_of(read_trials(folder))
    if not slices:
        raise CartpoleError(f"{folder}: a sweep without a trial that has a score")
    return slices


def slices_of(trials: Sequence[Trial]) -> list[Slice]:
    """A slice for each key of the trials' settings, the most important first; none where no trial has a score."""
    least = min((trial.score for trial in trials if trial.score is not None), default=None)
    if least is None:
        return []
    keys = dict.fromkeys(key for trial in trials for key in trial.setting)
    slices = [_slice(key, [trial for trial in trials if key in trial.setting], least) for key in keys]
    return sorted(slices, key=lambda each: -1.0 if each.importance is None else each.importance, reverse=True)


def importance_of(bins: Sequence[Float[np.ndarray, "_"]]) -> float | None:
    """The share of the scores' variance that a number explains alone; None where there is no telling.

    Epsilon squared (Kelley 1935, "An unbiased correlation ratio measure", PNAS 21), of a one-way analysis of variance
    over k bins: (SS_between - (k - 1) MS_within) / SS_total, at least 0. What k bins of N trials explain by chance, of
    a number that does nothing, is taken off. What numbers do together is in none of their shares.

    Args:
        bins: the scores of the trials in each bin; none is empty.
    """
    scores = np.concatenate(bins)
    low, high = scores.min(), scores.max()
    spare = len(scores) - len(bins)
    if len(scores) < FEWEST_TRIALS or low == high or not spare:
        return None
    scaled = [(each - low) / (high - low) for each in bins]
    middle = np.concatenate(scaled).mean()
    within = sum(float(((each - each.mean()) ** 2).sum()) for each in scaled)
    between = sum(len(each) * float((each.mean() - middle) ** 2) for each in scaled)
    return max(0.0, (between - (len(bins) - 1) * within / spare) / (between + within))


def _slice(key: str, trials: Sequence[Trial], least: float) -> Slice:
    scores = np.array([least if trial.score is None else trial.score for trial in trials])
    places, labels, numbers = _binned([trial.setting[key] for trial in trials])
    bins = tuple(Bin(label, scores[places == place]) for place, label in enumerate(labels))
    failed = np.array([trial.score is None for trial in trials])
    return Slice(key, numbers, places, scores, failed, bins, importance_of([each.scores for each in bins]))


def _binned(values: Sequence[Value]) -> tuple[Int[np.ndarray, "T"], list[str], Float[np.ndarray, "T"] | None]:
    """Each value's bin, the bins' labels, and the values if they are numbers of a range; numbers come first."""
    are_numbers = np.array([_is_number(value) for value in values])
    numbers = np.array([value for value in values if _is_number(value)], dtype=np.float64)
    different = len(np.unique(numbers))
    is_range = different > MOST_CHOICES or 1 < different == len(numbers)
    kinds, among_numbers = np.unique(_quarters(numbers) if is_range else numbers, return_inverse=True)
    labels = [_range(numbers[among_numbers == place]) for place in range(len(kinds))]
    others = [json.dumps(value) for value in values if not _is_number(value)]
    texts = {text: len(labels) + place for place, text in enumerate(sorted(set(others)))}
    places = np.zeros(len(values), dtype=np.int64)
    places[are_numbers] = among_numbers
    places[~are_numbers] = [texts[text] for text in others]
    return places, [*labels, *map(_label, texts)], numbers if is_range and are_numbers.all() else None


def _quarters(numbers: Float[np.ndarray, "N"]) -> Int[np.ndarray, "N"]:
    """By rank; equal numbers are in one quarter."""
    return np.asarray(QUARTERS * np.searchsorted(np.sort(numbers), numbers) // len(numbers))


def _range(numbers: Float[np.ndarray, "N"]) -> str:
    low, high = (_short(float(end)) for end in (numbers.min(), numbers.max()))
    return low if low == high else f"{low} to {high}"


def _short(number: float) -> str:
    return f"{number:.0f}" if number.is_integer() and abs(number) < 1e7 else f"{number:.4g}"


def _label(text: str) -> str:
    """What was not a number, from JSON, as recipes have it."""
    value = json.loads(text)
    shown = value if isinstance(value, str) else "none" if value is None else text
    return shown if len(shown) <= LONGEST_LABEL else f"{shown[: LONGEST_LABEL - 3]}..."


def _trial(record: object) -> Trial | None:
    """A line's trial, if it is one."""
    if not isinstance(record, dict) or "score" not in record:
        return None
    number, setting, score = record.get("trial"), record.get("setting"), record["score"]
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < LATEST:
        return None
    if not isinstance(setting, dict) or not all(map(_is_value, setting.values())):
        return None
    if score is not None and not _is_number(score):
        return None
    return Trial(number, setting, None if score is None else float(score))


def _is_value(value: object) -> bool:
    return all(map(_is_scalar, value)) if isinstance(value, list) else _is_scalar(value)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, str | bool) or _is_number(value)


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
