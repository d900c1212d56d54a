"""`best`, `eval`, `export`, `plot` and `train --resume` on a sweep's folder."""

import json
import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from commands import command, heavy_imports, process, train_tiny

STUDIES = ("recipe", "trial-3", "trial-3-confirmed")
SETTINGS = [
    {
        "trainer.learning_rate": 10 ** (-4 + place / 8),
        "algorithm.minibatch_size": (64, 128)[place % 2],
        "policy.hidden_sizes": ([64, 64], [16])[place // 2 % 2],
        "algorithm.target_kl": None if place % 3 else 0.02 + place / 1000,
    }
    for place in range(24)
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A sweep that has ended, with its finalists, and a run beside it."""
    runs = tmp_path_factory.mktemp("trained")
    for place, name in enumerate(STUDIES):
        train_tiny(runs / "sweep", name, "trainer.num_seeds=2", f"trainer.seed={place}")
    train_tiny(runs, "alone")
    manifest = {"kind": "sweep", "recipe": "ppo", "algorithm": "ppo", "environment": "CartPole-v1"}
    write(runs / "sweep/run.json", manifest | {"status": "finished", "seconds": 12.5, "env_steps": 9000, "resumed": []})
    write(runs / "sweep/report.json", {"metric": "mean_held_out", "best": {"trial": 3, "study": "trial-3"}})
    (runs / "sweep/sweep.toml").write_text("[search]\ntrials = 24\n")
    shutil.copy(runs / "sweep/trial-3/recipe.toml", runs / "sweep/best.toml")
    lines = [
        {"trial": place, "setting": setting, "score": None if place == 5 else 20.0 * place, "seeds": []}
        for place, setting in enumerate(SETTINGS)
    ]
    text = "".join(f"{json.dumps(line)}\n" for line in reversed(lines))
    (runs / "sweep/trials.jsonl").write_text(text + '{"trial": 24, "setting": {"trainer.lea')
    return runs


def write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content))


def still_searching(runs: Path) -> None:
    for name in (*STUDIES, "report.json", "best.toml"):
        path = runs / "sweep" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def best_seed(study: Path) -> Path:
    def score(seed: Path) -> list[float]:
        return [json.loads((seed / "evaluation.json").read_text())[key] for key in ("mean_return", "min_return")]

    return max(sorted(study.glob("s[0-9]")), key=score)


# best


def test_best_lists_each_finalist_under_a_name_that_other_commands_know(cartpole, runs):
    rows = json.loads(cartpole("best", runs, "--json").out)
    bests = {name: best_seed(runs / "sweep" / name) for name in STUDIES}
    expected = {f"sweep/{name}/{seed.name}" for name, seed in bests.items()}
    assert {row["run"] for row in rows} == {"alone", *expected}
    assert {row["study"]["name"] for row in rows if row["study"]} == {f"sweep/{name}" for name in STUDIES}
    assert all(row["problem"] is None and row["status"] == "finished" for row in rows)
    for name in expected:
        assert cartpole("eval", name, "--episodes", 1, "--runs-dir", runs).code == 0
    out = cartpole("best", runs).out
    assert f"sweep/trial-3/{bests['trial-3'].name}: best of 2 seeds; final return" in out
    assert f"all: cartpole best {runs / 'sweep/trial-3'}" in out
    assert cartpole("best", runs, "--confirm", 2, "--path").code == 0


def test_in_the_sweeps_own_folder_best_lists_its_finalists_alone(cartpole, runs):
    rows = json.loads(cartpole("best", runs / "sweep", "--json").out)
    assert {row["study"]["name"] for row in rows} == set(STUDIES)
    assert all(row["problem"] is None for row in rows)
    path = Path(cartpole("best", runs / "sweep", "--path").out.strip())
    assert path == Path(rows[0]["best_checkpoint"])
    assert path.is_relative_to(runs / "sweep")


def test_a_sweep_that_is_still_searching_is_no_run(cartpole, runs):
    still_searching(runs)
    assert [row["run"] for row in json.loads(cartpole("best", runs, "--json").out)] == ["alone"]
    assert cartpole("best", runs / "sweep").out == f"no runs to show in {runs / 'sweep'}\n"


@pytest.mark.parametrize("content", ["{", "", "[]", '{"kind": ["sweep"]}', '{"kind": "sweep", "status": 3}'])
def test_a_damaged_sweep_hides_no_run(cartpole, runs, content):
    (runs / "sweep/run.json").write_text(content)
    for name in ("trials.jsonl", "report.json", "best.toml", "trial-3/run.json"):
        (runs / "sweep" / name).write_text("{")
    (runs / "sweep/loop").symlink_to(runs / "sweep")
    ended = cartpole("best", runs, "--json")
    assert (ended.code, ended.err) == (0, "")
    assert "alone" in {row["run"] for row in json.loads(ended.out) if row["problem"] is None}


# eval and export


@pytest.mark.parametrize(
    ("best", "study"),
    [
        ({"trial": 3, "study": "trial-3"}, "trial-3-confirmed"),
        ({"trial": None, "study": "recipe"}, "recipe"),
    ],
)
def test_a_sweep_means_the_best_run_of_its_best_finalist(cartpole, runs, best, study):
    write(runs / "sweep/report.json", {"best": best})
    seed = best_seed(runs / "sweep" / study)
    words = ("--episodes", 3, "--runs-dir", runs, "--json")
    ended = cartpole("eval", "sweep", *words)
    assert ended.err == f"note: sweep: the best run of its best finalist, {seed}\n"
    (card,) = json.loads(ended.out)["targets"]
    assert card["target"] == "sweep"
    (alone,) = json.loads(cartpole("eval", seed, *words).out)["targets"]
    assert card["returns"] == alone["returns"]
    told = json.loads(cartpole("export", "sweep", "--runs-dir", runs, "--json").out)
    assert told["output"] == str(seed / "best.onnx")
    assert cartpole("eval", runs / "sweep", "--suite", "page", "--episodes", 1).code == 0


@pytest.mark.parametrize(
    "report",
    [None, "{", "[]", "{}", *(json.dumps({"best": best}) for best in (3, {"study": None}, {"study": ["recipe"]}))]
    + [json.dumps({"best": {"study": name}}) for name in ("trial-9", "../alone", "..", "", "a\0b")],
)
def test_where_its_report_names_none_of_its_studies_the_best_run_of_all_is_meant(cartpole, runs, report):
    path = runs / "sweep/report.json"
    path.unlink() if report is None else path.write_text(report)
    told = json.loads(cartpole("export", "sweep", "--runs-dir", runs, "--json").out)
    of_all = cartpole("best", runs / "sweep", "--path").out.strip()
    assert told["output"] == str(Path(of_all).with_suffix(".onnx"))


@pytest.mark.parametrize("words", [("eval", "sweep"), ("export", "sweep"), ("eval", "sweep", "--suite", "page")])
def test_without_a_finalist_one_line_says_how_to_get_one(cartpole, runs, words):
    best, kept = runs / "sweep/best.toml", (runs / "sweep/best.toml").read_bytes()
    still_searching(runs)
    said = cartpole(*words, "--runs-dir", runs).line
    assert said.endswith(f"a sweep without a trained finalist; to go on: cartpole sweep --resume {runs / 'sweep'}")
    best.write_bytes(kept)
    said = cartpole(*words, "--runs-dir", runs).line
    assert said.endswith(f"a sweep without a trained finalist; to go on: cartpole train --recipe {best}")
    assert command("train", "--recipe", best, "--quiet", "--dry-run") == 0


def test_a_finalist_without_a_checkpoint_is_named(cartpole, runs):
    for path in (runs / "sweep/trial-3-confirmed").glob("s*/best.pth"):
        path.unlink()
    line = cartpole("export", "sweep", "--runs-dir", runs).line
    assert f"{runs / 'sweep/trial-3-confirmed'}: has no best.pth" in line


def test_a_sweep_is_gone_on_with_by_its_own_command(cartpole, runs):
    ended = cartpole("train", "--resume", "sweep", "--runs-dir", runs)
    assert ended.line == f"error: {runs / 'sweep'}: a sweep; to go on: cartpole sweep --resume {runs / 'sweep'}"


# plot


def test_plot_shows_a_sweeps_slices(cartpole, runs):
    ended = cartpole("plot", "sweep", "--runs-dir", runs)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    headings = [line for line in lines if not line.startswith(" ") and line.split(":")[0] in SETTINGS[0]]
    assert headings[0].startswith("trainer.learning_rate: importance 9"), "the score rises with it"
    assert len(headings) == 4
    assert all(": importance " in line for line in headings)
    assert sum(line.startswith("  64 ") and line.endswith(" 12 trials") for line in lines) == 1
    assert sum(line.startswith("  none ") and line.endswith(" 16 trials") for line in lines) == 1
    assert "█" in ended.out
    assert lines[-1] == "1 trial failed: it counts with the least"


def test_plain_characters_where_the_encoding_has_no_others(runs, monkeypatch):
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    with (runs / "sweep/trials.jsonl").open("a", encoding="utf-8") as file:
        file.write('\n{"trial": 99, "setting": {"trainer.learning_rate": "名\\u001b[31m"}, "score": 3}\n')
    ended = process("plot", "sweep", "--runs-dir", str(runs))
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.isascii()
    assert "\x1b" not in ended.out
    assert "####" in ended.out


def test_pictures_of_a_sweep(cartpole, runs):
    assert cartpole("plot", "sweep", "--output", "new/slices.svg", "--runs-dir", runs).out == "drawn: new/slices.svg\n"
    assert cartpole("plot", runs / "sweep", "--output", "slices.PNG").code == 0
    svg = Path("new/slices.svg").read_bytes()
    assert ElementTree.fromstring(svg).tag.endswith("svg")
    assert all(f"<!-- {key}" in svg.decode() for key in SETTINGS[0])
    assert Path("slices.PNG").read_bytes().startswith(b"\x89PNG")
    assert cartpole("plot", runs / "sweep", "--output", "again.svg").code == 0
    assert Path("again.svg").read_bytes() == svg


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("sweep", "alone"), "sweep: is a sweep; plot it alone"),
        (("alone", "sweep"), "sweep: is a sweep; plot it alone"),
        (("sweep", "sweep/recipe"), "sweep: is a sweep; plot it alone"),
        (("sweep", "--x", "seconds"), "--x, --y: not for sweep"),
        (("sweep", "--y", "return"), "--x, --y: not for sweep"),
        (("sweep", "--output", "slices.pdf"), "allowed: .svg or .png"),
        (("swep",), "did you mean 'sweep'?"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(cartpole, runs, words, said):
    assert said in cartpole("plot", *words, "--runs-dir", runs).line


def test_a_page_shows_the_best_seed_of_each_finalist(cartpole, runs, tmp_path):
    page = tmp_path / "page.html"
    assert cartpole("view", "sweep", "--runs-dir", runs, "-o", page).code == 0
    data = json.loads(re.search(r'id="data">(.*?)</script>', page.read_text(encoding="ascii"), re.DOTALL)[1])
    names = [policy["name"] for policy in data["policies"]]
    assert names == [f"sweep/{study}/{best_seed(runs / 'sweep' / study).name}" for study in STUDIES]
    assert [curve["name"] for curve in data["curves"]] == [f"sweep/{study} (IQM, 2 seeds)" for study in STUDIES]
    still_searching(runs)
    assert "a sweep without a trained finalist" in cartpole("view", "sweep", "--runs-dir", runs, "-o", page).line


def test_a_finalist_has_learning_curves(cartpole, runs):
    ended = cartpole("plot", "sweep/recipe", "sweep/trial-3", "--x", "seconds", "--runs-dir", runs)
    assert ended.out.splitlines()[-1].endswith(" sweep/trial-3 (IQM, 2 seeds)")


def test_the_lines_of_a_sweep_need_no_torch(runs):
    assert heavy_imports("plot", "sweep", "--runs-dir", str(runs)) == ["numpy"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
@pytest.mark.parametrize("name", ["trials.jsonl", "report.json", "run.json", "best.toml"])
def test_nobody_waits_for_a_pipe(cartpole, runs, name):
    (runs / "sweep" / name).unlink()
    os.mkfifo(runs / "sweep" / name)
    assert cartpole("best", runs, "--json").code == 0
    assert cartpole("best", runs / "sweep", "--json").code == 0
    ended = cartpole("plot", "sweep", "--runs-dir", runs)
    if name == "trials.jsonl":
        assert ended.line.endswith("trials.jsonl: cannot be read (not a regular file)")
    if name == "run.json":
        assert ended.line.startswith("error: ")
        assert cartpole("export", "sweep", "--runs-dir", runs).line.startswith("error: ")
    else:
        assert cartpole("export", "sweep", "--runs-dir", runs).code == 0


def test_garbage_among_the_trials_changes_nothing(cartpole, runs):
    before = cartpole("plot", "sweep", "--runs-dir", runs).out
    path = runs / "sweep/trials.jsonl"
    whole = path.read_bytes().splitlines()[:-1]
    garbage = [b"\xff\x00", b"[" * 100_000, b'{"trial": 7, "setting": {}, "score": NaN}', b"x" * 3_000_000]
    path.write_bytes(b"\n".join([*garbage, *whole, *garbage]))
    assert cartpole("plot", "sweep", "--runs-dir", runs).out == before


def test_a_sweep_without_a_scored_trial_says_so(cartpole, runs):
    (runs / "sweep/trials.jsonl").unlink()
    assert "a sweep without a trial that has a score" in cartpole("plot", "sweep", "--runs-dir", runs).line
