"""README's pictures of `cartpole view`: two moments of a training side by side, and a pole that is pushed and rescued.

Needs chromium, and Pillow, which comes with matplotlib.

python benchmarks/picture.py                        # writes docs/view.png and docs/rescue.gif
"""

import argparse
import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright
from timing import CARTPOLE, run

SIZE = {"width": 1280, "height": 1320}
DOCS = Path(__file__).parent.parent / "docs"
NARROW = {"width": 420, "height": 800}
FRAMES, PUSHED_AT, SECONDS_A_FRAME = 80, 10, 0.04
EARLY = "{ subject: 0, moment: Math.round(cartpole.app.data.policies[0].history.length / 4) }"
LANES = f"cartpole.app.setLanes([{EARLY}, {{ subject: 0, moment: null }}])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=DOCS, help="the folder to write to")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of the .gif, 25 a second")
    parser.add_argument("--steps", type=int, default=16_000, help="env steps of the training")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        html = Path(folder) / "first.html"
        where = ("--runs-dir", folder)
        changes = ("trainer.evaluate_every=1", "trainer.stop_at_return=null", f"trainer.num_steps={options.steps}")
        run([*CARTPOLE, "train", "--recipe", "ppo", "--name", "first", "--quiet", *where, *changes])
        run([*CARTPOLE, "view", "first", *where, "-o", str(html)])
        with playwright.chromium.launch(executable_path=shutil.which("chromium")) as browser:
            page = browser.new_page(viewport=SIZE)
            page.goto(html.as_uri())
            pose(page)
            page.screenshot(path=options.output / "view.png")
            film(page, options.output / "rescue.gif", options.frames)
    for name in ("view.png", "rescue.gif"):
        print(f"{options.output / name}: {(options.output / name).stat().st_size:,} bytes")


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


def film(page: Page, path: Path, num_frames: int) -> None:
    """The final policy, at rest and then pushed."""
    page.set_viewport_size(NARROW)
    page.evaluate("cartpole.app.setLanes([{ subject: 0, moment: null }]); cartpole.app.choose('A web page')")
    page.evaluate("cartpole.app.lastPush.strength = 0")
    pictures = []
    for frame in range(num_frames):
        if frame == PUSHED_AT:
            page.evaluate("cartpole.app.pushAll(-2)")
        page.evaluate("cartpole.app.advance(); cartpole.app.advance()")
        age = 1000 * SECONDS_A_FRAME * (frame - PUSHED_AT)
        if 0 <= age <= 500:
            page.evaluate(f"cartpole.app.lastPush.time = performance.now() - {age} / 2")
        shot = Image.open(io.BytesIO(page.locator(".scene").screenshot())).convert("RGB")
        pictures.append(shot.quantize(64, dither=Image.Dither.NONE))
    milliseconds = round(1000 * SECONDS_A_FRAME)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=milliseconds, loop=0, optimize=True)


if __name__ == "__main__":
    main()
