"""The benchmarks run; what they measure is nobody's test."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import missing, train_tiny

ORT = Path(__file__).parent.parent / "browser" / "node_modules" / "ort-latest"
SHORT = ("--set", "trainer.num_steps=1000", "--set", "trainer.evaluation_episodes=2")


@pytest.fixture
def rows_of(benchmark) -> Callable[..., list[str]]:
    """The first cells of the tables that a benchmark prints."""

    def run(script: str, *arguments: str) -> list[str]:
        ended = benchmark(script, *arguments)
        assert (ended.code, ended.err) == (0, "")
        lines = [line for line in ended.out.splitlines() if line.startswith("| ") and line.count("|") > 2]
        return [line.split("|")[1].strip() for line in lines]

    return run


def test_solve_prints_a_row_per_recipe(benchmark):
    ended = benchmark("solve.py", "ppo", "reinforce-continuous", "--seeds", "2", *SHORT)
    rows = [line for line in ended.out.splitlines() if line.startswith("| ") and "of 2" in line]
    assert [row.split("|")[1].strip() for row in rows] == ["ppo", "reinforce-continuous"]
    assert (ended.code, ended.err) == (0, "")


def test_checkpointing_prints_a_row_per_recipe(benchmark):
    ended = benchmark("checkpointing.py", "ppo", "reinforce", "--num-steps", "1000")
    rows = [line.split("|")[1].strip() for line in ended.out.splitlines() if " % |" in line]
    assert rows == ["ppo", "reinforce"]
    assert (ended.code, ended.err) == (0, "")


def test_listing_prints_a_row_per_way_to_ask(rows_of):
    rows = rows_of("listing.py", "--runs", "3", "--repeats", "1")
    assert len([row for row in rows if row.startswith("cartpole best")]) == 4


def test_sweep_prints_a_row(rows_of):
    small = ("--trials", "2", "--seeds", "2", "--env-steps", "1000")
    assert rows_of("sweep.py", *small) == ["", "cartpole sweep"]


def test_workers_prints_a_row_per_number_of_them_and_what_one_costs(rows_of):
    few = ("--seeds", "2", "--env-steps", "256", "--repeats", "1", "--settings", "20")
    assert {"1", "2", "to keep it"} <= set(rows_of("workers.py", *few))


def test_simulator_prints_a_row_per_size(rows_of):
    table = ["environments", "1", "8", "64", "1024", "16384"]
    assert rows_of("simulator.py", "--tiny") == table + table


def test_algorithms_writes_its_figures_and_goes_on_where_it_stopped(benchmark, tmp_path):
    folders = ("--work", str(tmp_path / "work"), "--docs", str(tmp_path / "docs"))
    words = ("algorithms.py", "--tiny", *folders, "--cells")
    first = benchmark(*words, "ppo", "dpo")
    assert first.code == 0
    assert [line.split(":")[0] for line in first.out.splitlines()] == ["ppo", "dpo"]
    (tmp_path / "work/dpo/study.json").unlink()
    again = benchmark(*words, "ppo", "dpo", "dpo ipo full")
    assert again.code == 0
    assert [line.split(":")[0] for line in again.out.splitlines()] == ["dpo", "dpo_ipo_full"]
    results = json.loads((tmp_path / "docs/results.json").read_text())
    assert list(results["cells"]) == ["ppo", "dpo", "dpo ipo full"]
    assert [(pair["first"], pair["second"]) for pair in results["pairs"]] == [("ppo", "dpo"), ("dpo", "dpo ipo full")]
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {
        "results.json",
        "tables.md",
        "algorithms.svg",
        "dpo.svg",
        "profiles.svg",
    }


def test_swing_up_tells_its_cost_writes_its_figures_and_goes_on_where_it_stopped(benchmark, tmp_path):
    folders = ("--work", str(tmp_path / "work"), "--docs", str(tmp_path / "docs"))
    words = ("swing_up.py", "--tiny", *folders)
    tuned = benchmark(*words, "--tune")
    assert tuned.code == 0
    chosen = json.loads((tmp_path / "docs/searches.json").read_text())["chosen"]
    assert {name: list(setting) for name, setting in chosen.items()} == {
        "reinforce": ["trainer.learning_rate", "environment.num_envs", "algorithm.gamma"],
        "ppo": ["trainer.learning_rate", "environment.num_envs", "algorithm.gamma"],
        "grpo": ["trainer.learning_rate", "algorithm.gamma", "algorithm.num_epochs"],
        "dpo": ["trainer.learning_rate", "algorithm.groups_per_minibatch", "algorithm.beta"],
    }
    first = benchmark(*words, "--cells", "grpo branched")
    assert first.code == 0
    assert first.out.splitlines()[0] == "studies to train: 1, at most about 0.0 core-hours"
    again = benchmark(*words, "--cells", "grpo branched", "dpo branched", "ppo, physics")
    assert again.code == 0
    trained = [line.partition(":")[0] for line in again.out.splitlines()]
    assert trained == ["studies to train", "dpo_branched", "ppo_physics"]
    results = json.loads((tmp_path / "docs/results.json").read_text())
    assert {name: set(cell["steps_to"]) for name, cell in results["cells"].items()} == {
        name: {"430"} for name in ("grpo branched", "dpo branched", "ppo, physics")
    }
    assert 0 <= results["cells"]["ppo, physics"]["page"]["hanging"]["iqm"] <= 1
    assert [(pair["first"], pair["second"]) for pair in results["pairs"]] == [("grpo branched", "dpo branched")]
    pictures = {f"{name}.svg" for name in ("swing_up", "variants", "seconds", "profiles")}
    written = {path.name for path in (tmp_path / "docs").iterdir()}
    assert written == {"searches.json", "results.json", "tables.md", *pictures}


def test_time_to_solve_prints_ours_and_the_floor(rows_of):
    rows = rows_of("time_to_solve.py", "--seeds", "1", *SHORT)
    assert rows[1:] == ["cartpole train --recipe ppo", "import torch"]


def test_many_seeds_prints_a_row_per_size(rows_of):
    assert rows_of("many_seeds.py", "--sizes", "1", "3", *SHORT) == ["seeds", "1", "3"]


def test_startup_prints_a_row_per_command(rows_of):
    rows = rows_of("startup.py", "--repeats", "1")
    assert rows[0] == "command"
    assert {"cartpole --help", "cartpole best, 10 runs", "cartpole train, one iteration"} <= set(rows)


def test_export_prints_what_a_page_and_a_controller_pay(rows_of):
    if not (ORT.is_dir() and shutil.which("chromium") and shutil.which("gcc")):
        missing("chromium, gcc, or npm ci --ignore-scripts --prefix tests/browser")
    rows = rows_of("export.py", "--tiny")
    assert rows[:6] == ["policy", "64-64", "64-64", "16-16", "16-16", ""]
    assert rows[6:11] == ["first force, s", "js", "js, served compressed", "onnx", "onnx, served compressed"]
    assert rows[11:13] == ["C at -Os, bytes of code and constants", "x86_64"]


def test_picture_writes_a_picture_and_a_film(benchmark, tmp_path):
    if not shutil.which("chromium"):
        missing("chromium")
    ended = benchmark("picture.py", "--output", str(tmp_path), "--steps", "1000", "--frames", "12")
    assert ended.code == 0, ended.err
    assert (tmp_path / "view.png").stat().st_size > 30_000
    assert (tmp_path / "rescue.gif").read_bytes().startswith(b"GIF8")


def test_panel_writes_a_picture_without_fonts_from_elsewhere(benchmark, tmp_path):
    ended = benchmark("panel.py", "--output", str(tmp_path / "train.svg"), "--iterations", "2")
    assert ended.code == 0, ended.err
    svg = (tmp_path / "train.svg").read_text(encoding="utf-8")
    assert svg.startswith("<svg")
    assert "url(http" not in svg


def test_gradients_writes_figures_of_each_estimator(benchmark, tmp_path):
    estimators = ("REINFORCE, leave one out", "GAE(0.9), gamma 0.99, refitted", "GRPO to-go, G = 16, unrelated")
    only = [word for name in (*estimators, "DPO, before a failure") for word in ("--only", name)]
    ended = benchmark("gradients.py", "--tiny", *only, "--docs", str(tmp_path))
    assert (ended.code, ended.err) == (0, "")
    found = json.loads((tmp_path / "results.json").read_text())["policies"]
    assert list(found) == ["CartPole-v1, middle", "CartPoleSwingUp-v1, middle"]
    unbiased = found["CartPole-v1, middle"]["REINFORCE, leave one out"]
    assert unbiased["angle"] < 5
    assert 0.9 < unbiased["cosine"] <= 1
    assert (tmp_path / "tables.md").read_text().count("| DPO, before a failure |") == 2
    assert (tmp_path / "gradients.svg").stat().st_size > 10_000


def test_limits_prints_a_row_per_setting_of_the_sliders(rows_of):
    assert len(rows_of("limits.py")) == 1 + 100


def test_interval_coverage_prints_a_row_per_share_and_where_it_holds(rows_of):
    rows = rows_of("interval_coverage.py", "--repeats", "2")
    assert rows == ["where", *(where for where in ("all", "every second", "three", "drawn") for _ in range(7))]


def test_robustness_pools_several_targets(benchmark, tmp_path):
    suite = tmp_path / "tiny.toml"
    grid = '[[condition]]\nname = "grid"\nepisodes = 2\ncart_mass = [1, 5]\n'
    suite.write_text(f'seconds = 6\n[[condition]]\nname = "calm"\nepisodes = 2\n{grid}', encoding="utf-8")
    for seed in ("0", "1"):
        train_tiny(tmp_path, f"s{seed}", f"trainer.seed={seed}")
    targets = [str(tmp_path / name / "best.pth") for name in ("s0", "s1")]
    ended = benchmark("robustness.py", *targets, "--suite", str(suite))
    assert (ended.code, ended.err) == (0, "")
    names = [line.split("|")[1].strip() for line in ended.out.splitlines() if line.startswith("| ")]
    assert names == ["condition", "calm", "grid", "overall", "", "grid"]
    assert "| 1 kg | 5 kg |" in ended.out


def test_ablations_prints_a_row_per_variant(rows_of, tmp_path):
    suite = tmp_path / "tiny.toml"
    suite.write_text('seconds = 6\n[[condition]]\nname = "hanging start"\nepisodes = 2\nstart = "hanging"\n')
    variants = ("--only", "no delay", "--only", "raw features", "--suite", str(suite))
    assert rows_of("ablations.py", *variants, *SHORT, "--set", "environment.num_envs=64")[-2:] == [
        "no delay",
        "raw features",
    ]
