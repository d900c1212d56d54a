"""The command line: argv in, text out, exit codes. Each command lives in a module of its own."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from cartpole_cli.cli.best import best
from cartpole_cli.cli.evaluate import evaluate
from cartpole_cli.cli.export import export
from cartpole_cli.cli.recipes import recipes_app
from cartpole_cli.cli.train import train
from cartpole_cli.errors import CartpoleError

app = typer.Typer(
    help="Train cart-pole policies and ship them to a web page.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(train)
app.command()(best)
app.command(name="eval")(evaluate)
app.command()(export)
app.add_typer(recipes_app, name="recipes")


def _print_version(wanted: bool | None) -> None:
    if wanted:
        print(version("cartpole-cli"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool | None, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Train cart-pole policies and ship them to a web page."""


def main() -> None:
    """Run the command line: user errors are lines on stderr and exit code 2, never a traceback."""
    try:
        app()
    except CartpoleError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
