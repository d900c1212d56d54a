"""`cartpole view`."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cartpole_cli.cli.completion import complete_run
from cartpole_cli.errors import printable


def view(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...",
            help="Runs, studies, sweeps, checkpoints or ONNX files: paths or names.",
            autocompletion=complete_run,
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The .html to write; default: view.html beside the first.")
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
) -> None:
    """Write one web page to play with policies, to look inside them, and to watch them learn.

    It needs no network and no server. Without --output the command opens the page, if there is a screen.
    """
    from cartpole_cli.runs.find import find_run
    from cartpole_cli.view.page import check_output, html, write_page

    if output is None:
        first = next((path for path in (Path(names[0]), runs_dir / names[0]) if path.is_file()), None)
        path = (first.parent if first else find_run(names[0], runs_dir).path) / "view.html"
    else:
        path = output
    check_output(path)

    from cartpole_cli.view.subjects import build

    page = build(names, runs_dir)
    content = html({"policies": page.policies, "curves": page.curves, "notes": page.notes})
    write_page(path, content)
    print(printable(f"{path}: {len(content):,} bytes; open it in a browser"))
    if output is None and _has_screen():
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


def _has_screen() -> bool:
    """Whether somebody sits at a terminal beside a screen."""
    has_display = sys.platform in {"darwin", "win32"} or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
    return bool(has_display) and sys.stdout.isatty()
