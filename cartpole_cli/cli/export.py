"""`cartpole export`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cartpole_cli.cli.completion import complete_run
from cartpole_cli.cli.streams import tell
from cartpole_cli.errors import printable

MEANINGS = {
    "logits": "two numbers, push with -10 N if the first is larger, with +10 N if the second is",
    "force": "one number, the force in newtons, from -10 to 10",
}


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(help="A checkpoint, run, study or sweep: its path or name.", autocompletion=complete_run),
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
    from cartpole_cli.runs.find import find_checkpoint

    source = find_checkpoint(checkpoint, runs_dir)
    path = output or source.with_suffix(".onnx")
    if not (quiet or as_json):
        print(printable(f"exporting {source}"), flush=True)

    from cartpole_cli.deploy.publish import publish

    published = publish(source, path, opset, tell)
    if as_json:
        typer.echo(json.dumps(published))
    elif not quiet:
        for line in _lines(published, path.name):
            print(printable(line))


def _lines(published: dict[str, Any], file_name: str) -> Iterator[str]:
    """What was written, and how a page uses it."""
    name = published["output_name"]
    yield (
        f"{published['output']}: {published['bytes']:,} bytes, opset {published['opset']}, input observation, "
        f"output {name}; same as torch on {published['states']:,} states and {published['episodes']} episodes"
    )
    yield f"{published['golden']}: {published['pairs']} pairs for your own tests"
    yield (
        f"in a page: serve the file as it is (with Vite: copy it to public/), and load it with "
        f"ort.InferenceSession.create({json.dumps(file_name)})"
    )
    yield (
        f"feed it observation, float32 [4]: x, x_dot, theta, theta_dot in m, m/s, rad, rad/s; {name}: {MEANINGS[name]}"
    )
