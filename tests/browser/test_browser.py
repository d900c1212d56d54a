"""Exported policies in Chromium with onnxruntime-web, as web pages run them.

The second half holds what files of another form do there: it is why the export is as it is.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exports import CUT_SHORT, ONLY_RUN, RECIPES
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


@pytest.mark.parametrize("exported", [name for name in RECIPES if CUT_SHORT.get(name) != ONLY_RUN], indirect=True)
def test_an_exported_policy_balances_the_pole(exported: Path, page: Page) -> None:
    assert page("balance", f"/models/{exported.name}", STARTS, STEPS) == [STEPS] * len(STARTS)


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
