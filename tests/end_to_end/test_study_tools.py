"""`best`, `eval` and `export` on a study and on its seeds."""

import json
from pathlib import Path

import pytest
from commands import TINY, command

SEEDS = (4, 5, 6, 7, 8)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    runs = tmp_path_factory.mktemp("runs")
    words = ("train", "--recipe", "ppo", *TINY, "--quiet", "--runs-dir", str(runs))
    assert command(*words, "--seeds", str(len(SEEDS)), "--seed", str(SEEDS[0]), "--name", "study") == 0
    assert command(*words, "--seed", "1", "--name", "alone") == 0
    return runs


def score(run: Path) -> tuple[float, float]:
    evaluation = json.loads((run / "evaluation.json").read_text())
    return evaluation["mean_return"], evaluation["min_return"]


def best_seed(runs: Path) -> str:
    return max((runs / "study" / f"s{seed}" for seed in SEEDS), key=score).name


def test_of_a_study_best_lists_the_best_seed_and_says_so(cartpole, runs):
    rows = json.loads(cartpole("best", runs, "--json").out)
    assert {row["run"] for row in rows} == {f"study/{best_seed(runs)}", "alone"}
    of_study = next(row for row in rows if row["study"])
    told = json.loads((runs / "study" / "study.json").read_text())
    assert of_study["study"] == {
        "name": "study",
        "num_seeds": 5,
        "num_solved": told["num_solved"],
        "num_interrupted": 0,
        "mean_return": told["mean_return"],
        "env_steps": told["env_steps"],
    }
    out = cartpole("best", runs).out
    assert f"study/{best_seed(runs)}: best of 5 seeds; final return, IQM {told['mean_return']['iqm']:.1f}" in out
    assert f"all: cartpole best {runs / 'study'}" in out


def test_the_studys_own_folder_lists_all_its_seeds_best_first(cartpole, runs):
    rows = json.loads(cartpole("best", runs / "study", "--json").out)
    assert {row["run"] for row in rows} == {f"s{seed}" for seed in SEEDS}
    assert [row["mean_return"] for row in rows] == sorted((row["mean_return"] for row in rows), reverse=True)
    assert all(row["study"] is None and row["recipe"] == "ppo" for row in rows)
    assert cartpole("best", runs / "study", "--path").out.strip() == str(runs / "study" / best_seed(runs) / "best.pth")


def test_a_study_under_way_and_a_damaged_one_are_listed_with_what_is_known(cartpole, runs):
    for content in (None, "{", '{"mean_return": 3, "env_steps": {"iqm": 1}}'):
        path = runs / "study" / "study.json"
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_text(content)
        (row,) = (row for row in json.loads(cartpole("best", runs, "--json").out) if row["study"])
        assert row["run"] == f"study/{best_seed(runs)}"
        unknown = {"num_solved": None, "num_interrupted": None, "mean_return": None, "env_steps": None}
        assert row["study"] == {"name": "study", "num_seeds": 5} | unknown


def test_a_broken_seed_does_not_hide_the_others(cartpole, runs):
    best = best_seed(runs)
    (runs / "study" / best / "run.json").write_text("{")
    (row,) = (row for row in json.loads(cartpole("best", runs, "--json").out) if row["study"])
    assert row["run"] != f"study/{best}"
    assert row["problem"] is None


def test_eval_scores_every_seed_and_their_middle(cartpole, runs):
    words = ("--episodes", 4, "--runs-dir", runs)
    given = json.loads(cartpole("eval", "study", *words, "--json").out)
    assert [card["target"] for card in given["targets"]] == [f"study/s{seed}" for seed in SEEDS]
    returns = sorted(card["mean_return"] for card in given["targets"])
    (study,) = given["studies"]
    assert (study["study"], study["num_seeds"], study["worst_seed"]) == ("study", 5, returns[0])
    assert study["mean_return"]["iqm"] == pytest.approx(sum(returns[1:4]) / 3)
    assert given["comparisons"] == []
    alone = json.loads(cartpole("eval", "study/s5", *words, "--json").out)
    assert alone["targets"][0]["returns"] == given["targets"][1]["returns"]
    lines = cartpole("eval", "study", *words).out.splitlines()
    assert [line.split()[0] for line in lines[:6]] == ["target", *(f"study/s{seed}" for seed in SEEDS)]
    assert lines[6].startswith(f"study: mean return over 5 seeds, IQM {study['mean_return']['iqm']:.1f} ")


def test_a_seed_without_a_checkpoint_is_left_out_of_a_score_and_said_to_be(cartpole, runs):
    (runs / "study" / "s5" / "best.pth").unlink()
    ended = cartpole("eval", "study", "--episodes", "2", "--runs-dir", runs, "--json")
    assert "note: study: 1 of 5 seeds have no best.pth: left out" in ended.err.splitlines()
    assert [card["target"] for card in json.loads(ended.out)["targets"]] == [f"study/s{s}" for s in SEEDS if s != 5]


def test_export_takes_a_studys_best_seed_or_the_one_named(cartpole, runs):
    for target, folder in (("study", best_seed(runs)), ("study/s6", "s6")):
        told = json.loads(cartpole("export", target, "--runs-dir", runs, "--json").out)
        assert told["output"] == str(runs / "study" / folder / "best.onnx")
        assert Path(told["output"]).stat().st_size == told["bytes"]


def test_a_study_without_a_checkpoint_has_nothing_to_export(cartpole, runs):
    for path in (runs / "study").glob("s*/best.pth"):
        path.unlink()
    ended = cartpole("export", "study", "--runs-dir", runs)
    assert ended.code == 2
    assert "has no best.pth" in ended.err
