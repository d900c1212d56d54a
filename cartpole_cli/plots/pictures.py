"""Learning curves as SVG or PNG pictures ([plot] extra: matplotlib)."""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

from cartpole_cli.errors import CartpoleError, printable
from cartpole_cli.files import folders_for, write_file
from cartpole_cli.libraries import quiet_matplotlib
from cartpole_cli.plots.curves import Curve

ENDINGS = (".svg", ".png")
PANEL_WIDTH, PANEL_HEIGHT = 6.4, 4.0


def check_can_draw(path: Path) -> None:
    """Raises CartpoleError if matplotlib is missing, or the file has another ending than .svg or .png."""
    if path.suffix.lower() not in ENDINGS:
        raise CartpoleError(f"{path}: not a picture's name; allowed: {' or '.join(ENDINGS)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise CartpoleError("drawing needs matplotlib: pip install 'cartpole-cli[plot]'")


def draw(panels: dict[str, Sequence[Curve]], paths: Sequence[Path], *, x_label: str, y_label: str) -> None:
    """A row of panels, by title, in each of the files. The same curves give the same bytes.

    Raises:
        CartpoleError: a file cannot be written.
    """
    quiet_matplotlib()
    import matplotlib as mpl  # noqa: PLC0415 (an extra)
    from matplotlib.figure import Figure  # noqa: PLC0415

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
    for path in paths:
        picture, form = io.BytesIO(), path.suffix.lower().removeprefix(".")
        with mpl.rc_context({"svg.hashsalt": "cartpole"}):
            figure.savefig(picture, format=form, dpi=110, metadata={"Date": None} if form == "svg" else None)
        with folders_for(path):
            write_file(path, picture.getvalue())
