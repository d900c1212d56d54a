"""`cartpole plot`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cartpole_cli.cli.completion import complete_run
from cartpole_cli.errors import printable

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
            metavar="RUN_OR_STUDY...", help="Runs or studies: folders or names.", autocompletion=complete_run
        ),
    ],
    output: Annotated[
        Path | None, typer.Option(help="Draw a picture, a .svg or .png ([plot] extra), instead of a chart here.")
    ] = None,
    x: Annotated[XAxis, typer.Option(help="Environment steps of a seed, or the seconds of the training loop.")] = (
        XAxis.STEPS
    ),
    y: Annotated[YAxis, typer.Option(help="Return of greedy held-out episodes, or of those trained on.")] = (
        YAxis.HELD_OUT
    ),
    runs_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
) -> None:
    """Draw learning curves: a run's line, or a study's interquartile mean over its seeds with its 95 % interval.

    A seed that was solved holds its last value.
    """
    from cartpole_cli.plots.curves import X_LABELS, Y_LABELS, read_curve
    from cartpole_cli.plots.pictures import check_can_draw, draw

    if output is not None:
        check_can_draw(output)
    curves = [read_curve(name, runs_dir, x=x, y=y) for name in names]
    if output is not None:
        draw({"": curves}, [output], x_label=X_LABELS[x], y_label=Y_LABELS[y])
        print(f"drawn: {printable(str(output))}")
        return
    from rich.console import Console

    from cartpole_cli.cli.plot_chart import chart

    console = Console(highlight=False)
    utf = "utf" in console.encoding.lower()
    lines = chart(curves, min(console.width, MAX_WIDTH), x_label=X_LABELS[x], y_label=Y_LABELS[y], unicode=utf)
    text = "\n".join(printable(line, console.encoding) for line in lines)
    console.print(text, markup=False, soft_wrap=True)
