"""Files that name an environment of a module that nobody has imported: what a file says is not run."""

import json
import shutil
import sys
from pathlib import Path

import gymnasium
import onnx
import pytest
from commands import captured
from damage import train
from onnx import helper

from cartpole_cli.runs.checkpoint import load_checkpoint, save_checkpoint
from cartpole_cli.runs.trailer import CHECKPOINT, digest_of

ID = "payload:Payload-v0"
MARK = Path("executed")
PAYLOAD = """
from pathlib import Path
import gymnasium
from gymnasium.envs.classic_control.cartpole import CartPoleEnv

Path("executed").touch()
gymnasium.register(id="Payload-v0", entry_point=CartPoleEnv, max_episode_steps=12)
"""
GIVEN = ("environment.backend=gymnasium", f"environment.id={ID}")
REFUSED = (
    ("eval", "runs/run", "--episodes", "2"),
    ("eval", "runs/run/best.pth", "--episodes", "2"),
    ("eval", "evil.onnx", "--episodes", "2"),
    ("eval", "runs/run", "--episodes", "2", "--video", "film.mp4"),
    ("eval", "evil.onnx", "--episodes", "2", "--video", "film.mp4"),
    ("train", "--quiet", "--resume", "run", "trainer.num_steps=128"),
    ("train", "--quiet", "--resume", "run", "trainer.num_steps=128", "trainer.render_every=1"),
)
NEEDS_NO_ENVIRONMENT = (
    ("eval", "runs/run", "--suite", "short.toml"),
    ("eval", "evil.onnx", "--suite", "short.toml"),
    ("eval", "runs/run", "--environment", "CartPole-v1", "--episodes", "2"),
    ("eval", "evil.onnx", "--environment", "CartPole-v1", "--episodes", "2"),
    ("best",),
    ("best", "--json"),
    ("best", "--confirm", "2"),
    ("plot", "run"),
    ("plot", "run", "--output", "curves.svg"),
)
SHORT = """
seconds = 6.0
[[condition]]
name = "still"
episodes = 2
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("trained")


@pytest.fixture(autouse=True)
def _evil_files(trained, tmp_path, monkeypatch, capsys):
    """A run, and an ONNX file, whose recipes name the payload, which lies where Python finds it."""
    if not (trained / "runs").exists():
        train(capsys, "--name", "run", "--runs-dir", trained / "runs", "trainer.num_steps=64")
        assert captured(capsys, "export", trained / "runs/run", "--output", trained / "evil.onnx").code == 0
        _make_evil(trained)
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    Path("payload.py").write_text(PAYLOAD)
    Path("short.toml").write_text(SHORT)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("payload", None)
    gymnasium.registry.pop("Payload-v0", None)


def _evil(recipe: str) -> str:
    head, _, rest = recipe.partition("[environment]\n")
    tail = rest[rest.find("\n[") :]
    limits = "num_envs = 4\nmax_episode_steps = 12\n"
    return f'{head}[environment]\nbackend = "gymnasium"\nid = "{ID}"\n{limits}{tail}'


def _make_evil(folder: Path) -> None:
    run = folder / "runs/run"
    (run / "recipe.toml").write_text(_evil((run / "recipe.toml").read_text()))
    for name, kind in (("best.pth", "policy"), ("last.pth", "training")):
        content = load_checkpoint(run / name, kind)
        save_checkpoint(run / name, content | {"recipe": _evil(content["recipe"])})
    for name in ("best.json", "evaluation.json"):
        said = json.loads((run / name).read_text())
        (run / name).write_text(json.dumps(said | {CHECKPOINT: digest_of(run / "best.pth")}))
    model = onnx.load(folder / "evil.onnx")
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    helper.set_model_props(model, metadata | {"recipe": _evil(metadata["recipe"])})
    onnx.save(model, folder / "evil.onnx")


@pytest.mark.parametrize("arguments", REFUSED, ids=" ".join)
def test_a_module_that_a_file_names_is_not_imported_and_one_line_says_how_to(arguments, capsys):
    line = captured(capsys, *arguments).line
    assert ID in line
    assert "environment.id=ID" in line
    assert not MARK.exists()


@pytest.mark.parametrize("arguments", NEEDS_NO_ENVIRONMENT, ids=" ".join)
def test_what_plays_no_environment_of_the_file_is_not_hindered(arguments, capsys):
    ended = captured(capsys, *arguments)
    assert ended.code == 0, ended
    assert not MARK.exists()


def test_an_export_plays_no_environment_of_the_file(capsys):
    assert "only cart-pole policies" in captured(capsys, "export", "run", "--output", "out.onnx").line
    content = load_checkpoint(Path("runs/run/best.pth"), "policy")
    save_checkpoint(Path("pole.pth"), content | {"recipe": content["recipe"].replace(ID, "payload:CartPole-v1")})
    assert captured(capsys, "export", "pole.pth", "--output", "out.onnx").code == 0
    assert not MARK.exists()


def test_a_recipe_that_is_not_understood_names_no_environment(capsys):
    content = load_checkpoint(Path("runs/run/best.pth"), "policy")
    save_checkpoint(Path("old.pth"), content | {"recipe": content["recipe"] + "[wind]\nspeed = 3\n"})
    ended = captured(capsys, "eval", "old.pth", "--episodes", "2")
    assert ended.code == 0
    assert ended.err.endswith("scored on CartPole-v1\n")
    assert not MARK.exists()


def test_a_run_that_cannot_be_tested_again_is_listed_with_the_reason(capsys):
    assert f"environment.id = {ID!r}: a file cannot" in captured(capsys, "best", "--confirm", "2", "--json").out
    assert not MARK.exists()


def test_a_module_that_the_user_names_is_imported(capsys):
    assert captured(capsys, "eval", "evil.onnx", "--environment", ID, "--episodes", "2").code == 0
    assert MARK.exists()


def test_a_resume_imports_what_the_user_repeats_and_nothing_else(capsys):
    go_on = ("train", "--quiet", "--resume", "run", "trainer.num_steps=128")
    assert "cannot change" in captured(capsys, *go_on, "environment.id=payload:Other-v0").line
    assert not MARK.exists()
    state = load_checkpoint(Path("runs/run/last.pth"), "training")
    assert captured(capsys, *go_on, f"environment.id={ID}", "--dry-run").code == 0
    assert MARK.exists()
    assert load_checkpoint(Path("runs/run/last.pth"), "training").keys() == state.keys()


def test_a_recipe_that_the_user_trains_by_may_name_a_module_and_its_run_may_not(capsys):
    assert train(capsys, "--name", "own", *GIVEN).code == 0
    assert MARK.exists()
    MARK.unlink()
    del sys.modules["payload"], gymnasium.registry["Payload-v0"]
    more = ("train", "--quiet", "--resume", "own", "trainer.num_steps=256")
    assert ID in captured(capsys, *more).line
    assert not MARK.exists()
    assert captured(capsys, *more, f"environment.id={ID}").code == 0
    assert len(Path("runs/own/metrics.jsonl").read_text().splitlines()) == 8


def test_our_own_module_is_imported_already(capsys):
    ours = "environment.id=cartpole_cli.environments:cartpole_cli/ContinuousCartPole-v1"
    train(capsys, "--name", "own", "environment.backend=gymnasium", ours)
    assert captured(capsys, "eval", "own", "--episodes", "2").code == 0
    assert captured(capsys, "best", "--confirm", "2", "--json").out.count('"problem": null') == 1
