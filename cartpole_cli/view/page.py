"""One HTML file from the templates and the data: no network, no script but ours, nothing of a name in the markup."""

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from cartpole_cli.deploy.template import LIMITS, ascii_json, fill
from cartpole_cli.errors import CartpoleError, reading
from cartpole_cli.files import open_regular, write_file

FOLDER = Path(__file__).parent / "templates"
SCRIPTS = (
    "physics",
    "pilots",
    "lanes",
    "drawing",
    "state",
    "elements",
    "scene",
    "stage",
    "world",
    "charts",
    "training",
    "maps",
    "inside",
    "numbers",
    "main",
)
"""In the order in which they build on each other."""
MARK = b"<!doctype html>\n<!-- made by cartpole view -->\n"
"""How our pages begin; files that begin otherwise are not overwritten."""
GIVEN = {"POLICY": "given", "INFO": "null"}
"""In the places of an export: the code is the same for all policies of a page."""
EXPORTED = re.compile(r"^export (?:const|function|class) (\w+)", re.MULTILINE)
ANY_SIZE = 2**62


def html(data: dict[str, Any]) -> bytes:
    """The page that shows this data."""
    style, script = (FOLDER / "style.css").read_text(encoding="ascii"), script_text()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    places = {"POLICY": policy, "STYLE": style, "SCRIPT": script, "DATA": ascii_json(data)}
    return MARK + fill("page.html", places, FOLDER).encode("ascii")


def script_text() -> str:
    """All scripts as one: each module a function that gives what it exports, the exported policy's code among them."""
    limits = {name: f"{limit:g}" for name, limit in LIMITS.items()}
    exported = _without_modules(fill("policy.mjs", limits | GIVEN))
    factory = f"function exportedPolicy(given) {{\n{exported}return {{ outputs, force, selfTest }};\n}}\n"
    return "\n" + "\n".join([factory, *map(_module, SCRIPTS)])


def check_output(path: Path) -> None:
    """Raises CartpoleError if it is no name for a page, or something else is there."""
    if path.suffix.lower() != ".html":
        raise CartpoleError(f"{path}: not a name for a page; expected one that ends in .html")
    with reading(path):
        if path.is_dir():
            raise CartpoleError(f"{path}: a folder; expected a name for a file")
        if path.exists():
            with open_regular(path, ANY_SIZE) as file:
                if file.read(len(MARK)) != MARK:
                    raise CartpoleError(f"{path}: was not written by cartpole view, and is left as it is")


def write_page(path: Path, content: bytes) -> None:
    """Write a page where nothing is, or where a page of ours is.

    Raises:
        CartpoleError: something else is there, or it cannot be written.
    """
    check_output(path)
    write_file(path, content)


def _module(name: str) -> str:
    text = (FOLDER / f"{name}.mjs").read_text(encoding="ascii")
    names = ", ".join(EXPORTED.findall(text))
    return f"const {{ {names} }} = (() => {{\n{_without_modules(text)}return {{ {names} }};\n}})();\n"


def _without_modules(text: str) -> str:
    """A module's text without its imports and exports."""
    return re.sub(r"^export ", "", re.sub(r"^import [^;]*;\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
