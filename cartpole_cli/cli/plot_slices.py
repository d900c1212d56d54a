"""How a sweep's score depends on each number of its space, as lines of characters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cartpole_cli.cli.words import count, number

if TYPE_CHECKING:
    from cartpole_cli.plots.slices import Bin, Slice

BAR, PLAIN_BAR = "█", "#"
LONGEST_BAR, SHORTEST_BAR = 40, 8
GAP = "  "


def slice_lines(slices: "Sequence[Slice]", width: int, *, unicode: bool) -> list[str]:
    """Below each number's name and importance a line per bin: its values, mean score and trials; what bars mean."""
    low = min(float(each.scores.min()) for each in slices)
    high = max(float(each.scores.max()) for each in slices)
    bins = [part for each in slices for part in each.bins]
    labels = max(len(part.label) for part in bins)
    figures = [max(map(len, column)) for column in zip(*map(_figures, bins), strict=True)]
    columns = max(SHORTEST_BAR, min(LONGEST_BAR, width - labels - sum(figures) - 4 * len(GAP)))
    lines = []
    for each in slices:
        lines.append(f"{each.key}: {_importance(each.importance)}")
        for part in each.bins:
            share = (part.mean - low) / (high - low) if high > low else 1.0
            bar = (BAR if unicode else PLAIN_BAR) * round(share * columns)
            cells = [text.rjust(size) for text, size in zip(_figures(part), figures, strict=True)]
            lines.append(GAP + GAP.join([part.label.ljust(labels), bar.ljust(columns), *cells]))
        lines.append("")
    return [*lines, *_notes(slices, low, high)]


def _importance(value: float | None) -> str:
    return "importance unknown" if value is None else f"importance {value * 100:.0f} %"


def _figures(part: "Bin") -> tuple[str, str]:
    return _score(part.mean), count(len(part.scores), "trial")


def _notes(slices: "Sequence[Slice]", low: float, high: float) -> list[str]:
    from cartpole_cli.plots.slices import FEWEST_TRIALS

    notes = [f"bars: the mean score, from {_score(low)}, the least of a trial, to {_score(high)}, the best"]
    if any(each.importance is not None for each in slices):
        notes.append("importance: the share of the scores' variance that the number explains alone")
    if any(each.importance is None for each in slices):
        notes.append(f"importance unknown: fewer than {FEWEST_TRIALS} trials, or all scored the same")
    failed = max(int(each.failed.sum()) for each in slices)
    if failed:
        notes.append(f"{count(failed, 'trial')} failed: {'it counts' if failed == 1 else 'they count'} with the least")
    return notes


def _score(value: float) -> str:
    return number(value) if abs(value) < 1e7 else f"{value:.3g}"
