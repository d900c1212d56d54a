"""What does an exported policy cost a page, or a microcontroller? JavaScript beside ONNX with onnxruntime-web, and C.

Three tables: bytes and microseconds a call in Chromium; seconds from the request for a page to its first force, on
networks as Chromium's developer tools throttle them; bytes of the object that C compilers make at -Os. Needs chromium,
`npm ci --ignore-scripts --prefix tests/browser`, and a compiler; of those for microcontrollers the ones that are there.

python benchmarks/export.py
python benchmarks/export.py --tiny          # does it run at all?
"""

import argparse
import gzip
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright
from timing import CARTPOLE, circumstances, pin_to_one_core, run

BROWSER_TESTS = Path(__file__).parent.parent / "tests" / "browser"
ORT = BROWSER_TESTS / "node_modules" / "ort-latest" / "dist"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
POLICIES = {
    "64-64": ("ppo", "policy.hidden_sizes=[64,64]"),
    "16-16": ("ppo", "policy.hidden_sizes=[16,16]"),
}
NETWORKS = {  # bytes/s down, bytes/s up, ms of latency: the presets of Chromium's developer tools
    "this machine": None,
    "fast 4G": (9e6 / 8 * 0.9, 1.5e6 / 8 * 0.9, 165.0),
    "slow 4G": (1.6e6 / 8 * 0.9, 0.75e6 / 8 * 0.9, 562.5),
}
TYPES = {".mjs": "text/javascript", ".html": "text/html", ".wasm": "application/wasm"}
CODE = "const load = async () => { const { force } = await import('/best.mjs'); return (s) => force(...s); };"
ONNX = """
import * as ort from '/ort.wasm.min.mjs';
ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = '/';
const load = async () => {
  const session = await ort.InferenceSession.create('/best.onnx', { executionProviders: ['wasm'] });
  return async (state) => {
    const results = await session.run({ observation: new ort.Tensor('float32', state, [4]) });
    const values = Object.values(results)[0].data;
    return values[1] > values[0] ? 10 : -10;
  };
};
"""
MEASURE = """
const began = performance.now();
const force = await load();
const loaded = performance.now();
await force([0.1, 0.2, 0.03, 0.4]);
const first = performance.now();
const waits = force([0, 0, 0, 0]) instanceof Promise;
window.time = async (calls) => {
  const started = performance.now();
  if (waits) for (let call = 0; call < calls; call++) await force([0.1, 0.2, call / calls, 0.4]);
  else for (let call = 0; call < calls; call++) force([0.1, 0.2, call / calls, 0.4]);
  return (1000 * (performance.now() - started)) / calls;
};
window.measured = { load: loaded - began, call: first - loaded, first };
"""
COMPILERS = {
    "x86_64": ("gcc",),
    "Cortex-M4 with FPU": ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    "AVR (Nano)": ("avr-gcc", "-mmcu=atmega328p"),
}
USER = '#include "best.h"\nfloat control(float x, float v, float t, float w);\n'
USER += "float control(float x, float v, float t, float w) { return cartpole_force(x, v, t, w); }\n"

Site = dict[str, bytes]


class Handler(BaseHTTPRequestHandler):
    """A site's files, as they are or compressed."""

    protocol_version = "HTTP/1.1"

    def __init__(self, site: Site, compressed: bool, *rest: Any) -> None:
        self.site, self.compressed = site, compressed
        super().__init__(*rest)

    def do_GET(self) -> None:
        content = self.site.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Type", TYPES.get(Path(self.path).suffix, "application/octet-stream"))
        if self.compressed:
            self.send_header("Content-Encoding", "gzip")
        body = (zipped(content) if self.compressed else content) if content is not None else b""
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


def zipped(content: bytes, known: dict[bytes, bytes] = {}) -> bytes:  # noqa: B006  # compressed once
    if content not in known:
        known[content] = gzip.compress(content)
    return known[content]


@contextmanager
def served(site: Site, *, compressed: bool) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, site, compressed)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def export(folder: Path, recipe: str, change: str) -> Path:
    """A policy that was trained for a moment, in all formats; the folder of its files."""
    short = ("trainer.num_steps=1", "trainer.evaluation_episodes=2", change)
    runs = ("--runs-dir", str(folder))
    run([*CARTPOLE, "train", "--recipe", recipe, *runs, "--name", "run", "--quiet", *short])
    formats = ("--format", "onnx", "--format", "js", "--format", "c")
    run([*CARTPOLE, "export", "run", *runs, *formats, "--quiet"])
    return folder / "run"


def site_of(files: Path, name: str) -> Site:
    """A page that uses a policy, and all that it loads."""
    script = {"js": CODE, "onnx": ONNX}[name] + MEASURE
    page = f'<!doctype html><meta charset="utf-8"><script type="module">{script}</script>'
    loaded = [files / "best.mjs"] if name == "js" else [files / "best.onnx", *(ORT / part for part in RUNTIME)]
    return {"/page.html": page.encode()} | {f"/{path.name}": path.read_bytes() for path in loaded}


def visit(browser: Browser, site: Site, network: str, *, compressed: bool, calls: int = 0) -> dict[str, Any]:
    """What a page of a new visitor measures: ms; us a call, the medians of five times so many."""
    with served(site, compressed=compressed) as address:
        context = browser.new_context()
        page = context.new_page()
        conditions = NETWORKS[network]
        if conditions is not None:
            down, up, latency = conditions
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            throttled = {"downloadThroughput": down, "uploadThroughput": up, "latency": latency}
            session.send("Network.emulateNetworkConditions", {"offline": False, **throttled})
        page.goto(f"{address}/page.html", timeout=300_000)
        page.wait_for_function("window.measured", timeout=300_000)
        measured: dict[str, Any] = page.evaluate("window.measured")
        if calls:
            page.evaluate("(calls) => window.time(calls)", calls)
            times = [page.evaluate("(calls) => window.time(calls)", calls) for _ in range(5)]
            measured["us"] = statistics.median(times)
        context.close()
    return measured


def print_calls(browser: Browser, files: dict[str, Path], repeats: int, calls: int) -> None:
    print("| policy | format | bytes | gzip | load, ms | first call, ms | us a call |\n|---|---|---|---|---|---|---|")
    for policy, folder in files.items():
        for name, ending, number in (("js", ".mjs", calls), ("onnx", ".onnx", calls // 10)):
            content = (folder / f"best{ending}").read_bytes()
            visits = [
                visit(browser, site_of(folder, name), "this machine", compressed=False, calls=number)
                for _ in range(repeats)
            ]
            load, call, us = (statistics.median(each[key] for each in visits) for key in ("load", "call", "us"))
            sizes = f"{len(content):,} | {len(gzip.compress(content)):,}"
            print(f"| {policy} | {name} | {sizes} | {load:.1f} | {call:.2f} | {us:.1f} |")
    runtime = [(ORT / part).read_bytes() for part in RUNTIME]
    sizes = f"{sum(map(len, runtime)):,} | {sum(len(zipped(part)) for part in runtime):,}"
    print(f"| | onnxruntime-web {version_of_ort()} | {sizes} | | | |\n")


def print_first_forces(browser: Browser, folder: Path, repeats: int, networks: list[str]) -> None:
    print(f"| first force, s | {' | '.join(networks)} |\n|---|{'---|' * len(networks)}")
    for name, compressed in (("js", False), ("js", True), ("onnx", False), ("onnx", True)):
        cells = []
        for network in networks:
            site = site_of(folder, name)
            firsts = [visit(browser, site, network, compressed=compressed)["first"] for _ in range(repeats)]
            cells.append(f"{statistics.median(firsts) / 1000:.2f}")
        print(f"| {name}{', served compressed' if compressed else ''} | {' | '.join(cells)} |", flush=True)
    print()


def print_objects(files: dict[str, Path]) -> None:
    print("| C at -Os, bytes of code and constants | " + " | ".join(files) + f" |\n|---|{'---|' * len(files)}")
    for machine, (compiler, *options) in COMPILERS.items():
        if shutil.which(compiler):
            sizes = [object_size(folder, compiler, options) for folder in files.values()]
            print(f"| {machine} | {' | '.join(f'{size:,}' for size in sizes)} |")


def object_size(folder: Path, compiler: str, options: list[str]) -> int:
    """Of one function that asks the policy for a force, without the math library."""
    (folder / "user.c").write_text(USER, encoding="ascii")
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Os"]
    subprocess.run([compiler, *options, *strict, "-c", "user.c"], cwd=folder, check=True)
    size = compiler.removesuffix("gcc") + "size"
    lines = subprocess.run([size, "user.o"], cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()
    return sum(map(int, lines[1].split()[:3]))


def version_of_ort() -> str:
    return str(json.loads((ORT.parent / "package.json").read_text(encoding="utf-8"))["version"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    options = parser.parse_args()
    pin_to_one_core()
    calls, repeats = (100, 1) if options.tiny else (20_000, options.repeats)
    networks = ["this machine"] if options.tiny else list(NETWORKS)
    with tempfile.TemporaryDirectory() as folder:
        files = {policy: export(Path(folder) / policy, *words) for policy, words in POLICIES.items()}
        with (
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=shutil.which("chromium")) as browser,
        ):
            print(f"{circumstances()}, Chromium {browser.version}\n")
            print_calls(browser, files, repeats, calls)
            print_first_forces(browser, files["64-64"], repeats, networks)
        print_objects(files)


if __name__ == "__main__":
    main()
