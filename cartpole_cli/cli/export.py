"""`cartpole export`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from cartpole_cli.cli.completion import complete_format, complete_run
from cartpole_cli.cli.streams import tell
from cartpole_cli.errors import CartpoleError, printable

OPSET = 18
MEANINGS = {
    "logits": "two numbers, push with -10 N if the first is larger, with +10 N if the second is",
    "force": "one number, the force in newtons, from -10 to 10",
}


def export(
    checkpoint: Annotated[
        str,
        typer.Argument(help="A checkpoint, run, study or sweep: its path or name.", autocompletion=complete_run),
    ],
    formats: Annotated[
        list[str],
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="onnx, js (an ES module without dependencies) or c (a C99 header); repeat the option for several.",
            autocompletion=complete_format,
        ),
    ] = ["onnx"],  # noqa: B006  # so that --help shows it; nobody changes it
    output: Annotated[
        Path | None, typer.Option(help="The file to write, for one format; default: beside the checkpoint.")
    ] = None,
    opset: Annotated[
        int | None, typer.Option(min=17, max=20, help=f"ONNX operator set; default: {OPSET}.", show_default=False)
    ] = None,
    runs_dir: Annotated[Path, typer.Option(help="Folder that holds the runs.")] = Path("runs"),
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors and warnings only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result, a JSON object per file.")] = False,
) -> None:
    """Write a policy as verified files: ONNX or JavaScript for a web page, C for a real cart.

    Beside an ONNX file it writes a .json of observations and outputs, to test your page with; the others contain them.
    """
    from cartpole_cli.deploy.formats import outputs_for
    from cartpole_cli.runs.find import find_checkpoint

    source = find_checkpoint(checkpoint, runs_dir)
    outputs = outputs_for(formats, source, output)
    if opset is not None and "onnx" not in outputs:
        raise CartpoleError(f"--opset {opset}: only an ONNX file has one; leave it out, or add --format onnx")
    if not (quiet or as_json):
        print(printable(f"exporting {source}"), flush=True)

    from cartpole_cli.deploy.publish import publish

    for published in publish(source, outputs, opset or OPSET, tell):
        if as_json:
            typer.echo(json.dumps(published))
        elif not quiet:
            for line in _lines(published):
                print(printable(line))


def _lines(published: dict[str, Any]) -> Iterator[str]:
    """What was written, and how it is used."""
    path, name = Path(published["output"]), published["output_name"]
    form = f"opset {published['opset']}, input observation, output {name}; " if "opset" in published else ""
    yield (
        f"{path}: {published['bytes']:,} bytes, {form}"
        f"same as torch on {published['states']:,} states and {published['episodes']} episodes"
    )
    match published["format"]:
        case "onnx":
            yield f"{published['golden']}: {published['pairs']} pairs for your own tests"
            yield (
                f"in a page: serve the file as it is (with Vite: copy it to public/), and load it with "
                f"ort.InferenceSession.create({json.dumps(path.name)})"
            )
            yield (
                f"feed it observation, float32 [4]: x, x_dot, theta, theta_dot in m, m/s, rad, rad/s; "
                f"{name}: {MEANINGS[name]}"
            )
        case "js":
            yield (
                f"in a page, a worker or Node: import {{ force }} from {json.dumps(f'./{path.name}')}; "
                f"force(x, xDot, theta, thetaDot) in m, m/s, rad, rad/s gives newtons"
            )
        case "c":
            yield (
                f"in C99 or C++: #include {json.dumps(path.name)}; "
                f"cartpole_force(x, x_dot, theta, theta_dot) in m, m/s, rad, rad/s gives newtons"
            )
