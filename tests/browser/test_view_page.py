"""The page of `cartpole view` in Chromium, offline: every control, on a desk and a phone, the console empty."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import command, train_tiny
from exported_code import run_js

SIZES = {"desk": (1280, 800), "phone": (390, 844)}
HOSTILE = "<script>alert('1')<\u2215script>\"&\U0001f600"
TWO = ("trainer.num_steps=2048", "trainer.evaluate_every=1")
MEDIAN = "(() => { const costs = [...cartpole.costs].sort((a, b) => a - b); return costs[costs.length >> 1]; })()"


@pytest.fixture(scope="module")
def runs(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs with histories, one of them of an evil name, and a study."""
    folder = tmp_path_factory.mktemp("runs")
    train_tiny(folder, "run", *TWO)
    train_tiny(folder, "force", "environment.id=ContinuousCartPole-v1")
    train_tiny(folder, "study", "trainer.num_seeds=2")
    shutil.copytree(folder / "run", folder / HOSTILE)
    return folder


@pytest.fixture(scope="module")
def html(runs: Path) -> Path:
    path = runs / "page.html"
    assert command("view", "run", HOSTILE, "force", "study", "--runs-dir", runs, "-o", path) == 0
    return path


@pytest.fixture(params=SIZES)
def page(request: pytest.FixtureRequest, browser: Any, html: Path) -> Iterator[Any]:
    width, height = SIZES[request.param]
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True, has_touch=True)
    opened, said = context.new_page(), []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.goto(html.as_uri())
    until(opened, "window.cartpole && cartpole.costs.length > 2")
    yield opened
    context.close()
    assert said == []


def asked(page: Any, expression: str) -> Any:
    return page.evaluate(f"(() => {{ const app = cartpole.app; return {expression}; }})()")


def until(page: Any, expression: str) -> None:
    """Wait; what playwright has for it is an eval in the page, which the page forbids."""
    for _ in range(200):
        if page.evaluate(f"Boolean({expression})"):
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"not in ten seconds: {expression}")


def test_nothing_is_wider_than_the_screen(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_names_are_text(page: Any) -> None:
    assert HOSTILE in page.locator("#lanes select").first.inner_text()
    assert HOSTILE in page.locator("#names").inner_text()
    assert page.locator("script").count() == 2


def test_time_goes_by_until_it_is_paused(page: Any) -> None:
    until(page, "cartpole.app.lanes[0].steps > 5")
    page.locator("#pause").click()
    before = asked(page, "app.lanes.map(({ steps }) => steps)")
    page.locator("#step").click()
    assert asked(page, "app.lanes.map(({ steps }) => steps)") == [steps + 1 for steps in before]
    assert page.locator("#pause").inner_text() == "\u25b6 Play"
    page.locator("#restart").click()
    assert asked(page, "app.lanes[0].steps") == 0
    page.locator("#pause").click()
    until(page, "cartpole.app.lanes[0].steps > 2")


def test_time_can_be_slow(page: Any) -> None:
    page.locator("#speeds button").nth(3).click()
    assert asked(page, "app.speed") == 0.1


def test_all_are_pushed_alike_by_buttons_keys_and_dragging(page: Any) -> None:
    page.locator("#pause").click()

    def velocities(push: Any) -> list[float]:
        page.locator("#restart").click()
        before = asked(page, "app.lanes.map(({ state }) => state[1])")
        push()
        page.locator("#step").click()
        after = asked(page, "app.lanes.map((lane) => lane.state[1] - 0)")
        return [now - then for now, then in zip(after, before, strict=True)]

    def drag() -> None:
        page.locator(".scene").first.scroll_into_view_if_needed()
        box = page.locator(".scene").first.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x - 100, y)
        assert asked(page, "app.push") == 0
        page.mouse.up()

    page.locator("#strength").fill("2")
    assert all(speed > 0.5 for speed in velocities(lambda: page.locator("#push-right").click()))
    assert all(speed < -0.5 for speed in velocities(lambda: page.locator("#push-left").click()))
    page.locator("#play-title").click()
    assert all(speed < -0.5 for speed in velocities(lambda: page.keyboard.press("ArrowLeft")))
    assert all(speed > 0.5 for speed in velocities(lambda: page.keyboard.press("ArrowRight")))
    assert all(speed < -0.8 for speed in velocities(drag))


def test_sliders_and_presets_change_the_world(page: Any) -> None:
    if not page.locator("#world-gravity").is_visible():
        page.locator("#world-details summary").click()
    changes = {"gravity": 20, "cartMass": 2, "poleLength": 1.5, "cartDrag": 1, "poleDrag": 2, "delay": 3}
    for name, value in (changes | {"framesPerSecond": 15, "hitch": 1}).items():
        page.locator(f"#world-{name}").fill(str(value))
        assert asked(page, f"app.world.{name}") == value
    page.locator("#again").click()
    assert asked(page, "app.world.again") is False
    for name, check in (
        ("A web page", "app.world.cartDrag === 0.75 && app.world.delay === 0"),
        ("Heavy cart", "app.world.cartMass === 5"),
        ("Hanging start", "Math.abs(app.lanes[0].state[2]) > 2"),
        ("Wild start", "app.world.start === 'wild'"),
        ("Gymnasium", "app.world.cartDrag === 0 && Math.abs(app.lanes[0].state[2]) < 0.3"),
    ):
        page.locator("#presets button", has_text=name).click()
        assert asked(page, check), name
        assert page.locator("#presets [aria-pressed=true]").inner_text() == name


def test_actions_are_greedy_or_sampled(page: Any) -> None:
    page.locator("#pause").click()
    page.locator("#actions button", has_text="sampled").click()
    state = "[0, 0, 0, 0]"
    forces = asked(page, f"Array.from({{ length: 60 }}, () => app.pilotOf(app.lanes[0]).sample({state}, app.random))")
    assert set(forces) == {-10, 10}
    assert asked(page, "app.isGreedy") is False
    force = asked(page, f"Array.from({{ length: 60 }}, () => app.pilotOf(app.lanes[2]).sample({state}, app.random))")
    assert len(set(force)) > 10
    assert max(map(abs, force)) <= 10


def test_lanes_are_added_removed_and_given_to_others(page: Any) -> None:
    assert page.locator(".lane").count() == 4
    assert page.locator("#add").is_disabled()
    page.locator(".lane button.quiet").last.click()
    page.locator(".lane button.quiet").last.click()
    assert page.locator(".lane").count() == 2
    page.locator(".lane select").nth(1).select_option("You (keys A and D)")
    page.locator("#pause").click()
    page.locator("#restart").click()
    page.locator("#play-title").click()
    for key, force in (("d", 10), ("a", -10)):
        page.keyboard.down(key)
        page.locator("#step").click()
        assert asked(page, "app.lanes[1].force") == force
        page.keyboard.up(key)
    pad = page.locator(".pad.right")
    pad.dispatch_event("pointerdown")
    page.locator("#step").click()
    assert asked(page, "app.lanes[1].force") == 10
    pad.dispatch_event("pointerup")
    assert asked(page, "app.hands.right") is False
    page.locator("#add").click()
    assert asked(page, "app.lanes.map(({ subject }) => subject)") == [0, -1, 1]
    assert "there is no map" in page.locator("#inside-you").text_content()


def test_scores_are_shown(page: Any) -> None:
    until(page, "cartpole.app.lanes[0].steps > 20")
    page.locator("#pause").click()
    page.wait_for_timeout(300)
    upright, falls, effort, score = page.locator(".lane").first.locator("dd").all_inner_texts()
    assert re.fullmatch(r"\d+ % \u00b7 \d+ s", upright)
    assert (int(falls) >= 0, float(effort.removesuffix(" N"))) == (True, 10.0)
    assert int(score) == asked(page, "app.lanes[0].best")


def test_maps_show_the_policy_the_value_and_the_present_state(page: Any) -> None:
    page.locator("#inside").scroll_into_view_if_needed()
    until(page, "document.getElementById('value-high').textContent !== ''")
    assert page.locator("#map-name").inner_text() == "Probability of each push"
    page.locator("#pause").click()
    before = page.locator("#policy-map").screenshot()
    page.locator("#map-x").fill("2")
    page.locator("#map-x-dot").fill("-1")
    page.locator("#ranges button", has_text="all angles").click()
    page.wait_for_timeout(800)
    assert page.locator("#policy-map").screenshot() != before
    page.locator("#policy-map").click(position={"x": 60, "y": 60})
    states = asked(page, "app.lanes.map(({ state }) => state)")
    assert all(state == states[0] and state[2] < -1.5 and state[3] > 2 for state in states)
    page.locator("#value-map").click(position={"x": 150, "y": 100})
    page.locator("#now").click()
    assert page.locator("#map-x").input_value() == "2"
    page.keyboard.press("3")
    assert page.locator("#map-name").inner_text() == "Force on the cart"


def test_a_training_is_gone_through(page: Any) -> None:
    page.locator("#training").scroll_into_view_if_needed()
    number = asked(page, "app.data.policies[0].history.length")
    assert number == 17
    page.locator("#moment").fill("0")
    assert asked(page, "app.lanes[0].moment") == 0
    assert page.locator(".moment").first.inner_text() == "untrained"
    page.locator("#play-title").click()
    page.keyboard.press("]")
    assert asked(page, "app.lanes[0].moment") == 1
    page.keyboard.press("[")
    assert asked(page, "app.lanes[0].moment") == 0
    page.wait_for_timeout(300)
    page.locator("#curve").click(position={"x": 200, "y": 60})
    assert 1 < asked(page, "app.lanes[0].moment") < number
    page.locator("#play-training").click()
    assert asked(page, "app.lanes[0].moment") == 0
    until(page, "cartpole.app.lanes[0].moment === 1")
    page.locator("#play-training").click()
    page.locator("#four").click()
    assert asked(page, "app.lanes.map(({ moment }) => moment)") == [0, 6, 11, None]


def test_a_moments_policy_is_the_one_that_was_kept(page: Any, runs: Path) -> None:
    import torch

    from cartpole_cli.runs.history import read_history

    states = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    with torch.no_grad():
        expected = read_history(runs / "run" / "history.pth").policy(5).distribution(torch.tensor(states)[None])
    given = page.evaluate(
        "(states) => states.map((state) => cartpole.app.pilotOf({ subject: 0, moment: 5 }).outputs(state))",
        states.tolist(),
    )
    np.testing.assert_allclose(given, expected.logits[0].numpy(), rtol=1e-4, atol=1e-5)  # type: ignore[attr-defined]


def test_the_policy_is_the_exports(page: Any, runs: Path, tmp_path: Path) -> None:
    states = np.random.default_rng(0).normal(size=(200, 4))
    for subject, name in ((0, "run"), (2, "force")):
        path = tmp_path / "best.mjs"
        assert command("export", name, "--runs-dir", runs, "--format", "js", "--output", path, "--quiet") == 0
        there = run_js(path.read_text(encoding="ascii"), tmp_path, states)
        call = (
            "([subject, states]) => states.map((state) => cartpole.app.pilotOf({ subject, moment: null }).force(state))"
        )
        assert page.evaluate(call, [subject, states.tolist()]) == there.forces.tolist()


def test_numbers_are_told(page: Any, runs: Path) -> None:
    score = json.loads((runs / "run" / "evaluation.json").read_text())
    facts = page.locator("#facts").inner_text()
    assert f"{score['mean_return']:.1f}" in facts
    assert "on all 64 test states" in facts
    page.locator("#recipe-details summary").click()
    assert "[trainer]" in page.locator("#recipe").inner_text()
    assert page.locator("#diagnostics tr").count() > 5
    assert "Squared" in page.locator("#diagnostics").inner_text()


def test_the_theme_is_the_systems_or_another(page: Any) -> None:
    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    page.emulate_media(color_scheme="dark")
    dark = background()
    assert light != dark
    page.locator("#theme").click()
    assert background() == light
    page.locator("#theme").click()
    assert background() == dark
    page.locator("#theme").click()
    assert page.locator("#theme").inner_text().endswith("Auto")


def test_keys_pause_step_and_choose(page: Any) -> None:
    page.locator("#play-title").click()
    page.keyboard.press("Space")
    assert asked(page, "app.isPaused") is True
    steps = asked(page, "app.lanes[0].steps")
    page.keyboard.press(".")
    assert asked(page, "app.lanes[0].steps") == steps + 1
    page.keyboard.press("2")
    assert asked(page, "app.focus") == 1
    page.keyboard.press("r")
    assert asked(page, "app.lanes[0].steps") == 0


def test_every_control_has_a_name_and_is_used_here(page: Any) -> None:
    names = page.evaluate(
        "[...document.querySelectorAll('button, input, select')].map((each) => each.getAttribute('aria-label') "
        "|| each.textContent || each.labels?.[0]?.textContent || '')"
    )
    assert all(names)
    tests = Path(__file__).read_text(encoding="utf-8")
    for identity in page.evaluate("[...document.querySelectorAll('button[id], input[id]')].map(({ id }) => id)"):
        assert f"#{identity}" in tests or identity.startswith("world-"), identity


def test_who_wants_less_motion_begins_with_a_pause(browser: Any, html: Path) -> None:
    context = browser.new_context(reduced_motion="reduce", offline=True)
    opened = context.new_page()
    opened.goto(html.as_uri())
    until(opened, "window.cartpole")
    assert opened.evaluate("cartpole.app.isPaused") is True
    context.close()


def test_a_frame_of_two_policies_takes_less_than_8_ms(page: Any) -> None:
    page.evaluate("cartpole.app.setLanes([{ subject: 0, moment: null }, { subject: 2, moment: null }])")
    page.evaluate("cartpole.costs.length = 0")
    until(page, "cartpole.costs.length > 60")
    assert page.evaluate(MEDIAN) < 8
