"""`cartpole eval`, as a user types it."""

import importlib.util
import json
import re
import subprocess
import sys
from functools import partial
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
import torch
from commands import CONTINUOUS, Ended, command, heavy_imports, in_terminal, plain, train_tiny
from onnx import TensorProto, helper, numpy_helper

from cartpole_cli.actions import Discrete
from cartpole_cli.deploy.sandbox import Sandbox
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.checkpoint import load_checkpoint, save_checkpoint

LONGER = ("trainer.num_steps=512", "trainer.learning_rate=0.01")
KINDS = {
    "discrete": ("environment.id=CartPole-v1",),
    "clip": (CONTINUOUS, "policy.squash=clip"),
    "tanh": (CONTINUOUS, "policy.squash=tanh"),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
# What scripts may rely on comes first, in this order.
PROMISED = [
    "target",
    "study",
    "environment",
    "episodes",
    "seed",
    "mean_return",
    "std_return",
    "min_return",
    "median_return",
    "max_return",
    "ci95",
    "at_95_percent",
]
REST = {"stochastic", "max_episode_steps", "mean_abs_position", "effort", "switches_per_second", "returns"}
MEASURED = ("mean_return", "std_return", "returns", "ci95", "effort", "switches_per_second", "mean_abs_position")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A short run of each kind, exported."""
    folder = tmp_path_factory.mktemp("trained")
    for name, changes in KINDS.items():
        train_tiny(folder, name, *LONGER, *changes)
        assert command("export", str(folder / name), "--quiet") == 0
    return folder


@pytest.fixture
def evaluate(cartpole):
    return partial(cartpole, "eval")


@pytest.fixture
def card(evaluate):
    """The scorecard that `--json` prints of one target, and of several all that it prints."""

    def run(*arguments: object) -> dict:
        ended = evaluate(*arguments, "--json")
        assert (ended.code, ended.err) == (0, "")
        assert len(ended.out.splitlines()) == 1
        given = strict_json(ended.out)
        assert given.keys() == {"targets", "comparisons", "studies"}
        return given["targets"][0] if len(given["targets"]) == 1 else given

    return run


def strict_json(text: str):
    def refuse(token):
        raise ValueError(f"{token} is not JSON")

    return json.loads(text, parse_constant=refuse)


def measured(card: dict) -> dict:
    return {key: card[key] for key in MEASURED}


def foreign(path: str, weights, bias=None, *, shape=None, **metadata: str) -> str:
    """An ONNX file that computes observation @ weights + bias."""
    weights = np.array(weights, dtype=np.float32)
    bias = np.zeros(weights.shape[1]) if bias is None else np.array(bias)
    nodes = [
        helper.make_node("MatMul", ["state", "w"], ["product"]),
        helper.make_node("Add", ["product", "b"], ["out"]),
    ]
    constants = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(bias.astype(np.float32), "b")]
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, metadata)
    onnx.save(model, path)
    return path


GAINS = np.array([[0.5], [1.0], [20.0], [3.0]])
"""Newtons per m, m/s, rad and rad/s: a controller that balances."""
RIGHT, LEFT = (0.0, 1.0), (1.0, 0.0)


def pushes(path: str, logits, **metadata: str) -> str:
    """A file that always gives the same logits."""
    return foreign(path, np.zeros((4, len(logits))), logits, **metadata)


def num_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


# Imports


@pytest.mark.parametrize("arguments", [["--help"], ["eval", "--help"], ["export", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(arguments):
    assert heavy_imports(*arguments) == []


def test_a_target_that_is_not_there_is_told_without_gymnasiums_greeting_or_a_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "cartpole_cli", "eval", "none"], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)


# Targets


@EACH_KIND
def test_json_has_the_promised_keys_and_numbers_that_fit_together(card, runs, kind):
    given = card(kind)
    assert given.keys() == {*PROMISED, *REST}
    assert given["target"] == kind
    assert given["environment"] == ("CartPole-v1" if kind == "discrete" else "ContinuousCartPole-v1")
    assert (given["episodes"], given["seed"], given["stochastic"]) == (100, 0, False)
    assert given["max_episode_steps"] == 500
    returns = np.array(given["returns"])
    assert len(returns) == 100
    assert given["mean_return"] == pytest.approx(returns.mean())
    assert given["std_return"] == pytest.approx(returns.std())
    assert given["median_return"] == np.median(returns)
    assert (given["min_return"], given["max_return"]) == (returns.min(), returns.max())
    low, high = given["ci95"]
    assert given["min_return"] <= low < given["mean_return"] < high <= given["max_return"]
    assert given["at_95_percent"] == (returns >= 475).sum()
    assert 0 < given["effort"] <= 10
    assert (given["effort"] == 10) == (kind == "discrete")
    assert 0 <= given["mean_abs_position"] <= 2.5
    assert 0 <= given["switches_per_second"] <= 50


@pytest.mark.parametrize("target", ["runs/clip/best.pth", "runs/clip", "clip", "runs/clip/best.onnx"])
def test_a_file_a_folder_a_name_and_the_export_score_the_same(card, runs, target):
    given, expected = card(target, "--episodes", 20), card("clip", "--episodes", 20)
    assert given["target"] == target
    assert given["returns"] == expected["returns"]
    assert given["effort"] == pytest.approx(expected["effort"], rel=1e-3)


@EACH_KIND
def test_an_export_has_the_returns_of_its_checkpoint(card, runs, kind):
    one, other = card(f"runs/{kind}/best.onnx", "--seed", 5), card(kind, "--seed", 5)
    assert one["returns"] == other["returns"]
    assert one["environment"] == other["environment"]


def test_a_name_is_looked_up_in_the_runs_folder(evaluate, runs, tmp_path):
    runs.rename(tmp_path / "elsewhere")
    assert evaluate("clip").code == 2
    assert evaluate("clip", "--runs-dir", "elsewhere", "--episodes", 2).code == 0


@pytest.mark.parametrize("shape", [None, (4,), ("n",)])
def test_a_foreign_file_of_one_value_is_a_force_on_the_same_physics(card, shape):
    given = card(foreign("force.onnx", GAINS, shape=shape), "--episodes", 10)
    assert given["environment"] == "ContinuousCartPole-v1"
    assert given["mean_return"] == 500
    assert given["at_95_percent"] == 10
    assert given["effort"] < 5


def test_a_foreign_file_of_two_values_is_pushes_in_cart_pole(card):
    given = card(foreign("logits.onnx", np.concatenate([-GAINS, GAINS], axis=1)), "--episodes", 10)
    assert given["environment"] == "CartPole-v1"
    assert given["mean_return"] == 500
    assert given["effort"] == 10


def test_a_foreign_file_of_five_values_is_a_grid_of_forces(card):
    given = card(pushes("five.onnx", (0, 0, 0, 1, 0)), "--episodes", 10)
    assert given["environment"] == "ContinuousCartPole-v1"
    assert given["effort"] == 5
    assert given["switches_per_second"] == 0


def test_the_demos_own_kind_of_file_is_scored(card):
    # `state` declared [4], one row inside, logits first and a value second.
    nodes = [
        helper.make_node("Unsqueeze", ["state", "axes"], ["row"]),
        helper.make_node("Gemm", ["row", "w1"], ["linear"]),
        helper.make_node("Relu", ["linear"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "w2"], ["logits"]),
        helper.make_node("Gemm", ["hidden", "w3"], ["value"]),
    ]
    constants = {
        "axes": np.array([0]),
        "w1": np.concatenate([GAINS, -GAINS], axis=1).astype(np.float32),
        "w2": np.array([[0, 1], [1, 0]], dtype=np.float32),
        "w3": np.ones((2, 1), dtype=np.float32),
    }
    outputs = [helper.make_tensor_value_info(*entry) for entry in (("logits", 1, [1, 2]), ("value", 1, [1, 1]))]
    graph = helper.make_graph(
        nodes,
        "demo",
        [helper.make_tensor_value_info("state", TensorProto.FLOAT, [4])],
        outputs,
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), "demo.onnx")
    assert card("demo.onnx", "--episodes", 5)["mean_return"] == 500


def test_constant_pushes_have_the_effort_and_switches_of_their_kind(card):
    right, left = (card(pushes(f"{name}.onnx", logits)) for name, logits in (("r", RIGHT), ("l", LEFT)))
    for given in (right, left):
        assert (given["effort"], given["switches_per_second"], given["at_95_percent"]) == (10.0, 0.0, 0)
        assert 8 <= given["min_return"] <= given["max_return"] <= 11
    assert right["returns"] != left["returns"]


# Options


def test_the_same_seed_gives_the_same_and_another_another(card, runs):
    first, again, other = (card("discrete", "--seed", seed) for seed in (3, 3, 4))
    assert first == again
    assert first["returns"] != other["returns"]
    assert (first["seed"], other["seed"]) == (3, 4)


def test_the_number_of_episodes_is_as_asked(card, runs):
    given = card("clip", "--episodes", 7)
    assert given["episodes"] == len(given["returns"]) == 7
    assert card("clip", "--episodes", 1)["std_return"] == 0


@pytest.mark.parametrize("name", ["ContinuousCartPole-v1", "cartpole_cli/ContinuousCartPole-v1"])
def test_an_environment_that_fits_is_taken(card, runs, name):
    given = card("clip", "--environment", name, "--episodes", 10)
    assert given["environment"] == "ContinuousCartPole-v1"
    assert given["returns"] == card("clip", "--episodes", 10)["returns"]


@pytest.mark.parametrize("kind", ["discrete", "runs/discrete/best.onnx"])
@pytest.mark.parametrize("name", ["ContinuousCartPole-v1", "Acrobot-v1", "Pendulum-v1", "NoSuchTask-v0", ""])
def test_an_environment_that_does_not_fit_is_told_in_one_line(evaluate, runs, kind, name):
    ended = evaluate(kind, "--environment", name)
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert ended.out == ""


def test_a_longer_horizon_is_a_higher_ceiling_for_solving_too(card):
    path = foreign("force.onnx", GAINS)
    given = card(path, "--horizon", 1200, "--episodes", 3)
    assert given["returns"] == [1200.0] * 3
    assert given["max_episode_steps"] == 1200
    assert given["at_95_percent"] == 3
    given = card(pushes("right.onnx", RIGHT), "--horizon", 5, "--episodes", 3)
    assert given["returns"] == [5.0] * 3


@EACH_KIND
def test_sampled_actions_are_others_but_the_same_twice(card, runs, kind):
    greedy, one, other = (card(kind, *options) for options in ((), ("--stochastic",), ("--stochastic",)))
    assert one == other
    assert one["stochastic"] is True
    assert measured(one) != measured(greedy)
    assert one["returns"] != card(kind, "--stochastic", "--seed", 1)["returns"]
    if kind != "discrete":
        assert one["effort"] != greedy["effort"]


def test_an_onnx_file_cannot_be_sampled_from(evaluate, runs):
    ended = evaluate("runs/clip/best.onnx", "--stochastic")
    assert ended.code == 2
    assert "--stochastic" in ended.err
    assert len(ended.err.splitlines()) == 1


def test_below_the_threshold_the_exit_code_is_1_and_the_score_is_told(evaluate, runs):
    right = pushes("right.onnx", RIGHT)
    mean = strict_json(evaluate(right, "--json").out)["targets"][0]["mean_return"]
    for threshold, code in ((mean, 0), (mean - 0.1, 0), (mean + 0.1, 1), (-1e9, 0)):
        ended = evaluate(right, "--json", "--threshold", threshold)
        assert ended.code == code
        assert strict_json(ended.out)["targets"][0]["mean_return"] == mean
    assert evaluate(foreign("force.onnx", GAINS), right, "--threshold", 100, "--episodes", 3).code == 1


def test_a_device_that_is_not_there_is_told(evaluate, runs):
    ended = evaluate("clip", "--device", "gpu")
    assert ended.code == 2
    assert "Traceback" not in ended.err
    assert "cpu" in ended.err
    if not torch.cuda.is_available():
        assert "cuda" in evaluate("clip", "--device", "cuda").err
    assert evaluate("clip", "--device", "auto", "--episodes", 2).code == 0


@pytest.mark.parametrize("threshold", ["nan", "inf", "-inf"])
def test_a_threshold_that_is_no_number_is_refused_before_anything_is_played(evaluate, threshold):
    ended = evaluate(pushes("right.onnx", RIGHT), f"--threshold={threshold}")
    assert ended.line == f"error: --threshold {threshold}: allowed: a finite number"
    assert ended.out == ""


@pytest.mark.parametrize("option", [("--episodes", 0), ("--seed", -1), ("--horizon", 0), ("--episodes", "x")], ids=str)
def test_an_option_out_of_its_range_is_refused(evaluate, runs, option):
    ended = evaluate("clip", *option)
    assert ended.code == 2
    assert option[0] in ended.err


# What people see


def test_people_see_a_table(evaluate, runs):
    ended = evaluate(foreign("force.onnx", GAINS), "--episodes", 4)
    assert (ended.code, ended.err) == (0, "")
    rows = {line.split("  ")[0]: line.split()[-1] for line in ended.out.splitlines()}
    assert rows["environment"] == "ContinuousCartPole-v1"
    assert rows["episodes"] == "4"
    assert rows["mean return"] == rows["worst"] == rows["best"] == "500.0"
    assert rows["standard deviation"] == "0.0"
    assert "4 of 4" in ended.out
    assert "500.0 to 500.0" in ended.out
    assert "\x1b" not in ended.out


def test_a_targets_name_is_shown_to_the_letter(evaluate, runs):
    (runs / "clip").rename(runs / "clip [red]")
    assert "clip [red]" in evaluate("clip [red]", "--episodes", 2).out


def test_a_table_of_different_tasks_has_no_words_for_what_is_not_there(evaluate, runs, acrobot):
    for order in (("discrete", acrobot), (acrobot, "discrete")):
        ended = evaluate(*order, "--episodes", 2)
        assert ended.code == 0
        assert "None" not in ended.out


EVIL = "e\x1b[31mvil\nname"
ESCAPED = "e\\x1b[31mvil\\nname"


@pytest.mark.parametrize("others", [(), ("clip",), ("clip",) * 5])
def test_names_cannot_write_to_the_terminal(evaluate, runs, others, monkeypatch):
    monkeypatch.setattr("cartpole_cli.cli.progress.SECONDS_BETWEEN_LINES", 0.0)
    (runs / "discrete").rename(runs / EVIL)
    ended = evaluate(EVIL, *others, "--episodes", 2)
    assert ended.code == 0
    assert "\x1b" not in ended.out + ended.err
    assert ESCAPED in ended.out
    assert any(line.startswith(f"{ESCAPED}: ") for line in ended.err.splitlines())


def test_targets_that_do_not_fit_side_by_side_are_listed_below_one_another(runs):
    names = ("discrete", "clip", "tanh")
    code, received = in_terminal(60, "eval", *(f"runs/{name}/best.onnx" for name in names), "--episodes", "2")
    assert code == 0
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", plain(received))]
    assert max(map(len, lines)) <= 60
    for name in names:
        assert any(f"runs/{name}/best.onnx" in line for line in lines), "no word is broken"


def test_a_film_is_told(evaluate, runs):
    assert evaluate("clip", "--episodes", 2, "--video", "deep/film.gif").out.splitlines()[-1] == "filmed: deep/film.gif"


# Several targets


def test_several_targets_are_scored_on_the_same_start_states_and_compared(card, runs):
    targets = ("discrete", "clip", pushes("right.onnx", RIGHT))
    given = card(*targets, "--episodes", 30, "--seed", 2)
    assert given.keys() == {"targets", "comparisons", "studies"}
    alone = [card(target, "--episodes", 30, "--seed", 2) for target in targets]
    assert given["targets"] == alone
    pairs = [(pair["first"], pair["second"]) for pair in given["comparisons"]]
    assert pairs == [(targets[0], targets[1]), (targets[0], targets[2]), (targets[1], targets[2])]
    for pair in given["comparisons"]:
        first, second = (np.array(alone[targets.index(pair[key])]["returns"]) for key in ("first", "second"))
        assert pair.keys() == {"first", "second", "probability", "ci95"}
        assert pair["probability"] == pytest.approx((first > second).mean() + (first == second).mean() / 2)
        low, high = pair["ci95"]
        assert low <= pair["probability"] <= high


def test_a_target_is_not_distinguishable_from_itself_and_beats_a_worse_one(evaluate):
    good, bad = foreign("good.onnx", GAINS), pushes("bad.onnx", RIGHT)
    brief = ("--episodes", 5, "--horizon", 50)
    out = evaluate(good, good, *brief).out
    (line,) = [line for line in out.splitlines() if "beats" in line]
    assert "probability 0.50 (95 % interval 0.50 to 0.50)" in line
    assert "not distinguishable" in line
    (line,) = [line for line in evaluate(bad, good, *brief).out.splitlines() if "beats" in line]
    assert line == "bad.onnx beats good.onnx with probability 0.00 (95 % interval 0.00 to 0.00)"


def test_what_has_another_task_is_not_compared_and_a_line_says_so(evaluate, runs):
    train_tiny(Path("others"), "swing", "environment.id=CartPoleSwingUp-v1")
    lines = evaluate("discrete", "others/swing", "--episodes", 2).out.splitlines()
    assert lines[-1] == "targets scored on different tasks, in other physics or limits, are not compared"
    assert not any("beats" in line for line in lines)


# Mistakes


def saved(path: str, content: bytes) -> str:
    Path(path).write_bytes(content)
    return path


def declared_batch(path: str) -> str:
    return foreign(path, np.eye(4, 2), shape=("batch", 4))


TARGETS = {
    "a typo": (lambda: "disrcete", "did you mean 'discrete'?"),
    "nothing": (lambda: "", "best.pth"),
    "a text": (lambda: saved("x.txt", b"text"), "not a cartpole checkpoint"),
    "a training checkpoint": (lambda: "runs/clip/last.pth", "best.pth"),
    "cut short": (lambda: saved("x.pth", Path("runs/clip/best.pth").read_bytes()[:-9]), "not a cartpole checkpoint"),
    "a text as ONNX": (lambda: saved("x.onnx", b"text"), "not an ONNX file"),
    "an empty ONNX file": (lambda: saved("x.onnx", b""), "not an ONNX file"),
    "an ONNX file cut short": (lambda: saved("x.onnx", Path("runs/clip/best.onnx").read_bytes()[:300]), "not an ONNX"),
    "declared [batch, 4]": (lambda: declared_batch("x.onnx"), "shape [4]"),
}


@pytest.mark.parametrize(("prepare", "reason"), TARGETS.values(), ids=TARGETS)
def test_a_target_that_cannot_be_scored_is_told_in_one_line(evaluate, runs, prepare, reason):
    ended = evaluate(prepare())
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert reason in line


OTHER_RECIPES = {
    "no TOML": ("not = = TOML", "not valid TOML"),
    "an unknown field": ("[trainer]\nsed = 1\n", "trainer.sed = 1: unknown field; did you mean 'seed'?"),
    "two unknown fields": ("[trainer]\nsed = 1\nsede = 2\n", "did you mean 'seed'?, and 1 more)"),
    "another version's section": ("[environment.wind]\nspeed = 3\n", "environment.wind"),
}


def with_recipe(path: str, recipe: str) -> str:
    save_checkpoint(Path("other.pth"), load_checkpoint(Path(path), "policy") | {"recipe": recipe})
    return "other.pth"


@pytest.mark.parametrize(("recipe", "reason"), OTHER_RECIPES.values(), ids=OTHER_RECIPES)
def test_a_recipe_inside_that_is_not_understood_is_a_note_and_the_outputs_say_the_task(evaluate, runs, recipe, reason):
    files = {
        foreign("force.onnx", GAINS, recipe=recipe): "ContinuousCartPole-v1",
        pushes("two.onnx", RIGHT, recipe=recipe): "CartPole-v1",
        with_recipe("runs/discrete/best.pth", recipe): "CartPole-v1",
    }
    brief = ("--episodes", 3, "--horizon", 20, "--json")
    for path, task in files.items():
        ended = evaluate(path, *brief)
        assert ended.code == 0
        (line,) = ended.err.splitlines()
        assert line.startswith(f"note: {path}: its recipe is not understood (")
        assert line.endswith(f"): scored on {task}")
        assert reason in line
        (given,) = strict_json(ended.out)["targets"]
        assert given["environment"] == task
        assert evaluate(path, *brief, "--environment", task) == Ended(0, ended.out, "")
    assert given["returns"] == strict_json(evaluate("discrete", *brief).out)["targets"][0]["returns"]


def test_where_the_outputs_say_no_task_either_a_recipe_inside_has_to(evaluate, runs, acrobot):
    path = with_recipe(acrobot, "[trainer]\nsed = 1\n")
    line = evaluate(path, "--episodes", 2).line
    assert line.startswith("error: other.pth: its recipe is not understood (trainer.sed = 1: unknown field")
    given = evaluate(path, "--episodes", 2, "--environment", "Acrobot-v1", "--json")
    assert (given.code, given.err) == (0, "")
    assert strict_json(given.out)["targets"][0]["returns"] == [-500.0, -500.0]


def test_an_onnx_file_is_loaded_once(evaluate, monkeypatch):
    loaded = []

    class Counted(Sandbox):
        def open(self, model):
            loaded.append(self)
            return super().open(model)

    monkeypatch.setattr("cartpole_cli.scoring.candidates.Sandbox", Counted)
    path = foreign("force.onnx", GAINS)
    assert evaluate(path, "--episodes", 2).code == 0
    assert len(loaded) == 1
    Path("short.toml").write_text(
        'seconds = 6\ncart_pole_episodes = 2\n[[condition]]\nname = "still"\nepisodes = 2\n', encoding="utf-8"
    )
    assert evaluate(path, "--suite", "short.toml").code == 0
    assert len(loaded) == 2


@pytest.mark.parametrize("values", [(np.nan,), (np.nan, 1.0), (1.0, np.nan)])
def test_a_file_that_gives_no_numbers_is_refused_or_at_least_scored_in_json(evaluate, values):
    ended = evaluate(pushes("nan.onnx", values), "--json")
    if ended.code == 2:
        assert len(ended.err.splitlines()) == 1
    else:
        strict_json(ended.out)


# Other tasks


@pytest.fixture
def acrobot(tmp_path) -> str:
    """A policy that always pushes the same way in Acrobot-v1, and so never gets there: -1 for each of 500 steps."""
    sizes = {"observation_size": 6, "hidden_sizes": (16,), "activation": "tanh", "value_network": False}
    policy = PolicyNetwork(Architecture(actions=Discrete(3), **sizes), Streams([0], "cpu"))
    with torch.no_grad():
        policy.torso[-1].bias.copy_(torch.tensor([[[9.0, 0.0, 0.0]]]))
    content = {
        "kind": "policy",
        "architecture": policy.architecture.as_plain_data(),
        "policy": policy.seed_state(0),
        "recipe": Recipe.model_validate({"environment": {"backend": "gymnasium", "id": "Acrobot-v1"}}).to_toml(),
        "metadata": {},
    }
    save_checkpoint(tmp_path / "acrobot.pth", content)
    return "acrobot.pth"


def test_another_task_is_scored_without_what_only_a_cart_pole_has(card, acrobot):
    given = card(acrobot, "--episodes", 2)
    assert given.keys() == {*PROMISED, *REST} - {"mean_abs_position", "effort", "switches_per_second"}
    assert given["environment"] == "Acrobot-v1"
    assert given["returns"] == [-500.0, -500.0]
    assert given["at_95_percent"] is None
    assert card(acrobot, "--episodes", 2, "--horizon", 20)["returns"] == [-20.0, -20.0]


# Films


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("options", [("discrete",), ("runs/tanh/best.onnx",), ("clip", "--stochastic")], ids=str)
def test_a_film_is_made_beside_the_score_and_is_of_its_first_episode(card, runs, tmp_path, options, suffix):
    before = {path.name for path in tmp_path.iterdir()}
    film = tmp_path / f"film{suffix}"
    given = card(*options, "--episodes", 2, "--video", film)
    assert given == card(*options, "--episodes", 2)
    assert num_frames(film) == given["returns"][0] + 1
    assert {path.name for path in tmp_path.iterdir()} - before == {film.name}


def test_a_film_lasts_as_long_as_the_episodes_do(evaluate, tmp_path):
    evaluate(foreign("force.onnx", GAINS), "--horizon", 6, "--episodes", 2, "--video", "film.mp4")
    assert num_frames(tmp_path / "film.mp4") == 7


@pytest.mark.parametrize("name", ["film.avi", "film"])
def test_a_film_of_another_ending_is_refused(evaluate, runs, tmp_path, name):
    ended = evaluate("clip", "--video", name)
    assert ended.code == 2
    assert ".mp4" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["Acrobot-v1", "ContinuousCartPole-v1", "NoSuchTask-v0"])
def test_no_film_of_an_environment_that_does_not_fit(evaluate, runs, tmp_path, name):
    ended = evaluate("discrete", "--environment", name, "--video", "film.mp4")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_a_film_without_pyav_is_one_line_that_names_the_extra(evaluate, runs, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "av" else find(name, *rest))
    ended = evaluate("clip", "--video", "film.mp4")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "filming needs av" in line
    assert "cartpole-cli[video]" in line
