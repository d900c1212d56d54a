"""The page's scripts in Node: its physics is the Python page's and Gymnasium's, its clock the suite's."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_code import tool
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

from cartpole_cli.scoring.page.physics import Sliders, page_step, push
from cartpole_cli.scoring.page.timing import Pushes, timing
from cartpole_cli.view.page import FOLDER, SCRIPTS, script_text

GENERATOR = np.random.default_rng(0)
STATES = GENERATOR.normal(size=(500, 4)) * [2.0, 3.0, 2.0, 5.0]
FORCES = GENERATOR.uniform(-10, 10, size=500)
WORLDS = GENERATOR.uniform([1.0, 0.2, 0.4], [25.0, 5.0, 2.0], size=(500, 3))


def in_node(script: str, given: Any) -> Any:
    """What a script prints that has `given` and the modules of the page."""
    uses = "".join(
        f"import * as {name} from {json.dumps((FOLDER / f'{name}.mjs').as_uri())};\n" for name in ("physics", "lanes")
    )
    text = f"{uses}const given = {json.dumps(given)};\nconsole.log(JSON.stringify({script}));"
    command = [tool("node"), "--input-type=module", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def stepped(drags: tuple[float, float], worlds: np.ndarray) -> np.ndarray:
    names = ("gravity", "cartMass", "poleLength")
    given = [
        {"state": state, "force": force}
        | {"world": dict(zip(names, world, strict=True)) | {"cartDrag": drags[0], "poleDrag": drags[1]}}
        for state, force, world in zip(STATES.tolist(), FORCES.tolist(), worlds.tolist(), strict=True)
    ]
    return np.array(in_node("given.map(({ state, force, world }) => physics.step(state, force, world))", given))


def test_a_step_is_the_python_pages() -> None:
    expected = page_step(STATES.T, FORCES, Sliders(*WORLDS.T)).T
    np.testing.assert_allclose(stepped((0.75, 1.1), WORLDS), expected, rtol=1e-12, atol=1e-12)


def test_what_is_slow_comes_to_rest_only_where_there_is_drag() -> None:
    world = {"gravity": 0, "cartMass": 1, "poleLength": 1}
    given = [world | {"cartDrag": drag, "poleDrag": drag} for drag in (0, 1)]
    assert in_node("given.map((world) => physics.step([0, 5e-5, 0, 0], 0, world)[1])", given) == [5e-5, 0]


def test_a_step_without_drag_is_gymnasiums() -> None:
    environment: Any = CartPoleEnv()
    expected = []
    for state, force in zip(STATES, FORCES, strict=True):
        environment.reset(seed=0)
        environment.state, environment.force_mag = state, force
        environment.step(1)
        expected.append(environment.state)
    given = stepped((0.0, 0.0), np.tile([9.8, 1.0, 1.0], (500, 1)))
    np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-12)


def test_a_push_is_the_python_pages() -> None:
    strengths = GENERATOR.uniform(-5, 5, size=500)
    expected = push(STATES.T, strengths, np.zeros(500, dtype=bool)).T
    given = in_node(
        "given[0].map((state, place) => physics.pushed(state, given[1][place]))", [STATES.tolist(), strengths.tolist()]
    )
    np.testing.assert_allclose(given, expected, rtol=1e-12, atol=1e-12)


def ticks(count: int, world: dict[str, float]) -> list[bool]:
    """When a clock has the policies asked."""
    made = f"Array.from({{ length: {count} }}, () => clock.tick(given))"
    answers: list[bool] = in_node(f"(() => {{ const clock = new lanes.Clock(() => 0.5); return {made}; }})()", world)
    return answers


@pytest.mark.parametrize("frames_per_second", [2.0, 7.0, 15.0, 24.0, 30.0, 50.0, 60.0])
def test_policies_are_asked_when_the_suites_frames_ask(frames_per_second: float) -> None:
    none = Pushes(np.empty(0), np.empty(0))
    expected = timing(500, frames_per_second=frames_per_second, model_after=0.0, gaps=[], pushes=none).asks
    asked = ticks(500, {"framesPerSecond": frames_per_second, "hitch": 0})
    assert asked == expected.tolist()


def test_a_hitch_asks_nobody_for_its_length() -> None:
    asked = ticks(3000, {"framesPerSecond": 60, "hitch": 1.0})
    gaps = np.diff(np.flatnonzero(np.diff(np.array(asked).astype(int), prepend=0)))
    assert set(gaps[1::2].tolist()) == {50}
    assert len(gaps) > 10


def test_a_delayed_force_acts_that_many_steps_later() -> None:
    script = """(() => {
      const lane = new lanes.Lane([0, 0, 0, 0]);
      const forces = [];
      for (let step = 0; step < 6; step++) { lane.advance(given, () => step + 1, 0); forces.push(lane.force); }
      return forces;
    })()"""
    world = {"gravity": 9.8, "cartMass": 1, "poleLength": 1, "cartDrag": 0, "poleDrag": 0, "delay": 3}
    assert in_node(script, world) == [0, 0, 0, 1, 2, 3]


def test_the_code_is_small_and_every_file_is_in_it() -> None:
    page = len(script_text()) + sum((FOLDER / name).stat().st_size for name in ("page.html", "style.css"))
    assert page < 100_000
    assert sorted(path.stem for path in FOLDER.glob("*.mjs")) == sorted(SCRIPTS)


@pytest.mark.parametrize("path", sorted(FOLDER.iterdir()), ids=lambda path: path.name)
def test_templates_are_short(path: Path) -> None:
    text = path.read_text(encoding="ascii")
    assert len(text.splitlines()) <= 250
    assert path.suffix == ".html" or "</" not in text
