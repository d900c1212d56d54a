"""A web server, headless Chromium, onnxruntime-web, and the ONNX files they are to run."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4

import onnx
import pytest
from commands import command, missing
from exports import CUT_SHORT, RECIPES

HERE = Path(__file__).parent
RUNTIMES = {
    folder: package.rpartition("@")[2]
    for folder, package in json.loads((HERE / "package.json").read_text(encoding="utf-8"))["dependencies"].items()
}

# Calls a function of page/harness.js.
Page = Callable[..., Any]


class Files(SimpleHTTPRequestHandler):
    """Files with the types that browsers insist on, without a line in the log for each."""

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {
        ".mjs": "text/javascript",
        ".js": "text/javascript",
        ".wasm": "application/wasm",
    }

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="session")
def chromium() -> str:
    """Where the browser is, once everything else is known to be there too: before a policy is trained for it."""
    for folder, version in RUNTIMES.items():
        package = HERE / "node_modules" / folder / "package.json"
        if not package.exists() or json.loads(package.read_text(encoding="utf-8"))["version"] != version:
            missing(f"onnxruntime-web {version} is not installed: npm ci --ignore-scripts --prefix tests/browser")
    if find_spec("playwright") is None:
        missing("playwright is not installed: pip install -e '.[dev]'")
    return shutil.which("chromium") or missing("chromium is not on the PATH: apt-get install chromium")


@pytest.fixture(scope="session")
def site(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The web server's root folder (policies belong into models/), and its address."""
    root = tmp_path_factory.mktemp("site")
    (root / "models").mkdir()
    for folder in ("page", "node_modules"):
        (root / folder).symlink_to(HERE / folder, target_is_directory=True)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Files, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield root, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# Not for the session: while playwright's loop runs in this thread, other tests could not run theirs.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium) as launched:
        yield launched


@pytest.fixture(scope="module")
def pages(browser: Any, site: tuple[Path, str]) -> dict[str, Page]:
    """A page for each onnxruntime-web."""

    def open_page(folder: str) -> Page:
        page = browser.new_page()
        page.goto(f"{site[1]}/page/index.html?ort={folder}")
        call = "async ([name, ...values]) => (await import('/page/harness.js'))[name](...values)"
        return lambda name, *values: page.evaluate(call, [name, *values])

    return {folder: open_page(folder) for folder in RUNTIMES}


@pytest.fixture(scope="session")
def pinned() -> dict[str, str]:
    """The version of onnxruntime-web in each folder."""
    return RUNTIMES


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    """Which onnxruntime-web, by its folder in node_modules."""
    return str(request.param)


@pytest.fixture
def page(pages: dict[str, Page], runtime: str) -> Page:
    return pages[runtime]


@pytest.fixture
def publish(site: tuple[Path, str]) -> Callable[..., str]:
    """Saves a model where the pages find it, and gives its address there."""

    def save(model: onnx.ModelProto, **options: Any) -> str:
        name = f"{uuid4().hex}.onnx"
        onnx.save_model(model, site[0] / "models" / name, location=f"{name}.data", **options)
        return f"/models/{name}"

    return save


@pytest.fixture(scope="session", params=RECIPES)
def exported(request: pytest.FixtureRequest, site: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped recipe's ONNX file, trained and exported by the commands, where the page sees it as /models.

    Beside it, with other endings, are its JavaScript and its C.
    """
    path = site[0] / "models" / f"{request.param}.onnx"
    runs, changes = str(tmp_path_factory.mktemp("runs")), CUT_SHORT.get(request.param, ())
    train = ("train", "--recipe", request.param, "--runs-dir", runs, "--name", "run", "--quiet")
    assert command(*train, *changes) == 0
    for name, ending in (("onnx", ".onnx"), ("js", ".mjs"), ("c", ".h")):
        output = ("--format", name, "--output", path.with_suffix(ending))
        assert command("export", "run", "--runs-dir", runs, *output, "--quiet") == 0
    return path
