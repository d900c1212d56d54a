"""`cartpole plot`."""

from collections.abc import Callable
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cartpole_cli.cli.completion import complete_run
from cartpole_cli.errors import CartpoleError, printable

MAX_WIDTH = 100


class XAxis(StrEnum):
    """What a learning curve is drawn against."""

    STEPS = "steps"
    SECONDS = "seconds"


class YAxis(StrEnum):
    """What a learning curve shows."""

    HELD_OUT = "held-out"
    RETURN = "return"


def plot(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Runs or studies, or one sweep: folders or names.", autocompletion=complete_run
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Draw a picture, a .svg or .png ([plot] extra), instead of a chart here.")
    ] = None,
    x: Annotated[XAxis, typer.Option(help="Environment steps of a seed, or the seconds of the training loop.")] = (
        XAxis.STEPS
    ),
    y: Annotated[YAxis, typer.Option(help="Return of greedy held-out episodes, or of training episodes.")] = (
        YAxis.HELD_OUT
    ),
    runs_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Draw learning curves: a run's line, or a study's interquartile mean over its seeds with its 95 % interval.

    A seed that was solved holds its last value.

    For a sweep, draw how the score depends on each number of its space: a line per choice or quarter of the values; in
    a picture, a point per trial. A number's importance is the share of the scores' variance that it explains alone,
    less what chance would explain (epsilon squared; Kelley 1935).
    """
    from cartpole_cli.plots.curves import X_LABELS, Y_LABELS, read_curve
    from cartpole_cli.plots.pictures import check_can_draw, draw
    from cartpole_cli.runs.find import find_run
    from cartpole_cli.runs.folders import is_sweep

    if output is not None:
        check_can_draw(output)
    for name in names:
        folder = find_run(name, runs_dir).path
        if is_sweep(folder):
            if len(names) > 1:
                raise CartpoleError(f"{name}: is a sweep; plot it alone")
            if (x, y) != (XAxis.STEPS, YAxis.HELD_OUT):
                raise CartpoleError(f"--x, --y: not for {name}, a sweep, whose scores are drawn over its numbers")
            _plot_sweep(folder, output)
            return
    curves = [read_curve(name, runs_dir, x=x, y=y) for name in names]
    if output is not None:
        draw({"": curves}, [output], x_label=X_LABELS[x], y_label=Y_LABELS[y])
        print(f"drawn: {printable(str(output))}")
        return
    from cartpole_cli.cli.plot_chart import chart

    _print(partial(chart, curves, x_label=X_LABELS[x], y_label=Y_LABELS[y]))


def _plot_sweep(folder: Path, output: Path | None) -> None:
    from cartpole_cli.plots.slices import read_slices

    slices = read_slices(folder)
    if output is not None:
        from cartpole_cli.plots.pictures import draw_slices

        draw_slices(slices, output)
        print(f"drawn: {printable(str(output))}")
        return
    from cartpole_cli.cli.plot_slices import slice_lines

    _print(partial(slice_lines, slices))


def _print(lines_of: Callable[..., list[str]]) -> None:
    """Print what it makes of the terminal's width, and of whether there are more characters than ASCII."""
    from rich.console import Console

    console = Console(highlight=False)
    lines = lines_of(width=min(console.width, MAX_WIDTH), unicode="utf" in console.encoding.lower())
    text = "\n".join(printable(line, console.encoding) for line in lines)
    console.print(text, markup=False, soft_wrap=True)
