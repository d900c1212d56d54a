"""`cartpole export`, as a user types it."""

import json
import platform
import shutil
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from commands import CONTINUOUS, Ended, train_tiny, tree

from cartpole_cli.actions import PUSHES, Continuous, Discrete
from cartpole_cli.deploy import onnx_file
from cartpole_cli.environments import build
from cartpole_cli.policy.network import Architecture, PolicyNetwork
from cartpole_cli.randomness import Streams
from cartpole_cli.recipe.files import load_recipe, resolve_recipe
from cartpole_cli.recipe.recipe import Recipe
from cartpole_cli.runs.checkpoint import load_checkpoint, load_policy, save_checkpoint

HERE = Path(build.__file__).parents[2]
LONGER = ("trainer.num_steps=512", "trainer.save_every=2")
KINDS = {
    "discrete": ("environment.id=CartPole-v1",),
    "clip": (CONTINUOUS, "policy.squash=clip"),
    "tanh": (CONTINUOUS, "policy.squash=tanh", "policy.activation=relu"),
}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A short run of each kind."""
    folder = tmp_path_factory.mktemp("trained")
    for name, changes in KINDS.items():
        train_tiny(folder, name, *LONGER, *changes)
    return folder


def metadata(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def infer(path: Path, states: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"observation": states})[0]


# What is written


@EACH_KIND
def test_a_file_and_its_golden_pairs_are_written_beside_the_checkpoint(export, runs, kind):
    before = tree(runs)
    ended = export(runs / kind / "best.pth")
    assert (ended.code, ended.err) == (0, "")
    path, golden = (runs / kind / name for name in ("best.onnx", "best.onnx.json"))
    assert tree(runs).keys() - before.keys() == {str(path), str(golden)}
    assert before.items() <= tree(runs).items()
    assert path.stat().st_size <= 64 * 1024
    model = onnx.load(path, load_external_data=False)
    assert model.ir_version <= 10
    assert [entry.version for entry in model.opset_import] == [18]
    assert [entry.name for entry in model.graph.input] == ["observation"]
    output = "logits" if kind == "discrete" else "force"
    assert [entry.name for entry in model.graph.output] == [output]
    pairs = {name: np.array(rows, dtype=np.float32) for name, rows in json.loads(golden.read_text()).items()}
    assert [*pairs] == ["observation", output]
    assert len(pairs["observation"]) == len(pairs[output]) == 64
    given = infer(path, pairs["observation"])
    np.testing.assert_allclose(given, pairs[output], rtol=1e-5, atol=1e-5 * np.abs(given).max())


@EACH_KIND
def test_the_file_is_the_checkpoints_policy(export, runs, kind):
    export(runs / kind)
    policy = load_policy(runs / kind / "best.pth", torch.device("cpu"))
    states = np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)
    with torch.no_grad():
        distribution = policy.distribution(torch.from_numpy(states).unsqueeze(0))
        action = policy.greedy_action(torch.from_numpy(states).unsqueeze(0))
    expected = (distribution.logits if kind == "discrete" else action)[0].numpy()
    np.testing.assert_allclose(
        infer(runs / kind / "best.onnx", states), expected, rtol=0, atol=1e-5 * abs(expected).max()
    )


@EACH_KIND
def test_the_file_says_what_it_is(export, runs, kind):
    run = runs / kind
    export(run)
    given = metadata(run / "best.onnx")
    assert given["algorithm"] == "ppo"
    assert given["environment"] == ("CartPole-v1" if kind == "discrete" else "ContinuousCartPole-v1")
    assert given["action"] == ("discrete" if kind == "discrete" else "continuous")
    assert given["action_units"] == ("logits of -10 N and +10 N" if kind == "discrete" else "N")
    assert given["observation"] == "x, x_dot, theta, theta_dot"
    assert given["observation_units"] == "m, m/s, rad, rad/s"
    assert float(given["force_magnitude"]) == 10
    assert float(given["time_step"]) == 0.02
    recipe = resolve_recipe(tomllib.loads(given["recipe"]), [], source="metadata")
    assert recipe == load_recipe(run / "recipe.toml")
    evaluation = json.loads((run / "evaluation.json").read_text())
    assert given["held_out_set"] == evaluation["set"] == "final"
    assert float(given["held_out_return"]) == evaluation["mean_return"]
    assert json.loads(given["held_out_ci95"]) == evaluation["ci95"]
    assert int(given["env_steps"]) == json.loads((run / "best.json").read_text())["env_steps"]
    packages = {name: version(name) for name in ("cartpole-cli", "torch", "onnx", "onnxruntime")}
    assert json.loads(given["versions"]) == packages | {"python": platform.python_version()}


def test_a_checkpoint_on_its_own_says_the_score_it_was_chosen_by(export, runs, tmp_path):
    alone = shutil.copy(runs / "clip" / "best.pth", tmp_path / "mine.pth")
    assert export(alone).code == 0
    given = metadata(tmp_path / "mine.onnx")
    chosen_by = json.loads((runs / "clip" / "best.json").read_text())["evaluation"]
    assert given["held_out_set"] == "selection"
    assert float(given["held_out_return"]) == chosen_by["mean_return"]
    assert json.loads(given["held_out_ci95"]) == chosen_by["ci95"]


@pytest.mark.parametrize(
    ("physics", "said"),
    [
        ({"force_magnitude": 4.0, "time_step": 0.01}, ("4.0", "0.01")),
        ({"force_magnitude": [5, 15.0]}, ("5.0 to 15.0", "0.02")),
        ({"gravity": 5.0}, ("10.0", "0.02")),
    ],
    ids=str,
)
def test_the_file_says_in_which_physics_it_was_trained(export, physics, said):
    recipe = Recipe.model_validate({"environment": {"backend": "native", "physics": physics}})
    path = policy_checkpoint(Path("mine.pth"), recipe, observation_size=4, actions=PUSHES)
    assert export(path).code == 0
    given = metadata(path.with_suffix(".onnx"))
    assert (given["force_magnitude"], given["time_step"]) == said


def with_recipe(path: Path, recipe: str = "[wind]\nspeed = 3\n") -> Path:
    save_checkpoint(path.with_name("old.pth"), load_checkpoint(path, "policy") | {"recipe": recipe})
    return path.with_name("old.pth")


def test_a_recipe_inside_that_is_not_understood_is_a_note_and_is_left_out(export, runs):
    with_recipe(runs / "clip/best.pth").rename("old.pth")
    ended = export("old.pth")
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert line.startswith("note: old.pth: its recipe is not understood (wind")
    assert line.endswith("): exported without the recipe")
    export("clip")
    old, new = metadata(Path("old.onnx")), metadata(runs / "clip/best.onnx")
    assert new.keys() - old.keys() == {"algorithm", "environment", "force_magnitude", "time_step", "recipe"}
    assert old["action"] == new["action"]
    states = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    np.testing.assert_array_equal(infer(Path("old.onnx"), states), infer(runs / "clip/best.onnx", states))


def test_a_damaged_evaluation_is_passed_over(export, runs):
    (runs / "clip" / "evaluation.json").write_text("{")
    assert export("clip").code == 0
    assert metadata(runs / "clip" / "best.onnx")["held_out_set"] == "selection"


def test_a_snapshot_is_exported_without_a_score(export, runs):
    (snapshot, *_) = sorted((runs / "discrete" / "checkpoints").iterdir())
    assert export(snapshot).code == 0
    given = metadata(snapshot.with_suffix(".onnx"))
    assert given["held_out_return"] == ""
    assert json.loads(given["held_out_ci95"]) is None
    assert int(given["env_steps"]) == 256


@EACH_KIND
def test_nothing_of_this_machine_is_in_the_file(export, runs, tmp_path, kind):
    export(runs / kind)
    places = [HERE, Path.home(), tmp_path, Path.cwd(), Path(sys.prefix), Path("/tmp")]
    words = [str(place).encode() for place in places if place != Path("/")]
    for name in ("best.onnx", "best.onnx.json"):
        content = (runs / kind / name).read_bytes()
        assert [word for word in [*words, b"data_location", b".py", b"best.pth"] if word in content] == []


def test_the_same_checkpoint_gives_the_same_files(export, runs):
    for name in ("one.onnx", "two.onnx"):
        assert export("tanh", "--output", name).code == 0
    assert Path("one.onnx").read_bytes() == Path("two.onnx").read_bytes()
    assert Path("one.onnx.json").read_bytes() == Path("two.onnx.json").read_bytes()


# Options


@pytest.mark.parametrize("target", ["runs/clip/best.pth", "runs/clip", "runs/clip/", "clip"])
def test_a_file_a_folder_and_a_name_are_the_same(export, runs, target):
    assert export(target).code == 0
    assert (runs / "clip" / "best.onnx").is_file()


def test_a_name_is_looked_up_in_the_runs_folder(export, runs, tmp_path):
    runs.rename(tmp_path / "elsewhere")
    assert export("clip").code == 2
    assert export("clip", "--runs-dir", "elsewhere").code == 0
    assert (tmp_path / "elsewhere" / "clip" / "best.onnx").is_file()


def test_output_names_the_file_and_its_pairs(export, runs, tmp_path):
    before = tree(runs)
    ended = export("clip", "--output", "policy.onnx")
    assert ended.code == 0
    assert "policy.onnx" in ended.out
    assert "policy.onnx.json" in ended.out
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "policy.onnx", "policy.onnx.json"}
    assert tree(runs) == before


def test_an_older_file_is_replaced(export, runs, tmp_path):
    export("clip", "--output", "policy.onnx")
    clip = Path("policy.onnx").read_bytes()
    export("discrete", "--output", "policy.onnx")
    assert Path("policy.onnx").read_bytes() != clip
    assert "logits" in json.loads(Path("policy.onnx.json").read_text())


@pytest.mark.parametrize("opset", [17, 18, 19, 20])
def test_the_opset_is_as_asked(export, runs, opset):
    assert export("clip", "--opset", opset).code == 0
    assert [entry.version for entry in onnx.load(runs / "clip" / "best.onnx").opset_import] == [opset]


def test_an_opset_is_for_an_onnx_file_alone(export, runs):
    assert "only an ONNX file has one" in export("clip", "--format", "js", "--opset", 17).line
    assert not (runs / "clip" / "best.mjs").exists()


@pytest.mark.parametrize("opset", ["16", "21", "24", "x"])
def test_another_opset_is_refused(export, runs, opset):
    before = tree(runs)
    ended = export("clip", "--opset", opset)
    assert ended.code == 2
    assert "--opset" in ended.err
    assert "Traceback" not in ended.err
    assert tree(runs) == before


def test_json_is_one_object_with_what_was_written(export, runs):
    ended = export("clip", "--json")
    assert len(ended.out.splitlines()) == 1
    assert ended.err == ""
    assert json.loads(ended.out) == {
        "format": "onnx",
        "output": "runs/clip/best.onnx",
        "bytes": (runs / "clip" / "best.onnx").stat().st_size,
        "opset": 18,
        "output_name": "force",
        "states": 10_000,
        "episodes": 20,
        "golden": "runs/clip/best.onnx.json",
        "pairs": 64,
    }


def test_quiet_says_nothing_and_quiet_json_the_object_alone(export, runs):
    assert export("clip", "--quiet") == Ended(0, "", "")
    assert json.loads(export("clip", "--quiet", "--json").out)["pairs"] == 64


def test_people_are_told_the_file_its_size_and_what_was_checked(export, runs):
    out = export("clip").out
    assert "runs/clip/best.onnx: " in out
    assert f"{(runs / 'clip' / 'best.onnx').stat().st_size:,} bytes" in out
    assert "10,000 states" in out
    assert "20 episodes" in out
    assert "64 pairs" in out
    assert 'ort.InferenceSession.create("best.onnx")' in out
    assert "observation, float32 [4]: x, x_dot, theta, theta_dot" in out
    assert "force: one number, the force in newtons" in out
    assert "logits: two numbers, push with -10 N if the first is larger" in export("discrete").out


def test_all_folders_are_made_and_none_is_left_where_nothing_was_written(export, runs, tmp_path):
    assert export("clip", "--output", "a/b/c/x.onnx").code == 0
    assert Path("a/b/c/x.onnx").is_file()
    shutil.rmtree("a")
    before = tree(tmp_path)
    name = "x" * 300 + ".onnx"
    assert "cannot be written" in export("clip", "--output", f"a/b/{name}", "--quiet").line
    assert tree(tmp_path) == before


def test_names_cannot_write_to_the_terminal(export, runs):
    (runs / "clip").rename(runs / "e\x1b[31mvil")
    ended = export("e\x1b[31mvil")
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert ended.out.count("e\\x1b[31mvil") == 3


# Errors


def acrobot(path: Path) -> Path:
    recipe = Recipe.model_validate({"environment": {"backend": "gymnasium", "id": "Acrobot-v1"}})
    return policy_checkpoint(path, recipe, observation_size=6, actions=Discrete(3))


def inverted_pendulum(path: Path) -> Path:
    """4 observations in another order, and a force of +-3: a cart-pole's sizes, but none of ours."""
    recipe = Recipe.model_validate({"environment": {"backend": "gymnasium", "id": "InvertedPendulum-v5"}})
    return policy_checkpoint(path, recipe, observation_size=4, actions=Continuous((-3.0,), (3.0,)))


def policy_checkpoint(path: Path, recipe: Recipe, **sizes) -> Path:
    architecture = Architecture(hidden_sizes=(16,), activation="tanh", value_network=False, **sizes)
    content = {
        "kind": "policy",
        "architecture": architecture.as_plain_data(),
        "policy": PolicyNetwork(architecture, Streams([0], "cpu")).seed_state(0),
        "recipe": recipe.to_toml(),
        "metadata": {},
    }
    save_checkpoint(path, content)
    return path


def without_a_recipe(path: Path) -> Path:
    content = load_checkpoint(Path("runs/clip/best.pth"), "policy")
    save_checkpoint(path, {key: value for key, value in content.items() if key != "recipe"})
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def foreign(path: Path) -> Path:
    torch.save({"state_dict": torch.nn.Linear(4, 2).state_dict()}, path)
    return path


def best() -> bytes:
    return Path("runs/clip/best.pth").read_bytes()


def no_best() -> str:
    Path("runs/clip/best.pth").unlink()
    return "clip"


MISTAKES = {
    "a text": (lambda: written(Path("notes.txt"), b"a text\n"), "not a cartpole checkpoint"),
    "an empty file": (lambda: written(Path("empty.pth"), b""), "not a cartpole checkpoint"),
    "a foreign torch file": (lambda: foreign(Path("model.pth")), "not a cartpole checkpoint"),
    "cut short by a byte": (lambda: written(Path("cut.pth"), best()[:-1]), "not a cartpole checkpoint"),
    "cut in half": (lambda: written(Path("half.pth"), best()[: len(best()) // 2]), "not a cartpole checkpoint"),
    "damaged": (lambda: written(Path("damaged.pth"), best().replace(b"recipe", b"recipf", 1)), "damaged"),
    "a training checkpoint": (lambda: "runs/clip/last.pth", "best.pth"),
    "without a recipe": (lambda: without_a_recipe(Path("bare.pth")), "no recipe"),
    "a missing file": (lambda: "none/best.pth", "no such file"),
    "a run without a best": (no_best, "no best.pth"),
    "a name with a typo": (lambda: "disrcete", "did you mean 'discrete'?"),
    "a folder that is no run": (lambda: "runs", "neither a run nor a study"),
    "nothing": (lambda: "", "best.pth"),
    "a name no file can have": (lambda: "x" * 5000, "too long"),
    "another task": (lambda: acrobot(Path("acrobot.pth")), "only cart-pole policies"),
    "another task, of a recipe that says nothing": (
        lambda: with_recipe(acrobot(Path("odd.pth"))),
        "only a cart-pole's",
    ),
    "another task of a cart-pole's sizes": (lambda: inverted_pendulum(Path("other.pth")), "cart-pole"),
}


@pytest.mark.parametrize(("prepare", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_what_is_no_cart_poles_checkpoint_is_told_in_one_line_and_nothing_is_written(
    export, runs, tmp_path, prepare, reason
):
    target = prepare()
    before = tree(tmp_path)
    ended = export(target, "--output", "policy.onnx", "--quiet")
    (line,) = ended.err.splitlines()
    assert ended.code == 2
    assert ended.out == ""
    assert line.startswith("error: ")
    assert reason in line
    assert tree(tmp_path) == before


def below_a_file() -> str:
    Path("file").touch()
    return "file/policy.onnx"


def a_folder() -> str:
    Path("policy.onnx").mkdir()
    return "policy.onnx"


def pairs_are_a_folder() -> str:
    Path("policy.onnx.json").mkdir()
    return "policy.onnx"


OUTPUTS = {
    "below a file": below_a_file,
    "a folder": a_folder,
    "this folder": lambda: ".",
    "nothing": lambda: "",
    "pairs are a folder": pairs_are_a_folder,
    "the checkpoint itself": lambda: "runs/clip/best.pth",
    "a name no file can have": lambda: "x" * 5000,
}


@pytest.mark.parametrize("prepare", OUTPUTS.values(), ids=OUTPUTS)
def test_an_output_that_cannot_be_written_is_told_in_one_line_and_nothing_is(export, runs, tmp_path, prepare):
    output = prepare()
    before = tree(tmp_path)
    ended = export("clip", "--output", output, "--quiet")
    assert tree(tmp_path) == before
    assert ended.code == 2
    assert "error: " in ended.err
    assert "Traceback" not in ended.err


def test_a_file_that_fails_its_verification_is_not_written(export, runs, tmp_path, monkeypatch):
    build = onnx_file.build_model

    def wrong(*arguments):
        model = build(*arguments)
        weights = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 2)
        weights.raw_data = bytes(reversed(weights.raw_data[:4])) + weights.raw_data[4:]
        return model

    monkeypatch.setattr(onnx_file, "build_model", wrong)
    before = tree(tmp_path)
    ended = export("clip", "--quiet")
    assert ended.code == 2
    assert "runs/clip/best.pth: the exported file is wrong" in ended.err
    assert len(ended.err.splitlines()) == 1
    assert tree(tmp_path) == before
