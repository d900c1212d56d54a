"""Learning curves and slices as SVG or PNG pictures ([plot] extra: matplotlib)."""

import importlib.util
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cartpole_cli.errors import CartpoleError, printable
from cartpole_cli.files import check_can_write, folders_for, write_file
from cartpole_cli.libraries import quiet_matplotlib
from cartpole_cli.plots.curves import Curve
from cartpole_cli.plots.slices import Slice

ENDINGS = (".svg", ".png")
PANEL_WIDTH, PANEL_HEIGHT = 6.4, 4.0
SLICE_WIDTH, SLICE_HEIGHT, SLICES_IN_A_ROW = 3.2, 2.8, 4
MOST_SLICES = 40
LONGEST_LEVEL = 8
"""Letters of a tick's label that is not slanted."""
LOGARITHMIC = 30
"""The largest of a number's values over the least, from which on its axis is logarithmic."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    return importlib.util.find_spec("matplotlib") is not None


def check_can_draw(path: Path) -> None:
    """Raises CartpoleError if matplotlib is missing, or the file has another ending than .svg or .png, or could not be
    written."""
    if path.suffix.lower() not in ENDINGS:
        raise CartpoleError(f"{path}: not a name for a picture; allowed: {' or '.join(ENDINGS)}")
    if not can_draw():
        raise CartpoleError("drawing needs matplotlib: pip install 'cartpole-cli[plot]'")
    check_can_write(path)


def draw(panels: dict[str, Sequence[Curve]], paths: Sequence[Path], *, x_label: str, y_label: str) -> None:
    """A row of panels, by title, in each of the files. The same curves give the same bytes.

    Raises:
        CartpoleError: a file cannot be written.
    """
    quiet_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    figure = Figure(figsize=(PANEL_WIDTH * len(panels), PANEL_HEIGHT), layout="constrained")
    for axes, (title, curves) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True):
        lines = []
        for curve in curves:
            (line,) = axes.plot(curve.x, curve.y, linewidth=1.5)
            lines.append(line)
            if curve.low is not None and curve.high is not None:
                axes.fill_between(curve.x, curve.low, curve.high, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        axes.grid(alpha=0.3)
        legend = axes.legend(lines, [""] * len(lines), fontsize="small")
        for text, curve in zip(legend.get_texts(), curves, strict=True):  # legend() itself drops names like _x
            text.set(text=printable(curve.label), parse_math=False)
    _save(figure, paths)


def draw_slices(slices: Sequence[Slice], path: Path) -> None:
    """A panel for each number, up to MOST_SLICES: a point per trial, a cross per failed one, a line per bin's mean.

    Raises:
        CartpoleError: the file cannot be written.
    """
    quiet_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    slices = slices[:MOST_SLICES]
    across = min(SLICES_IN_A_ROW, len(slices))
    down = math.ceil(len(slices) / across)
    figure = Figure(figsize=(SLICE_WIDTH * across, SLICE_HEIGHT * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for place, axes in enumerate(panels.flat):
        if place < len(slices):
            _draw_slice(axes, slices[place])
        else:
            axes.set_axis_off()
    for row in panels:
        row[0].set_ylabel("score")
    _save(figure, [path])


def _draw_slice(axes: Any, each: Slice) -> None:
    x = each.places if each.numbers is None else each.numbers
    for marker, shown in (("o", ~each.failed), ("x", each.failed)):
        axes.scatter(x[shown], each.scores[shown], s=14, marker=marker, alpha=0.6, color="C0")
    for place, part in enumerate(each.bins):
        inside = x[each.places == place]
        ends = (place - 0.3, place + 0.3) if each.numbers is None else (inside.min(), inside.max())
        axes.plot(ends, [part.mean] * 2, color="C1", linewidth=1.5)
    if each.numbers is None:
        labels = [printable(part.label) for part in each.bins]
        slant = {"rotation": 20, "ha": "right"} if max(map(len, labels)) > LONGEST_LEVEL else {}
        axes.set_xticks(range(len(labels)), labels, fontsize="small", parse_math=False, **slant)
        axes.set_xlim(-0.6, len(labels) - 0.4)
    elif x.min() > 0 and x.max() >= LOGARITHMIC * x.min():
        axes.set_xscale("log")
    share = "" if each.importance is None else f"\nimportance {each.importance * 100:.0f} %"
    axes.set_title(printable(each.key) + share, fontsize="small", parse_math=False)
    axes.grid(alpha=0.3)


def _save(figure: Any, paths: Sequence[Path]) -> None:
    import matplotlib as mpl  # noqa: PLC0415 (an extra)

    for path in paths:
        picture, form = io.BytesIO(), path.suffix.lower().removeprefix(".")
        with mpl.rc_context({"svg.hashsalt": "cartpole"}):
            figure.savefig(picture, format=form, dpi=110, metadata={"Date": None} if form == "svg" else None)
        with folders_for(path):
            write_file(path, picture.getvalue())
