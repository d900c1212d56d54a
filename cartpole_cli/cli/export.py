"""`cartpole export`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from cartpole_cli.cli.completion import complete_run


def export(
    checkpoint: Annotated[
        str, typer.Argument(help="A checkpoint, a run's folder, or a run's name.", autocompletion=complete_run)
    ],
    output: Annotated[Path | None, typer.Option(help="The file to write; default: beside the checkpoint.")] = None,
    opset: Annotated[int, typer.Option(min=17, max=20, help="ONNX operator set.")] = 18,
    runs_dir: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors and warnings only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Write a policy as one verified ONNX file for a web page.

    Beside it comes a .json of observations and outputs, to test the page with.
    """
    from cartpole_cli.runs.targets import find_checkpoint

    source = find_checkpoint(checkpoint, runs_dir)
    target = output or source.with_suffix(".onnx")
    if not (quiet or as_json):
        typer.echo(f"exporting {source}")

    from cartpole_cli.runs.publish import publish

    published = publish(source, target, opset)
    if as_json:
        typer.echo(json.dumps(published))
    elif not quiet:
        typer.echo(
            f"{published['output']}: {published['bytes']:,} bytes, opset {opset}, input observation, "
            f"output {published['output_name']}; same as torch on {published['states']:,} states and "
            f"{published['episodes']} episodes\n{published['golden']}: {published['pairs']} pairs for your own tests"
        )
