"""`cartpole view`: which policies a page shows, what it refuses, and that its file is safe."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from commands import CONTINUOUS, captured, command, train_tiny
from onnx import TensorProto, helper, numpy_helper

from cartpole_cli.view.diagnostics import SENTENCES
from cartpole_cli.view.page import MARK
from cartpole_cli.view.room import MAX_DATA, fit

SWING_UP = ("environment.id=ContinuousCartPoleSwingUp-v1", "environment.physics.gravity=[5,20]")
HOSTILE = "</script><script>alert(1)</script>\"'&\U0001f600"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train_tiny(folder, "run")
    train_tiny(folder, "force", CONTINUOUS)
    train_tiny(folder, "study", "trainer.num_seeds=3")
    train_tiny(folder, "fine", *SWING_UP, "policy.features=fine", "policy.value_sees=physics")
    return folder


def shown(path: Path) -> Any:
    """The data in a page."""
    return json.loads(re.search(r'id="data">(.*?)</script>', path.read_text(encoding="ascii"), re.DOTALL)[1])  # type: ignore[index]


def view(runs: Path, output: Path, *names: object) -> Any:
    assert command("view", *names, "--runs-dir", runs, "-o", output) == 0
    return shown(output)


def chain(path: Path, *nodes: onnx.NodeProto, **constants: np.ndarray) -> Path:
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, None)
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    known = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(list(nodes), "g", [given], [made], known)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    path.write_bytes(model.SerializeToString())
    return path


WEIGHT = np.arange(8, dtype=np.float32).reshape(4, 2) / 8


def test_a_run_comes_with_all_that_is_known(runs: Path, tmp_path: Path) -> None:
    (policy,) = view(runs, tmp_path / "page.html", "run")["policies"]
    assert policy["name"] == "run"
    assert policy["info"]["held_out"]["set"] == "final"
    assert policy["export"]["sizes"] == [4, 16, 2]
    assert policy["value"]["sizes"] == [4, 16, 1]
    assert [frame["env_steps"] for frame in policy["history"]] == [0, 256, 384]
    assert policy["curve"]["x"] == [256, 384]
    assert {"policy_loss", "entropy"} <= {each["name"] for each in policy["diagnostics"]}


def test_a_value_network_that_sees_more_than_the_state_has_no_map(runs: Path, tmp_path: Path) -> None:
    (policy,) = view(runs, tmp_path / "page.html", "fine")["policies"]
    assert policy["export"]["sizes"] == [9, 16, 1]
    assert len(policy["export"]["magnification"]) == 4
    assert policy["value"] is None
    assert len(policy["history"]) == 3


def test_several_names_are_several_policies(runs: Path, tmp_path: Path) -> None:
    names = ["run", runs / "force" / "best.pth", "study/s1"]
    policies = view(runs, tmp_path / "page.html", *names)["policies"]
    assert [policy["name"] for policy in policies] == list(map(str, names))
    assert policies[1]["log_std"] is not None
    assert "history" not in policies[1]


def test_a_study_shows_its_curve_and_the_histories_of_its_best_and_its_worst(runs: Path, tmp_path: Path) -> None:
    data = view(runs, tmp_path / "page.html", "study")
    assert sorted(policy["name"] for policy in data["policies"]) == ["study/s0", "study/s1", "study/s2"]
    assert ["history" in policy for policy in data["policies"]] == [True, False, True]
    (curve,) = data["curves"]
    assert len(curve["low"]) == len(curve["high"]) == len(curve["x"]) > 1


def test_a_run_from_before_there_were_histories_is_shown(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "run", tmp_path / "old")
    (tmp_path / "old" / "history.pth").unlink()
    (policy,) = view(tmp_path, tmp_path / "page.html", "old")["policies"]
    assert "history" not in policy


def test_only_its_own_script_and_style_may_run(runs: Path, tmp_path: Path) -> None:
    view(runs, tmp_path / "page.html", "run")
    text = (tmp_path / "page.html").read_text(encoding="ascii")
    rules = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]  # type: ignore[index]
    assert rules.startswith("default-src 'none'; ")
    for tag, rule in (('script type="module"', "script-src"), ("style", "style-src")):
        inside = re.search(rf"<{tag}>(.*?)</{tag.split()[0]}>", text, re.DOTALL)[1]  # type: ignore[index]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in rules
    assert "unsafe" not in rules
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_names_do_not_reach_the_markup(runs: Path, tmp_path: Path) -> None:
    name = HOSTILE.replace("/", "\u2215")
    shutil.copytree(runs / "run", tmp_path / name)
    data = view(tmp_path, tmp_path / "page.html", name)
    assert data["policies"][0]["name"] == name
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: tags.append(tag)  # type: ignore[method-assign]
    parser.feed((tmp_path / "page.html").read_text(encoding="ascii"))
    assert tags.count("script") == 2


def test_the_page_lies_in_the_runs_folder_unless_told(
    runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(runs / "run", tmp_path / "run")
    for name, path in (("run", tmp_path / "run" / "view.html"), (str(tmp_path / "run" / "best.pth"), None)):
        ended = captured(capfd, "view", name, "--runs-dir", tmp_path)
        assert (ended.code, ended.err) == (0, "")
        assert ended.out.startswith(f"{path or tmp_path / 'run' / 'view.html'}: ")


@pytest.mark.parametrize(
    ("name", "said"),
    [("page.htm", "ends in .html"), ("folder.html", "a folder"), ("mine.html", "left as it is")],
)
def test_nothing_else_is_overwritten(
    name: str, said: str, runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "mine.html").write_text("<!doctype html>\nmine")
    assert said in captured(capfd, "view", "run", "--runs-dir", runs, "-o", tmp_path / name).line
    assert (tmp_path / "mine.html").read_text() == "<!doctype html>\nmine"
    assert not (tmp_path / "page.htm").exists()


def test_its_own_page_is_written_anew(runs: Path, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_bytes(MARK + b"old")
    view(runs, tmp_path / "page.html", "run")


def test_what_cannot_be_shown_is_a_line(runs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    output = ("--runs-dir", runs, "-o", tmp_path / "page.html")
    assert "no such file or folder" in captured(capfd, "view", "nobody", *output).line
    (tmp_path / "empty.pth").write_bytes(b"")
    assert "not a cartpole checkpoint" in captured(capfd, "view", tmp_path / "empty.pth", *output).line
    shutil.copytree(runs / "run", tmp_path / "run")
    (tmp_path / "run" / "best.pth").unlink()
    assert "has no best.pth" in captured(capfd, "view", tmp_path / "run", *output).line
    (tmp_path / "run" / "history.pth").write_bytes(b"x")
    shutil.copy(runs / "run" / "best.pth", tmp_path / "run")
    assert "history.pth" in captured(capfd, "view", tmp_path / "run", *output).line
    assert not (tmp_path / "page.html").exists()


def test_anybodys_chain_is_shown(runs: Path, tmp_path: Path) -> None:
    path = chain(
        tmp_path / "net.onnx",
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Tanh", ["d"], ["y"]),
        w=WEIGHT,
        b=np.array([0.5, -0.5], dtype=np.float32),
    )
    (policy,) = view(runs, tmp_path / "page.html", path)["policies"]
    assert [layer["kind"] for layer in policy["chain"]] == ["affine", "affine", "relu", "tanh"]
    assert policy["outputs"] == 2


def test_our_own_onnx_file_is_shown(runs: Path, tmp_path: Path) -> None:
    for name in ("run", "force"):
        path = tmp_path / f"{name}.onnx"
        assert command("export", name, "--runs-dir", runs, "--output", path, "--quiet") == 0
        assert view(runs, tmp_path / "page.html", path)["policies"][0]["chain"]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([("MatMul", ["x", "w"], "a"), ("Softmax", ["a"], "y")], "operator Softmax"),
        ([("MatMul", ["x", "w"], "a"), ("Sigmoid", ["a"], "y")], "operator Sigmoid"),
        ([("MatMul", ["x", "w"], "a"), ("Tanh", ["a"], "c"), ("Add", ["a", "c"], "y")], "operator Add has 2"),
    ],
)
def test_other_networks_are_told_which_operator(
    nodes: list[tuple[str, list[str], str]], said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = [helper.make_node(kind, given, [output]) for kind, given, output in nodes]
    path = chain(tmp_path / "net.onnx", *made, w=WEIGHT)
    assert said in captured(capfd, "view", path, "-o", tmp_path / "page.html").line


def test_a_page_stays_small(tmp_path: Path) -> None:
    frame = {"halves": "x" * 20_000}
    policies = [{"name": str(place), "value": "x" * 50_000, "history": [frame] * 32} for place in range(4)]
    notes: list[str] = []
    fit(policies, notes)
    assert len(json.dumps(policies)) <= MAX_DATA
    assert (len(policies), notes) == (4, [])
    large = [{"name": str(place), "value": "x" * 400_000, "export": "x" * 400_000} for place in range(3)]
    fit(large, notes)
    assert [policy["name"] for policy in large] == ["0", "1"]
    assert notes[-1] == "2: left out to keep the page small"


@pytest.mark.parametrize(("display", "terminal", "opened"), [(":0", True, 1), (":0", False, 0), ("", True, 0)])
def test_a_page_is_opened_where_somebody_can_see_it(
    display: str, terminal: bool, opened: int, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    addresses: list[str] = []
    shutil.copytree(runs / "run", tmp_path / "run")
    monkeypatch.setattr("webbrowser.open", addresses.append)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal, raising=False)
    monkeypatch.setenv("DISPLAY", display)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert command("view", "run", "--runs-dir", tmp_path) == 0
    assert len(addresses) == opened
    assert command("view", "run", "--runs-dir", tmp_path, "-o", tmp_path / "page.html") == 0
    assert len(addresses) == opened


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo", "grpo", "dpo"])
def test_each_number_that_training_reports_has_a_sentence(algorithm: str, tmp_path: Path) -> None:
    changes = (
        "trainer.num_steps=1",
        "trainer.evaluation_episodes=2",
        "environment.max_episode_steps=50",
        "trainer.stop_at_return=null",
    )
    options = ("--recipe", algorithm, "--runs-dir", tmp_path, "--name", "run", "--quiet")
    assert command("train", *options, *changes) == 0
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert record.keys() - {"iteration", "env_steps", "seconds", "episodes"} <= SENTENCES.keys()
