"""Policy -> JavaScript and C: what they compute in Node and compiled by gcc, and that a wrong file is never let out."""

import json
import re
import subprocess
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from exported_code import run_c, run_js, tool
from policies import LARGEST, by_torch, extreme, ordinary, policy_of, policy_of_recipe, visited

from cartpole_cli.actions import Continuous, Discrete
from cartpole_cli.deploy import c_header, javascript
from cartpole_cli.deploy.c_header import export_c, read_c
from cartpole_cli.deploy.javascript import export_javascript, read_javascript
from cartpole_cli.deploy.layers import Layers, LayersPolicy, layers_of
from cartpole_cli.deploy.onnx_file import export_onnx
from cartpole_cli.deploy.onnx_policy import OnnxPolicy
from cartpole_cli.deploy.verify import Verification
from cartpole_cli.errors import CartpoleError
from cartpole_cli.policy.network import Architecture, PolicyNetwork, StackedLinear
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import load_recipe, shipped_recipes

EXPORTS = {"js": export_javascript, "c": partial(export_c, control_hz=50.0)}
READERS = {"js": read_javascript, "c": read_c}
MODULES = {"js": javascript, "c": c_header}
RUN = {"js": run_js, "c": run_c}
PRECISION = {"js": np.float64, "c": np.float32}
EACH_LANGUAGE = pytest.mark.parametrize("language", EXPORTS)
EACH_KIND = pytest.mark.parametrize("kind", ["discrete", "clip", "tanh"])
NETWORKS = {name: load_recipe(path) for name, path in shipped_recipes().items()}
DIFFERENT = {(recipe.environment.task.actions, recipe.policy): name for name, recipe in NETWORKS.items()}.values()
"""A recipe for each network that is shipped."""
NAN, INF = float("nan"), float("inf")
ZERO = np.zeros((1, 4), dtype=np.float32)


def export(language: str, policy: PolicyNetwork, **info) -> str:
    return EXPORTS[language](Verification(policy), info)


def check_as_torch(policy: PolicyNetwork, folder) -> None:
    """Outputs, decisions, self test, and the forces that the ONNX file is read as."""
    states = np.concatenate([ordinary(), extreme(), visited(policy)])
    expected, verification = by_torch(policy, states), Verification(policy)
    scale = np.maximum(np.abs(expected).max(axis=1, keepdims=True), np.abs(by_torch(policy, ordinary())).max())
    onnx = OnnxPolicy(export_onnx(verification, opset=18, metadata={}).model, "policy.onnx")
    pushed = onnx.force(torch.from_numpy(states)).numpy()[:, 0]
    for language, write in EXPORTS.items():
        text = write(verification, {})
        ran = RUN[language](text, folder, states)
        assert ran.wrong == 0
        assert ran.outputs.shape == expected.shape
        assert (np.abs(ran.outputs - expected) / scale).max() <= 1e-5
        if expected.shape[1] == 2:
            clear = np.abs(expected[:, 0] - expected[:, 1]) > 2e-5 * scale[:, 0]
            assert clear.mean() > 0.9
            np.testing.assert_array_equal(ran.forces[clear], pushed[clear])
        else:
            np.testing.assert_allclose(ran.forces, pushed, rtol=0, atol=2e-5 * scale.max())
        read = LayersPolicy(READERS[language](text)[0], PRECISION[language]).values(torch.from_numpy(states)).numpy()
        rounding = 1e-12 if language == "js" else 1e-5  # of tanh, sin and cos, which each library has its own of
        assert (np.abs(ran.outputs - read) / scale).max() <= rounding


# Numbers


@pytest.mark.parametrize("name", DIFFERENT)
def test_a_shipped_recipes_policy_computes_what_torch_computes(name, tmp_path):
    check_as_torch(policy_of_recipe(NETWORKS[name]), tmp_path)


@EACH_KIND
@pytest.mark.parametrize("features", ["raw", "scaled", "trig", "fine"])
def test_every_kind_of_policy_computes_what_torch_computes(kind, features, tmp_path):
    check_as_torch(policy_of(kind, features=features), tmp_path)


@EACH_KIND
def test_every_kind_of_policy_of_relus_computes_what_torch_computes(kind, tmp_path):
    check_as_torch(policy_of(kind, "relu", features="fine"), tmp_path)


@pytest.mark.parametrize("sizes", [(1,), (2, 3), (64, 64), (7, 33, 5, 1), (300,), (3,) * 16], ids=str)
def test_hidden_layers_of_any_number_and_width(sizes, tmp_path):
    check_as_torch(policy_of("discrete", hidden_sizes=sizes), tmp_path)
    check_as_torch(policy_of("tanh", "relu", hidden_sizes=sizes, features="trig"), tmp_path)


# A policy whose hidden units are large and cancel: its output is small beside what it is a sum of.
@EACH_LANGUAGE
@pytest.mark.parametrize(("kind", "seed"), [("discrete", 34), ("discrete", 51), ("clip", 4), ("tanh", 10)])
def test_a_correct_file_is_let_out_however_the_policy_rounds(language, kind, seed, tmp_path):
    policy = policy_of(kind, "relu", hidden_sizes=(64, 64), value_network=False, gain=1.0, seed=seed)
    with torch.no_grad():
        for layer in policy.torso:
            if isinstance(layer, StackedLinear):
                layer.bias.zero_()
    assert RUN[language](export(language, policy), tmp_path, ZERO).wrong == 0


@EACH_LANGUAGE
def test_a_tie_of_two_logits_is_a_push_to_the_left(language, tmp_path):
    policy = policy_of("discrete")
    with torch.no_grad():
        policy.torso[-1].weight.zero_()
        policy.torso[-1].bias.zero_()
    assert RUN[language](export(language, policy), tmp_path, ordinary()[:5]).forces.tolist() == [-10.0] * 5


@EACH_LANGUAGE
@pytest.mark.parametrize("actions", [Continuous((-25.0,), (40.0,)), Continuous((-3.0,), (1.0,))], ids=str)
@pytest.mark.parametrize("squash", ["clip", "tanh"])
def test_a_force_of_another_range_is_given_as_it_is_and_clamped_to_ten_newtons(language, actions, squash, tmp_path):
    policy = policy_of("clip", actions=actions, squash=squash, gain=400.0)
    ran = RUN[language](export(language, policy), tmp_path, ordinary())
    np.testing.assert_allclose(ran.outputs, by_torch(policy, ordinary()), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(ran.forces, ran.outputs[:, 0].clip(-10, 10))
    assert ran.outputs.min() == pytest.approx(actions.low[0], abs=0.3)


@EACH_LANGUAGE
@EACH_KIND
@pytest.mark.parametrize("features", ["raw", "trig", "fine"])
def test_infinite_states_are_limited_and_what_is_no_number_is_no_force(language, kind, features, tmp_path):
    policy = policy_of(kind, "relu", features=features)
    infinite = np.array([[INF, 0, 0, 0], [0, 0, -INF, INF], [-INF, INF, 0, 0]], dtype=np.float32)
    nans = np.full((4, 4), 0.1, dtype=np.float32)
    np.fill_diagonal(nans, NAN)
    ran = RUN[language](export(language, policy), tmp_path, np.concatenate([infinite, nans]))
    limited = by_torch(policy, infinite.clip(-1e6, 1e6))
    np.testing.assert_allclose(ran.outputs[:3], limited, rtol=1e-4, atol=1e-4)
    assert np.isnan(ran.outputs[3:]).all()
    assert ran.forces[3:].tolist() == [0.0] * 4
    assert (np.abs(ran.forces) <= 10).all()


@EACH_LANGUAGE
@EACH_KIND
def test_the_self_test_finds_a_number_that_was_changed(language, kind, tmp_path):
    text, policy = export(language, policy_of(kind)), policy_of(kind)
    with torch.no_grad():
        policy.torso[-1].weight[0, 3, 0] += 1.0
    other = export(language, policy)
    place = {"js": r'"numbers":"([^"]*)"', "c": r"cartpole_numbers\[\] CARTPOLE_FLASH = \{(.*?)\};"}[language]
    right, wrong = (re.search(place, each, re.DOTALL)[1] for each in (text, other))
    assert RUN[language](text.replace(right, wrong), tmp_path, ZERO).wrong > 10


# What is written is read back


def numbers(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


@EACH_LANGUAGE
@EACH_KIND
@pytest.mark.parametrize("features", ["raw", "scaled", "trig", "fine"])
def test_what_is_read_back_is_the_policy_bit_for_bit(language, kind, features):
    policy = policy_of(kind, features=features)
    hard = numbers(-0.0, 1e-45, -1.17549435e-38, 1 / 3, 16777217, 1e-7, 0.1, 1e10, 3.0, -7e-42)
    with torch.no_grad():
        policy.torso[-1].weight[0, : len(hard), 0] = torch.from_numpy(hard)
    written, (read, _) = layers_of(policy), READERS[language](export(language, policy))
    assert read.numbers.tobytes() == written.numbers.tobytes()
    assert replace(read, numbers=written.numbers, scale=()) == replace(written, scale=())
    np.testing.assert_array_equal(numbers(*read.scale), numbers(*written.scale))


def test_a_number_in_c_is_the_float_it_was_written_from():
    bits = np.random.default_rng(0).integers(0, 2**32, 20_000, dtype=np.uint32)
    floats = bits.view(np.float32)
    floats = np.concatenate([floats[np.isfinite(floats)], numbers(LARGEST, -LARGEST, 0.0, 1e-45)])
    literals = [c_header._literal(value) for value in floats.tolist()]
    assert np.array(c_header._floats(",".join(literals)), np.float32).tobytes() == floats.tobytes()
    assert all(re.fullmatch(r"-?\d+(\.\d+)?(e[-+]\d+)?f", literal) for literal in literals)
    assert not any(re.fullmatch(r"-?\d+f", literal) for literal in literals)


def one_weight(layers: Layers) -> Layers:
    changed = layers.numbers.copy()
    changed[3] += 0.01
    return replace(layers, numbers=changed)


def not_a_number(layers: Layers) -> Layers:
    changed = layers.numbers.copy()
    changed[-1] = np.nan
    return replace(layers, numbers=changed)


MISTAKES = {
    "one weight": one_weight,
    "not a number": not_a_number,
    "another activation": lambda layers: replace(layers, activation="relu"),
    "another scale": lambda layers: replace(layers, scale=(1.0, 1.0, 1.0, 1.0)),
    "another order": lambda layers: replace(layers, numbers=layers.numbers[::-1].copy()),
    "another range": lambda layers: replace(layers, half_range=layers.half_range * 1.001, squash="clip"),
}


@EACH_LANGUAGE
@EACH_KIND
@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_of_the_writer_is_caught(monkeypatch, language, kind, mistake):
    monkeypatch.setattr(MODULES[language], "layers_of", lambda policy: mistake(layers_of(policy)))
    with pytest.raises(CartpoleError, match=r"the exported file is wrong: .*; nothing written"):
        export(language, policy_of(kind, features="scaled"))


@EACH_LANGUAGE
def test_other_code_is_not_read(language):
    text = export(language, policy_of("discrete"))
    for other in (text + "\n", text.replace(">", ">=", 1), text.replace("sum +=", "sum -="), ""):
        with pytest.raises(ValueError, match="not as policy"):
            READERS[language](other)


@EACH_LANGUAGE
def test_a_policy_of_another_task_is_refused(language):
    sizes = {"observation_size": 6, "hidden_sizes": (16,), "activation": "tanh", "value_network": False}
    policy = PolicyNetwork(Architecture(**sizes, actions=Discrete(3)), Streams([0], "cpu"))
    with pytest.raises(CartpoleError, match="only a cart-pole's policy"):
        export(language, policy)


@EACH_LANGUAGE
def test_the_same_policy_gives_the_same_text(language):
    assert export(language, policy_of("tanh"), a="b") == export(language, policy_of("tanh"), a="b")


# Words

HOSTILE = [
    "*/ alert(1); /*",
    "</script><script>alert(1)</script>",
    "<!-- --> <![CDATA[ ]]>",
    '"; alert(1); "\'`${alert(1)}',
    '\\" \\u0022 \\x22 \\\n',
    "??/ ??' ??) ??!??= ?\\?",
    "emoji \U0001f600 \u2028\u2029 ä",
    "\r\n\t\x00\x1b[31m\x7f",
    "\ud800",
    "// comment\n#include </etc/passwd>",
    "@POLICY@ @INFO@ @NUMBERS@",
    "%s%n %d",
    "__proto__",
    "",
    "x" * 2000,
]


@EACH_LANGUAGE
def test_words_arrive_as_they_are_and_are_never_code(language, tmp_path):
    info = {"words": HOSTILE, "recipe": "\n".join(HOSTILE[:8]), "number": 1.5, "none": None}
    text = export(language, policy_of("discrete"), **info)
    assert text.isascii()
    assert all(character.isprintable() or character == "\n" for character in text)
    assert not re.search(r"</|<!|-->|]]>", text.replace("->", ""))
    options = ["-trigraphs"] if language == "c" else []
    ran = RUN[language](text, tmp_path, ZERO, *options)
    # Lone surrogates: Node writes them as replacement characters.
    assert json.dumps(ran.info).replace("\\ufffd", "\\ud800") == json.dumps(info)
    assert ran.wrong == 0
    assert text.count("alert") == json.dumps(info).count("alert")


def test_words_keep_the_code_as_it_is():
    verification = Verification(policy_of("discrete"))
    for language, read in READERS.items():
        plain, hostile = (EXPORTS[language](verification, {"recipe": words}) for words in ("plain", HOSTILE))
        assert plain.count("\n") == hostile.count("\n")
        assert read(hostile)[1]["recipe"] == HOSTILE


# Size and form


def test_a_module_of_64_by_64_is_smaller_than_40_kb():
    recipe = load_recipe(shipped_recipes()["unbreakable"])
    policy = policy_of("discrete", hidden_sizes=(64, 64), features="trig")
    assert len(export("js", policy, recipe=recipe.to_toml())) < 40_000


def test_c_asks_the_math_library_for_three_functions_and_nobody_for_memory(tmp_path):
    (tmp_path / "policy.h").write_text(export("c", policy_of("tanh", features="trig")))
    (tmp_path / "user.c").write_text(
        '#include "policy.h"\nfloat use(float x);\nint test(void);\n'
        "float use(float x) { return cartpole_force(x, x, x, x); }\nint test(void) { return cartpole_self_test(); }\n"
    )
    subprocess.run([tool("gcc"), "-std=c99", "-Os", "-fno-builtin", "-c", "user.c"], cwd=tmp_path, check=True)
    asked = subprocess.run([tool("nm"), "-u", "user.o"], cwd=tmp_path, check=True, capture_output=True, text=True)
    names = {line.split()[-1].lstrip("_") for line in asked.stdout.splitlines()}
    assert names - {"GLOBAL_OFFSET_TABLE_", "stack_chk_fail"} == {"tanhf", "sinf", "cosf"}


OPTIONS = [("-O0",), ("-O3", "-ffp-contract=fast"), ("-Os", "-fsanitize=address,undefined")]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_c_is_right_however_it_is_compiled(options, tmp_path):
    policy = policy_of("clip", hidden_sizes=(5, 64), features="trig")
    ran = run_c(export("c", policy), tmp_path, ordinary(), *options)
    assert ran.wrong == 0
    np.testing.assert_allclose(ran.outputs, by_torch(policy, ordinary()), rtol=0, atol=1e-3)


def test_c_is_cpp_too_and_is_included_by_several_files(tmp_path):
    (tmp_path / "policy.h").write_text(export("c", policy_of("discrete")))
    once = '#include "policy.h"\n#include "policy.h"\nint test() { return cartpole_self_test(); }\n'
    again = '#include "policy.h"\nint test();\nint main() { return test() + cartpole_self_test(); }\n'
    (tmp_path / "a.cpp").write_text(once)
    (tmp_path / "b.cpp").write_text(again)
    strict = ("-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic")
    subprocess.run([tool("g++"), *strict, "a.cpp", "b.cpp", "-o", "both"], cwd=tmp_path, check=True)
    assert subprocess.run([tmp_path / "both"], check=False).returncode == 0
