"""`cartpole export --format js` and `--format c`, as a user types it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from commands import CONTINUOUS, train_tiny, tree
from exported_code import run_c, run_js

from cartpole_cli.deploy import c_header, layers
from cartpole_cli.deploy.c_header import read_c
from cartpole_cli.deploy.javascript import read_javascript
from cartpole_cli.runs.checkpoint import load_checkpoint, load_policy, save_checkpoint
from cartpole_cli.runs.trailer import digest_of

KINDS = {"discrete": (), "force": (CONTINUOUS, "policy.features=trig", "policy.activation=relu")}
FILES = {"onnx": "best.onnx", "js": "best.mjs", "c": "best.h"}
RUN = {"js": run_js, "c": run_c}
READERS = {"js": read_javascript, "c": read_c}
EACH_KIND = pytest.mark.parametrize("kind", KINDS)
EACH_LANGUAGE = pytest.mark.parametrize("language", RUN)
ALL = ("--format", "js", "--format", "c", "--format", "onnx")
STATES = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A short run of each kind."""
    folder = tmp_path_factory.mktemp("trained")
    for name, changes in KINDS.items():
        train_tiny(folder, name, "trainer.save_every=2", *changes)
    return folder


def info_in(path: Path) -> dict:
    text = path.read_text(encoding="ascii")
    return READERS["c" if path.suffix == ".h" else "js"](text)[1]


# What is written


@EACH_KIND
@EACH_LANGUAGE
def test_the_file_is_the_checkpoints_policy(export, runs, tmp_path, kind, language):
    before = tree(runs)
    ended = export(kind, "--format", language)
    assert (ended.code, ended.err) == (0, "")
    path = runs / kind / FILES[language]
    assert tree(runs).keys() - before.keys() == {str(path)}
    assert before.items() <= tree(runs).items()
    ran = RUN[language](path.read_text(encoding="ascii"), tmp_path, STATES)
    policy = load_policy(runs / kind / "best.pth", torch.device("cpu"))
    with torch.no_grad():
        distribution = policy.distribution(torch.from_numpy(STATES).unsqueeze(0))
        action = policy.greedy_action(torch.from_numpy(STATES).unsqueeze(0))[0].double().numpy()
    expected = distribution.logits[0].numpy() if kind == "discrete" else action
    np.testing.assert_allclose(ran.outputs, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    forces = 20 * action - 10 if kind == "discrete" else action[:, 0]
    np.testing.assert_allclose(ran.forces, forces, rtol=0, atol=1e-4)
    assert ran.wrong == 0


@EACH_LANGUAGE
def test_the_file_says_what_it_is(export, runs, language):
    assert export("discrete", "--format", language).code == 0
    run = runs / "discrete"
    evaluation = json.loads((run / "evaluation.json").read_text())
    info = info_in(run / FILES[language])
    assert info["recipe_name"] == "ppo"
    assert (info["algorithm"], info["environment"]) == ("ppo", "CartPole-v1")
    assert info["env_steps"] == json.loads((run / "best.json").read_text())["env_steps"]
    assert info["held_out"] == {key: evaluation[key] for key in ("set", "episodes", "mean_return", "ci95")}
    assert info["checkpoint_sha256"] == digest_of(run / "best.pth") == evaluation["checkpoint_sha256"]
    assert info["recipe"] == load_checkpoint(run / "best.pth", "policy")["recipe"]
    assert info["control_hz"] == 50


def test_the_rate_is_that_of_the_training(export, tmp_path):
    physics = ("environment.physics.time_step=[0.01,0.03]", "environment.physics.hold=2")
    for name, changes, hz in (("one", ("environment.physics.time_step=0.016",), 62.5), ("two", physics, 25.0)):
        train_tiny(tmp_path / "runs", name, *changes)
        assert export(name, *ALL, "--quiet").code == 0
        assert [info_in(tmp_path / "runs" / name / FILES[each])["control_hz"] for each in RUN] == [hz, hz]
        define = f"#define CARTPOLE_CONTROL_HZ {hz:.9g}{'' if hz % 1 else '.0'}f "
        assert define in (tmp_path / "runs" / name / "best.h").read_text()


def test_all_formats_at_once_are_the_files_of_each_alone(export, runs):
    assert export("force", *ALL, "--format", "js").code == 0
    together = {name: (runs / "force" / name).read_bytes() for name in [*FILES.values(), "best.onnx.json"]}
    for language, name in FILES.items():
        (runs / "force" / name).unlink()
        assert export("force", "--format", language, "--quiet").code == 0
    assert {name: (runs / "force" / name).read_bytes() for name in together} == together


def test_json_is_an_object_in_a_line_per_file(export, runs):
    ended = export("force", *ALL, "--json")
    js, c, onnx = map(json.loads, ended.out.splitlines())
    same = {"output_name": "force", "states": 10_000, "episodes": 20, "pairs": 64}
    for told, language in ((js, "js"), (c, "c")):
        path = runs / "force" / FILES[language]
        assert told == {"format": language, "output": str(path.relative_to(Path.cwd()))} | same | {
            "bytes": path.stat().st_size
        }
    assert onnx["golden"] == "runs/force/best.onnx.json"
    assert ended.err == ""


def test_people_are_told_how_each_is_used(export, runs):
    out = export("force", *ALL).out
    assert out.count("same as torch on 10,000 states and 20 episodes") == 3
    assert 'import { force } from "./best.mjs"' in out
    assert '#include "best.h"' in out
    assert 'ort.InferenceSession.create("best.onnx")' in out
    assert export("force", *ALL, "--quiet").out == ""


def test_a_study_and_a_snapshot_are_exported(export, cartpole, runs, tmp_path):
    train_tiny(tmp_path / "runs", "study", "trainer.num_seeds=2")
    assert export("study", "--format", "js", "--quiet").code == 0
    (written,) = (tmp_path / "runs" / "study").glob("*/best.mjs")
    assert info_in(written)["recipe_name"] == "ppo"
    (snapshot, *_) = sorted((runs / "force" / "checkpoints").iterdir())
    assert export(snapshot, "--format", "c", "--quiet").code == 0
    info = info_in(snapshot.with_suffix(".h"))
    assert (info["held_out"], info["recipe_name"], info["env_steps"]) == (None, None, 256)


def test_an_interrupted_run_says_the_score_that_its_checkpoint_was_chosen_by(export, runs):
    (runs / "force" / "evaluation.json").unlink()
    assert export("force", "--format", "js").code == 0
    assert info_in(runs / "force" / "best.mjs")["held_out"]["set"] == "selection"


def test_a_recipe_inside_that_is_not_understood_is_left_out(export, runs, tmp_path):
    content = load_checkpoint(runs / "force" / "best.pth", "policy") | {"recipe": "[wind]\nspeed = 3\n"}
    save_checkpoint(tmp_path / "old.pth", content)
    ended = export("old.pth", *ALL, "--quiet")
    assert ended.code == 0
    assert ended.err.count("note: old.pth: its recipe is not understood") == 1
    info = info_in(tmp_path / "old.h")
    assert (info["recipe"], info["algorithm"], info["control_hz"]) == (None, None, 50)


@EACH_KIND
def test_nothing_of_this_machine_is_in_the_files(export, runs, tmp_path, kind):
    export(kind, *ALL)
    places = [Path(layers.__file__).parents[2], Path.home(), tmp_path, Path.cwd(), Path(sys.prefix), Path("/tmp")]
    words = [str(place) for place in places if place != Path("/")]
    for name in ("best.mjs", "best.h"):
        text = (runs / kind / name).read_text(encoding="ascii")
        assert [word for word in [*words, ".py", "best.pth"] if word in text] == []


# Names


@pytest.mark.parametrize("name", ["*", "</script>", "\"'`\\", "??", "\U0001f600 ä", "a\nb\x1b[31m", "\u2028"])
def test_names_of_recipes_are_words_in_every_file(export, runs, tmp_path, name):
    manifest = json.loads((runs / "discrete" / "run.json").read_text())
    hostile = f"{name}*/ alert(1)</script>"
    (runs / "discrete" / "run.json").write_text(json.dumps(manifest | {"recipe": hostile}))
    folder = (runs / "discrete").rename(runs / name.replace("/", ""))
    ended = export(folder, *ALL)
    assert (ended.code, ended.err) == (0, "")
    assert "\x1b" not in ended.out
    for language, run in RUN.items():
        text = (folder / FILES[language]).read_text(encoding="ascii")
        assert run(text, tmp_path, STATES[:1]).info["recipe_name"] == hostile
        assert name not in text or name in {"*", "??", "\"'`\\"}
        assert "</script" not in text


@pytest.mark.parametrize("manifest", ["[]", "{", '{"recipe": 3}', '{"recipe": "' + "x" * 5000 + '"}'])
def test_a_damaged_manifest_costs_the_recipes_name_alone(export, runs, manifest):
    (runs / "force" / "run.json").write_text(manifest)
    assert export("runs/force/best.pth", "--format", "js", "--quiet").code == 0
    assert info_in(runs / "force" / "best.mjs")["recipe_name"] in {None, "x" * 60}


@pytest.mark.parametrize("steps", [float("nan"), -1, "*/", [1], 1e301])
def test_a_damaged_number_is_not_known(export, runs, tmp_path, steps):
    content = load_checkpoint(runs / "force" / "best.pth", "policy")
    save_checkpoint(tmp_path / "odd.pth", content | {"metadata": {"env_steps": steps}})
    assert export("odd.pth", *ALL, "--quiet").code == 0
    assert info_in(tmp_path / "odd.mjs")["env_steps"] is None


# Options and errors


def test_output_names_the_one_file(export, runs, tmp_path):
    for language, name in (("js", "policy.mjs"), ("js", "sub/policy.js"), ("c", "policy.h")):
        assert export("force", "--format", language, "--output", name).code == 0
        assert (tmp_path / name).is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["policy.h", "policy.mjs", "runs", "sub"]


MISTAKES = {
    "several": (("--output", "policy.mjs", *ALL), "one name for 3 files"),
    "another ending": (("--output", "policy.onnx", "--format", "js"), "ends in .mjs or .js, or --format onnx"),
    "c as onnx": (("--output", "policy.h"), "ends in .onnx, or --format c"),
    "no ending": (("--output", "policy", "--format", "c"), "ends in .h"),
    "the checkpoint": (("--output", "runs/force/best.pth", "--format", "c"), "ends in .h"),
    "a typo": (("--format", "onx"), "--format 'onx': unknown; allowed: onnx, js, c; did you mean 'onnx'?"),
    "no such format": (("--format", "wasm"), "--format 'wasm': unknown; allowed: onnx, js, c"),
    "nothing": (("--format", ""), "--format '': unknown"),
    "one of two": (("--format", "js", "--format", "\x1b[31m"), "unknown; allowed"),
}


@pytest.mark.parametrize(("options", "reason"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(export, runs, tmp_path, options, reason):
    before = tree(tmp_path)
    ended = export("force", *options, "--quiet")
    assert reason in ended.line
    assert ended.line.isprintable()
    assert tree(tmp_path) == before


def test_an_onnx_file_is_no_checkpoint(export, runs, tmp_path):
    export("force", "--quiet")
    before = tree(tmp_path)
    assert "not a cartpole checkpoint" in export("runs/force/best.onnx", "--format", "js", "--quiet").line
    assert tree(tmp_path) == before


def test_a_checkpoint_is_not_written_over_whatever_it_is_called(export, runs, tmp_path):
    shutil.copy(runs / "force" / "best.pth", "policy.h")
    before = tree(tmp_path)
    assert "expected another one" in export("policy.h", "--format", "c", "--quiet").line
    assert tree(tmp_path) == before


def test_a_file_of_another_kind_is_replaced_and_a_folder_is_not(export, runs, tmp_path):
    (runs / "force" / "best.mjs").write_text("mine")
    assert export("force", "--format", "js", "--quiet").code == 0
    assert info_in(runs / "force" / "best.mjs")["algorithm"] == "ppo"
    (runs / "force" / "best.mjs").write_text("mine")
    (runs / "force" / "best.h").mkdir()
    before = tree(tmp_path)
    assert "best.h: cannot be written" in export("force", *ALL, "--quiet").line
    assert tree(tmp_path) == before


def test_a_link_is_replaced_and_not_followed(export, runs, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (runs / "force" / "best.mjs").symlink_to(tmp_path / "mine")
    assert export("force", "--format", "js", "--quiet").code == 0
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("existing", ["", "mine"])
def test_all_are_verified_before_any_is_written(export, runs, tmp_path, monkeypatch, existing):
    if existing:
        (runs / "force" / "best.mjs").write_text(existing)
    literal = c_header._literal
    monkeypatch.setattr(c_header, "_literal", lambda number: literal(number * 1.001))
    before = tree(tmp_path)
    line = export("force", *ALL, "--quiet").line
    assert re.search(r"runs/force/best\.pth: the exported file is wrong: .*; nothing written", line)
    assert tree(tmp_path) == before


def test_a_checkpoint_of_no_numbers_is_told_in_one_line(export, runs, tmp_path):
    content = load_checkpoint(runs / "force" / "best.pth", "policy")
    for value in (float("nan"), float("inf")):
        weights = {key: torch.full_like(each, value) for key, each in content["policy"].items()}
        save_checkpoint(tmp_path / "odd.pth", content | {"policy": weights})
        before = tree(tmp_path)
        for language in FILES:
            assert "odd.pth: " in export("odd.pth", "--format", language, "--quiet").line
        assert tree(tmp_path) == before


def test_a_folder_that_cannot_be_written_to_is_told_in_one_line(export, runs, tmp_path):
    if subprocess.run(["id", "-u"], capture_output=True, text=True, check=True).stdout.strip() == "0":
        pytest.skip("root may write everywhere")
    (runs / "force").chmod(0o555)
    before = tree(tmp_path)
    assert "cannot be written" in export("force", *ALL, "--quiet").line
    (runs / "force").chmod(0o755)
    assert tree(tmp_path) == before
