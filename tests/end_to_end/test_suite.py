"""`cartpole eval --suite`, as a user types it."""

import importlib.util
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from commands import in_terminal, plain
from onnx import TensorProto, helper, numpy_helper

from cartpole_cli.cli import progress

FORCE = [[1.0], [2.0], [40.0], [8.0]]
PUSHES = [[-1.0, 1.0], [-2.0, 2.0], [-40.0, 40.0], [-8.0, 8.0]]
MINE = """
seconds = 8
cart_pole_episodes = 5

[[condition]]
name = "calm"
episodes = 6

[[condition]]
name = "a [small] grid"
episodes = 2
gravity = [5, 20]
cart_mass = [0.5, 1]
pole_length = 1
start = "wild"
pushes = { strength = 1, every = [1, 2], until = 2 }
"""
KEYS = {"target", "seconds", "seed", "overall", "conditions", "cart_pole"}
ROW = {
    *("name", "episodes", "stands", "on_rail", "never_down", "upright", "recovery_seconds"),
    *("effort", "switches_per_second", "jerk", "distance"),
}


@pytest.fixture
def evaluate(cartpole):
    return partial(cartpole, "eval")


@pytest.fixture(autouse=True)
def files() -> None:
    Path("mine.toml").write_text(MINE, encoding="utf-8")
    save("force.onnx", FORCE)


def save(path: str, weights: list[list[float]], shape: tuple[int, ...] | None = (4,)) -> str:
    """An ONNX file that computes observation @ weights."""
    constant = numpy_helper.from_array(np.array(weights, dtype=np.float32), "w")
    state = helper.make_tensor_value_info("state", TensorProto.FLOAT, shape)
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["state", "w"], ["out"])], "linear", [state], [out], [constant]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    Path(path).write_bytes(model.SerializeToString())
    return path


def test_the_report_of_a_custom_suite(evaluate):
    ended = evaluate("force.onnx", "--suite", "mine.toml", "--json")
    assert (ended.code, ended.err) == (0, "")
    everything = json.loads(ended.out)
    assert everything.keys() == {"targets"}
    (given,) = everything["targets"]
    assert given.keys() == KEYS
    assert (given["target"], given["seconds"], given["seed"]) == ("force.onnx", 8, 0)
    calm, grid = given["conditions"]
    assert calm.keys() == ROW
    assert grid.keys() == ROW | {"cells"}
    assert (calm["episodes"], grid["episodes"]) == (6, 8)
    assert calm["stands"] == {"value": 1.0, "ci95": [pytest.approx(6 / 9.8415, abs=1e-4), 1.0]}
    assert [(cell["gravity"], cell["cart_mass"]) for cell in grid["cells"]] == [(5, 0.5), (5, 1), (20, 0.5), (20, 1)]
    assert given["overall"]["value"] == pytest.approx((1 + grid["stands"]["value"]) / 2)
    assert given["cart_pole"]["environment"] == "ContinuousCartPole-v1"
    assert given["cart_pole"]["returns"] == [500.0] * 5


def test_a_seed_repeats_itself_and_another_is_another(evaluate):
    first, again, other = (
        evaluate("force.onnx", "--suite", "mine.toml", "--json", *more).out for more in ((), (), ("--seed", 1))
    )
    assert first == again
    assert json.loads(first)["targets"][0]["conditions"] != json.loads(other)["targets"][0]["conditions"]


def test_the_shipped_suite_on_two_logits(evaluate):
    ended = evaluate(save("two.onnx", PUSHES), "--suite", "page", "--episodes", 1, "--json")
    (given,) = json.loads(ended.out)["targets"]
    rows = {row["name"]: row for row in given["conditions"]}
    assert rows["default, calm"]["stands"]["value"] == 1.0
    assert rows["slider grid, calm"]["episodes"] == len(rows["slider grid, calm"]["cells"]) == 100
    assert rows["hanging start"]["stands"]["value"] == 0.0
    assert given["cart_pole"]["environment"] == "CartPole-v1"


def test_people_see_a_table(evaluate):
    ended = evaluate("force.onnx", "--suite", "mine.toml")
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0].split("  ")[0] == "condition"
    assert lines[1].startswith("overall")
    words = lines[2].split()
    assert words[:11] + words[-2:] == [
        "calm",
        "6",
        "100.0",
        "%",
        "61.0",
        "to",
        "100.0",
        "100.0",
        "%",
        "100.0",
        "%",
        "0.0",
        "s",
    ]
    assert lines[3].startswith("a [small] grid")
    assert "mean return 500.0" in ended.out
    assert "\x1b" not in ended.out


def test_several_targets_are_put_side_by_side(evaluate):
    never = save("never.onnx", [[0.0]] * 4)
    ended = evaluate("force.onnx", never, "--suite", "mine.toml")
    (calm,) = [line for line in ended.out.splitlines() if line.startswith("calm")]
    assert calm.split()[1:] == ["100.0", "%", "(61.0", "to", "100.0)", "0.0", "%", "(0.0", "to", "39.0)"]
    given = json.loads(evaluate("force.onnx", never, "--suite", "mine.toml", "--json").out)
    assert [report["target"] for report in given["targets"]] == ["force.onnx", "never.onnx"]


def test_one_episode_is_no_episodes(evaluate):
    out = evaluate("force.onnx", "--suite", "mine.toml", "--episodes", 1).out
    assert "in 1 episode\n" in out
    assert "in 5 episodes\n" in evaluate("force.onnx", "--suite", "mine.toml").out


def test_a_name_in_a_table_cannot_write_to_the_terminal(evaluate):
    evil, shown = "e\x1b[31mvil\nx.onnx", "e\\x1b[31mvil\\nx.onnx"
    ended = evaluate(save(evil, FORCE), "force.onnx", "--suite", "mine.toml")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert ended.out.count(shown) == 2, "heading and line"


def test_a_table_taller_than_its_terminal_repeats_its_headings_below():
    condition = '[[condition]]\nname = "calm {}"\nepisodes = 1\n'
    Path("many.toml").write_text("seconds = 6\n" + "".join(map(condition.format, range(23))), encoding="utf-8")
    code, received = in_terminal(80, "eval", "force.onnx", "--suite", "many.toml")
    assert code == 0
    lines = [line.rstrip() for line in plain(received).splitlines()]
    heads = [place for place, line in enumerate(lines) if line.lstrip().startswith("condition ")]
    assert len(heads) == 2
    assert len(lines) - heads[1] <= 23, "the second one is on the last screen"
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "longest time without a steady pole (upright for 1 s on end), where it stands" in text
    code, received = in_terminal(80, "eval", "force.onnx", "--suite", "mine.toml")
    assert plain(received).count("condition ") == 1


def test_the_threshold_is_that_of_the_overall_figure(evaluate):
    assert evaluate(save("never.onnx", [[0.0]] * 4), "--suite", "mine.toml", "--threshold", 50).code == 1
    assert evaluate("force.onnx", "--suite", "mine.toml", "--threshold", 50).code == 0


def test_off_a_terminal_progress_is_lines_on_stderr(evaluate, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    ended = evaluate("force.onnx", "--suite", "mine.toml", "--json")
    json.loads(ended.out)
    assert "force.onnx: 400 of 400 steps" in ended.err.splitlines()
    assert "force.onnx: 500 of 500 steps" in evaluate("force.onnx", "--episodes", 2).err.splitlines()


MISTAKES = {
    "no such suite": (("--suite", "pgae"), "did you mean 'page'?"),
    "a film": (("--suite", "mine.toml", "--video", "x.mp4"), "--video"),
    "another task": (("--suite", "mine.toml", "--environment", "Acrobot-v1", "--stochastic"), "--stochastic"),
    "a horizon": (("--suite", "mine.toml", "--horizon", 9), "--horizon"),
    "a heat map without a suite": (("--heatmap", "x.png"), "--suite"),
    "a heat map of another ending": (("--suite", "mine.toml", "--heatmap", "x.jpg"), ".png"),
    "a heat map of a suite without a grid": (("--suite", "flat.toml", "--heatmap", "x.png"), "no grid"),
    "a heat map of two": (("force.onnx", "--suite", "mine.toml", "--heatmap", "x.png"), "one TARGET"),
    "a heat map in a file": (("--suite", "mine.toml", "--heatmap", "mine.toml/x.png"), "(Not a directory)"),
    "a film of another ending": (("--video", "x.avi"), ".mp4"),
    "a film in a file": (("--video", "mine.toml/x.gif"), "mine.toml/x.gif: cannot be written (Not a directory)"),
    "a film over a folder": (("--video", "folder.gif"), "folder.gif: cannot be written (Is a directory)"),
}


@pytest.mark.parametrize(("options", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_before_anything_runs(evaluate, monkeypatch, options, reason):
    loaded = "cartpole_cli.scoring.candidates.load_candidate"
    monkeypatch.setattr(loaded, lambda *arguments, **options: pytest.fail("something was played"))
    Path("folder.gif").mkdir()
    Path("flat.toml").write_text(MINE.replace("[5, 20]", "5").replace("[0.5, 1]", "1"), encoding="utf-8")
    ended = evaluate("force.onnx", *options)
    assert (ended.code, ended.out) == (2, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert reason in line


def test_mistakes_in_a_suite_are_a_line_each(evaluate):
    Path("mine.toml").write_text(MINE.replace("gravity", "gravty").replace('"wild"', '"wlid"'), encoding="utf-8")
    ended = evaluate("force.onnx", "--suite", "mine.toml")
    assert ended.code == 2
    first, second = ended.err.splitlines()
    assert first.startswith("error: mine.toml: condition[2].")
    assert "did you mean 'gravity'?" in first + second
    assert "did you mean 'wild'?" in first + second


def test_a_heat_map_is_a_picture(evaluate):
    ended = evaluate("force.onnx", "--suite", "mine.toml", "--heatmap", "new/map.png")
    assert ended.code == 0
    assert ended.out.splitlines()[-1] == "drawn: new/map.png"
    assert Path("new/map.png").read_bytes().startswith(b"\x89PNG")


def test_a_heat_map_without_matplotlib_is_one_line_that_names_the_extra(evaluate, monkeypatch):
    find = importlib.util.find_spec
    missing = {"matplotlib"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in missing else find(name, *rest))
    ended = evaluate("force.onnx", "--suite", "mine.toml", "--heatmap", "map.png")
    assert ended.code == 2
    (line,) = ended.err.splitlines()
    assert "cartpole-cli[plot]" in line


def test_the_same_target_twice_is_filmed_once(evaluate, monkeypatch):
    films = []
    monkeypatch.setattr("cartpole_cli.environments.film.film", lambda *arguments: films.append(arguments))
    assert evaluate("force.onnx", "force.onnx", "--episodes", 2, "--video", "x.mp4").code == 0
    assert len(films) == 1
