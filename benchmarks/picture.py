"""README's picture of `cartpole view`: two moments of a training side by side, right after a push. Needs chromium.

python benchmarks/picture.py                        # writes docs/view.png
"""

import argparse
import shutil
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from timing import CARTPOLE, run

SIZE = {"width": 1280, "height": 1338}
DEFAULT = Path(__file__).parent.parent / "docs" / "view.png"
EARLY = "{ subject: 0, moment: Math.round(cartpole.app.data.policies[0].history.length / 4) }"
LANES = f"cartpole.app.setLanes([{EARLY}, {{ subject: 0, moment: null }}])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DEFAULT, help="the .png to write")
    parser.add_argument("--steps", type=int, default=10_000, help="env steps of the training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        html = Path(folder) / "first.html"
        where = ("--runs-dir", folder)
        changes = ("trainer.evaluate_every=1", f"trainer.num_steps={options.steps}")
        run([*CARTPOLE, "train", "--recipe", "ppo", "--name", "first", "--quiet", *where, *changes])
        run([*CARTPOLE, "view", "first", *where, "-o", str(html)])
        with playwright.chromium.launch(executable_path=shutil.which("chromium")) as browser:
            page = browser.new_page(viewport=SIZE)
            page.goto(html.as_uri())
            pose(page)
            page.screenshot(path=options.output)
    print(f"{options.output}: {options.output.stat().st_size:,} bytes")


def pose(page: Page) -> None:
    """A second of balance, a push, and a moment after it; the maps are ready by then."""
    page.evaluate(f"{LANES}; cartpole.app.isPaused = true")
    page.evaluate("for (let step = 0; step < 40; step++) cartpole.app.advance()")
    page.evaluate("cartpole.app.pushAll(1.5)")
    page.evaluate("for (let step = 0; step < 16; step++) cartpole.app.advance()")
    page.evaluate("cartpole.app.focus = 1; cartpole.app.changed()")
    page.wait_for_timeout(4000)
    page.evaluate("cartpole.app.lastPush.time = performance.now() + 2000")  # as if it had just landed
    page.wait_for_timeout(300)


if __name__ == "__main__":
    main()
