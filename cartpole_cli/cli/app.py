"""The command line: argv in, text out, exit codes. Each command lives in a module of its own."""

import errno
import io
import sys
from typing import Annotated

import typer

from cartpole_cli.cli.best import best
from cartpole_cli.cli.eval import evaluate
from cartpole_cli.cli.export import export
from cartpole_cli.cli.plot import plot
from cartpole_cli.cli.recipes import recipes_app
from cartpole_cli.cli.streams import EXIT_BROKEN_PIPE, forget_stdout
from cartpole_cli.cli.sweep import sweep
from cartpole_cli.cli.train import train
from cartpole_cli.cli.view import view
from cartpole_cli.errors import CartpoleError, memory_asked

NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

app = typer.Typer(
    help="Train cart-pole policies and ship them to a web page.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(train)
app.command()(sweep)
app.command()(best)
app.command(name="eval")(evaluate)
app.command()(plot)
app.command()(export)
app.command()(view)
app.add_typer(recipes_app, name="recipes")


def _print_version(wanted: bool | None) -> None:
    if wanted:
        from importlib.metadata import version

        print(version("cartpole-cli"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool | None, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = None,
) -> None:
    """Train cart-pole policies and ship them to a web page."""


def _print_any_name() -> None:
    """Folders are called what no encoding of a terminal need have: such letters are printed as escapes."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")


def _run() -> None:
    try:
        app()
    finally:
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be printed is told here, not after the end


def main() -> None:
    """Run the command line: user errors are lines on stderr and exit code 2, never a traceback."""
    _print_any_name()
    try:
        _run()
    except CartpoleError as error:
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        raise SystemExit(2) from None
    except (MemoryError, RuntimeError) as error:
        asked = memory_asked(error)
        if asked is None:
            raise
        print(f"error: not enough memory ({asked})", file=sys.stderr)
        raise SystemExit(2) from None
    except BrokenPipeError:
        forget_stdout()
        raise SystemExit(EXIT_BROKEN_PIPE) from None
    except OSError as error:
        if error.filename is not None or error.errno not in NO_ROOM:
            raise
        print(f"error: standard output: cannot be written ({error.strerror})", file=sys.stderr)
        forget_stdout()
        raise SystemExit(2) from None
