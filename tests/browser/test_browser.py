"""Exported policies in Chromium with onnxruntime-web, as web pages run them.

The second half holds what files of another form do there: it is why the export is as it is.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exported_code import run_c, run_js
from exports import TRAINED
from gymnasium.envs.classic_control.cartpole import CartPoleEnv
from handmade import handmade

STARTS = np.random.default_rng(0).uniform(-0.05, 0.05, size=(20, 4)).tolist()
STEPS = 500
LEANING = [[0.0, 0.0, -0.1, 0.0], [0.0, 0.0, 0.1, 0.0]]  # the pole to the left, to the right

# Fixtures of conftest.py: a page calls a function of page/harness.js; publish gives a model's address.
Page = Callable[..., Any]
Publish = Callable[..., str]


def refused(page: Page, address: str) -> bool:
    """Whether the page cannot load a file that is there."""
    from playwright.sync_api import Error

    try:
        page("load", address)
    except Error:
        return True
    return False


def test_a_page_runs_the_onnxruntime_web_it_was_asked_for(page: Page, runtime: str, pinned: dict[str, str]) -> None:
    assert page("version") == pinned[runtime]


def test_the_page_moves_the_cart_as_gymnasium_does(page: Page) -> None:
    environment: Any = CartPoleEnv()
    random = np.random.default_rng(0)
    states, forces = random.normal(size=(100, 4)), random.uniform(-10, 10, size=100)
    expected = []
    for state, force in zip(states, forces, strict=True):
        environment.reset(seed=0)
        environment.state, environment.force_mag = state, force
        environment.step(1)
        expected.append(environment.state)
    np.testing.assert_allclose(page("stepEach", states.tolist(), forces.tolist()), expected, rtol=0, atol=1e-12)


def test_an_exported_policy_gives_its_golden_outputs(exported: Path, page: Page) -> None:
    golden = json.loads(exported.with_suffix(".onnx.json").read_text(encoding="utf-8"))
    observations = golden.pop("observation")
    expected = np.array(golden.popitem()[1])
    outputs = np.array(page("firstOutputs", f"/models/{exported.name}", observations))
    assert outputs.shape == expected.shape == (64, expected.shape[1])
    scale = np.abs(expected).max(axis=1, keepdims=True).clip(min=1)
    assert (np.abs(outputs - expected) <= 1e-4 * scale).all()


@pytest.mark.parametrize("exported", TRAINED, indirect=True)
def test_an_exported_policy_balances_the_pole(exported: Path, page: Page) -> None:
    assert page("balance", f"/models/{exported.name}", STARTS, STEPS) == [STEPS] * len(STARTS)


# The same policies as code


@pytest.fixture
def newest(pages: dict[str, Page]) -> Page:
    """One page: code asks for no onnxruntime-web."""
    return pages["ort-latest"]


def test_exported_code_gives_the_same_in_chromium_node_and_c(exported: Path, newest: Page, tmp_path: Path) -> None:
    golden = json.loads(exported.with_suffix(".onnx.json").read_text(encoding="utf-8"))
    observations = golden.pop("observation")
    expected = np.array(golden.popitem()[1])
    scale = np.abs(expected).max(axis=1, keepdims=True).clip(min=np.abs(expected[:32]).max())
    pushed = newest("forces", f"/models/{exported.name}", observations)
    chromium = newest("code", f"/models/{exported.stem}.mjs", observations)
    node = run_js(exported.with_suffix(".mjs").read_text(encoding="ascii"), tmp_path, np.array(observations))
    c = run_c(exported.with_suffix(".h").read_text(encoding="ascii"), tmp_path, np.array(observations))
    assert (chromium["wrong"], node.wrong, c.wrong) == (0, 0, 0)
    for outputs, forces in (
        (chromium["outputs"], chromium["forces"]),
        (node.outputs, node.forces),
        (c.outputs, c.forces),
    ):
        assert (np.abs(np.array(outputs) - expected) <= 1e-4 * scale).all()
        np.testing.assert_allclose(forces, pushed, rtol=0, atol=1e-3)


@pytest.mark.parametrize("exported", TRAINED, indirect=True)
def test_exported_code_balances_the_pole(exported: Path, newest: Page) -> None:
    assert newest("balance", f"/models/{exported.stem}.mjs", STARTS, STEPS) == [STEPS] * len(STARTS)


@pytest.mark.parametrize("exported", ["ppo"], indirect=True)
def test_exported_code_runs_in_a_worker(exported: Path, newest: Page) -> None:
    address = f"/models/{exported.stem}.mjs"
    assert newest("forcesInWorker", address, STARTS) == newest("code", address, STARTS)["forces"]


@pytest.mark.parametrize("exported", ["ppo"], indirect=True)
def test_readmes_example_balances_the_pole(exported: Path, newest: Page) -> None:
    folder = exported.with_suffix("")
    folder.mkdir()
    (folder / "best.mjs").write_bytes(exported.with_suffix(".mjs").read_bytes())
    (folder / "code.js").write_bytes((Path(__file__).parent / "page" / "code.js").read_bytes())
    x, _, theta, _ = newest("example", f"/models/{exported.stem}/code.js", STARTS[0], STEPS)
    assert abs(x) < 2.4
    assert abs(theta) < 0.2


@pytest.mark.parametrize("exported", ["ppo", "ppo-continuous"], indirect=True)
def test_exported_code_runs_from_a_file_where_it_stands_in_the_page(
    exported: Path, browser: Any, newest: Page, tmp_path: Path
) -> None:
    module = exported.with_suffix(".mjs").read_text(encoding="ascii")
    answer = f"window.answer = [selfTest(), {STARTS}.map((state) => force(...state))];"
    page = tmp_path / "page.html"
    page.write_text(f'<!doctype html><script type="module">{module}{answer}</script>', encoding="ascii")
    opened = browser.new_page()
    opened.goto(page.as_uri())
    wrong, forces = opened.wait_for_function("window.answer").json_value()
    opened.close()
    assert wrong == 0
    assert forces == newest("code", f"/models/{exported.stem}.mjs", STARTS)["forces"]


@pytest.mark.parametrize("output", ["logits", "force"])
def test_a_policy_that_pushes_the_wrong_way_drops_the_pole(output: str, publish: Publish, page: Page) -> None:
    assert max(page("balance", publish(handmade(output, sign=-1)), STARTS, STEPS)) < 100


def test_a_tie_of_two_logits_is_a_push_to_the_left(publish: Publish, page: Page) -> None:
    assert page("forces", publish(handmade("logits")), [[0.0, 0.0, 0.0, 0.0], *LEANING]) == [-10, -10, 10]


def test_a_force_is_read_in_newtons(publish: Publish, page: Page) -> None:
    forces = page("forces", publish(handmade("force")), [*LEANING, [0.0, 0.0, 1.0, 0.0]])
    assert forces == pytest.approx([-2, 2, 10], abs=1e-3)


@pytest.mark.parametrize("shape", [(4,), ("n",)], ids=str)
def test_an_input_declared_of_rank_1_works_too(shape: tuple[int | str], publish: Publish, page: Page) -> None:
    assert page("forces", publish(handmade(declared_shape=shape)), LEANING) == [-10, 10]


@pytest.mark.parametrize("shape", [(1, 4), ("batch", 4)], ids=str)
def test_an_input_declared_of_rank_2_loads_and_then_fails_each_time(
    shape: tuple[int | str, int], publish: Publish, page: Page
) -> None:
    address = publish(handmade(declared_shape=shape))
    assert not refused(page, address)
    assert all("Invalid rank for input" in answer for answer in page("forces", address, LEANING))


def test_a_value_as_the_first_output_is_read_as_newtons(publish: Publish, page: Page) -> None:
    address = publish(handmade("logits", value_first=True))
    assert page("forces", address, LEANING) == [10, 10]  # of a value of 400
    assert max(page("balance", address, STARTS, STEPS)) < 100


def test_weights_in_a_side_file_do_not_load(publish: Publish, site: tuple[Path, str], page: Page) -> None:
    address = publish(handmade(), save_as_external_data=True, size_threshold=32)
    assert (site[0] / f"{address[1:]}.data").exists()
    assert refused(page, address)


@pytest.mark.parametrize(
    ("opset", "ir", "loads_in"),
    [
        (18, 10, ["ort-1-23", "ort-latest"]),  # what we ship
        (20, 10, ["ort-1-23", "ort-latest"]),
        (23, 11, ["ort-1-23", "ort-latest"]),
        (24, 10, ["ort-latest"]),
        (18, 12, ["ort-latest"]),
        (28, 14, []),  # what onnx 1.23 writes unless told
    ],
)
def test_new_opsets_and_ir_versions_do_not_load(
    opset: int, ir: int, loads_in: list[str], publish: Publish, page: Page, runtime: str
) -> None:
    assert refused(page, publish(handmade(opset=opset, ir=ir))) == (runtime not in loads_in)
