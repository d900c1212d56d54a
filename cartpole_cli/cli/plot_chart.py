"""Learning curves as lines of characters."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from cartpole_cli.plots.curves import Curve

HEIGHT = 16
MIN_WIDTH = 20
MARKS, PLAIN_MARKS = "●○■□▲△◆◇", "ox*#+%@&"
BAND, PLAIN_BAND = "░", ":"
AXES, PLAIN_AXES = ("│", "└", "─"), ("|", "+", "-")


def chart(curves: "Sequence[Curve]", width: int, *, x_label: str, y_label: str, unicode: bool) -> list[str]:
    """A picture of that width and its legend; the interval of a curve is shown where it is alone."""
    marks, band, (side, corner, floor) = (MARKS, BAND, AXES) if unicode else (PLAIN_MARKS, PLAIN_BAND, PLAIN_AXES)
    drawn = [values for curve in curves for values in (curve.y, curve.low, curve.high) if values is not None]
    bottom, top = min(0.0, *(values.min() for values in drawn)), max(values.max() for values in drawn)
    start, end = min(curve.x[0] for curve in curves), max(curve.x[-1] for curve in curves)
    ticks = [_short(value) for value in np.linspace(top, bottom, HEIGHT)]
    margin = max(map(len, ticks))
    columns = max(MIN_WIDTH, width - margin - 2)
    at = np.linspace(start, end, columns)

    def rows(values: "np.ndarray") -> "np.ndarray":
        share = (values - bottom) / (top - bottom) if top > bottom else np.zeros_like(values)
        return np.asarray(np.rint((1 - share) * (HEIGHT - 1)), dtype=np.int64)

    canvas = np.full((HEIGHT, columns), " ")
    for place, curve in enumerate(curves):
        inside = np.flatnonzero((at >= curve.x[0]) & (at <= curve.x[-1])) if end > start else np.array([0])
        if len(curves) == 1 and curve.low is not None and curve.high is not None:
            low, high = (rows(np.interp(at, curve.x, values)) for values in (curve.low, curve.high))
            for column in inside:
                canvas[high[column] : low[column] + 1, column] = band
        canvas[rows(np.interp(at, curve.x, curve.y))[inside], inside] = marks[place % len(marks)]
    shown = [tick if place % 5 == 0 else "" for place, tick in enumerate(ticks)]
    lines = [f"{tick:>{margin}} {side}{''.join(cells)}".rstrip() for tick, cells in zip(shown, canvas, strict=True)]
    first, last = _short(start), _short(end)
    lines += [f"{' ' * margin} {corner}{floor * columns}"]
    lines += [f"{' ' * (margin + 2)}{first}{last:>{max(columns - len(first), len(last) + 1)}}"]
    legend = [f"{marks[place % len(marks)]} {curve.label}" for place, curve in enumerate(curves)]
    return [y_label, *lines, f"{' ' * (margin + 2)}{x_label}", *legend]


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
