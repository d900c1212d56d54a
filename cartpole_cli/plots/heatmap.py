"""Where on the slider grid a policy stands, as a picture ([plot] extra: matplotlib)."""

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

from cartpole_cli.errors import CartpoleError, printable
from cartpole_cli.files import check_can_write, folders_for, write_file
from cartpole_cli.libraries import quiet_matplotlib
from cartpole_cli.scoring.page.suite import Suite


def check_can_draw(path: Path, suite: Suite) -> None:
    """Raises CartpoleError if matplotlib is missing, the file has another ending than .png, or there is no grid, or
    the file could not be written."""
    if path.suffix.lower() != ".png":
        raise CartpoleError(f"{path}: not a name for a heat map; allowed: .png")
    if importlib.util.find_spec("matplotlib") is None:
        raise CartpoleError("drawing needs matplotlib: pip install 'cartpole-cli[plot]'")
    if all(condition.num_cells == 1 for condition in suite.condition):
        raise CartpoleError(f"{path}: the suite has no grid to draw; expected a condition with several gravities")
    check_can_write(path)


def draw(report: dict[str, Any], path: Path) -> None:
    """A row of panels for each grid, a panel for each gravity.

    Raises:
        CartpoleError: the file cannot be written.
    """
    quiet_matplotlib()
    from matplotlib.figure import Figure  # noqa: PLC0415 (an extra)

    grids = [row for row in report["conditions"] if "cells" in row]
    width = max(len(_values(row, "gravity")) for row in grids)
    figure = Figure(figsize=(3 * width + 1.5, 2.7 * len(grids) + 0.8), layout="constrained")
    panels = figure.subplots(len(grids), width, squeeze=False)
    image: Any = None
    for row, line in zip(grids, panels, strict=True):
        gravities = _values(row, "gravity")
        for place, panel in enumerate(line):
            if place < len(gravities):
                image = _draw_panel(panel, row, gravities[place])
            else:
                panel.set_axis_off()
        line[0].set_ylabel(f"{printable(row['name'])}\n\ncart (kg)", parse_math=False)
    figure.colorbar(image, ax=panels, label="stands at the end", shrink=0.8)
    figure.suptitle(printable(str(report["target"])), parse_math=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=110)
    with folders_for(path):
        write_file(path, picture.getvalue())


def _draw_panel(panel: Any, row: dict[str, Any], gravity: float) -> Any:
    masses, lengths = _values(row, "cart_mass"), _values(row, "pole_length")
    shares = np.array([cell["stands"] for cell in row["cells"] if cell["gravity"] == gravity])
    shares = shares.reshape(len(masses), len(lengths))
    image = panel.imshow(shares, vmin=0, vmax=1, cmap="viridis", origin="lower", aspect="auto")
    panel.set_title(f"{gravity:g} m/s²", fontsize="medium")
    panel.set_xticks(range(len(lengths)), [f"{value:g}" for value in lengths])
    panel.set_yticks(range(len(masses)), [f"{value:g}" for value in masses])
    panel.set_xlabel("pole (m)")
    for (down, across), value in np.ndenumerate(shares):
        colour = "black" if value > 0.6 else "white"
        panel.text(across, down, f"{value * 100:.0f}", ha="center", va="center", color=colour, fontsize="small")
    return image


def _values(row: dict[str, Any], axis: str) -> list[float]:
    return sorted({cell[axis] for cell in row["cells"]})
