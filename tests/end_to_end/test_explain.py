"""`cartpole recipes explain` and what a shell completes, as a user types them."""

import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from commands import heavy_imports

from cartpole_cli.recipe.fields import entries


@pytest.fixture
def explain(cartpole):
    return partial(cartpole, "recipes", "explain")


def test_a_field_is_explained_with_default_range_and_sentence(explain):
    assert explain("trainer.num_seeds").out.splitlines()[2:5] == [
        "trainer.num_seeds=1",
        "    whole number from 1 to 1,024",
        "    Number of seeds, from `seed` on; more than 1 make a study, trained as one",
    ]
    out = explain("trainer.stop_at_return").out
    assert "trainer.stop_at_return (unset)\n    number\n    Mean held-out return" in out
    assert '    "none", "batch", "leave_one_out", "value"\n' in explain("algorithm.baseline").out


def test_every_field_is_explained_somewhere_and_lines_fit_a_terminal(explain):
    said = {section: explain(section).out for section in ("algorithm", "environment", "policy", "trainer", "logger")}
    for entry in entries():
        assert f"\n{entry.key}" in said[entry.key.split(".")[0]]
    assert max(len(line) for text in said.values() for line in text.splitlines()) <= 80
    for name in ("reinforce", "ppo", "grpo", "dpo"):
        assert f'[algorithm] with name = "{name}": ' in said["algorithm"]


def test_an_algorithm_a_section_within_a_section_and_a_name_alone_are_topics(explain):
    assert "algorithm.target_kl (unset)" in explain("ppo").out
    assert "algorithm.baseline" not in explain("ppo").out
    assert "environment.physics.gravity=9.8\n    number from 0, or [lowest, highest]\n" in (
        explain("environment.physics").out
    )
    assert explain("gae_lambda").out == explain("algorithm.gae_lambda").out
    assert explain("algorithm.name").out == explain("algorithm").out


def test_without_a_topic_every_section_has_its_sentence(explain):
    ended = explain()
    assert (ended.code, ended.err) == (0, "")
    for table in ("[algorithm]", "[environment.physics]", "[policy]", "[trainer]", "[logger]"):
        assert f"\n{table}" in f"\n{ended.out}"
    assert ended.out.endswith("their fields: cartpole recipes explain SECTION\n")
    assert len(ended.out.splitlines()) <= 30, "nearly all on one screen"


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("trainer.num_stps", "did you mean 'trainer.num_steps'?"),
        ("algoritm", "did you mean 'algorithm'?"),
        ("qq", "sections: algorithm, "),
    ],
)
def test_an_unknown_topic_is_one_line(explain, topic, said):
    assert said in explain(topic).line


def completed(typed: str, *, place: int | None = None) -> list[str]:
    words = typed.split()
    position = len(words) - 1 if place is None else place
    request = {"_CARTPOLE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(position)}
    script = Path(sys.executable).with_name("cartpole")
    done = subprocess.run([script], env=os.environ | request, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.fixture
def _runs() -> None:
    for name in ("alpha", "alpine", "study", "study/s0", "study/s1", "albatross"):
        (Path("runs") / name).mkdir(parents=True)
        if name != "albatross":
            (Path("runs") / name / "run.json").write_text("{}")
    (Path("elsewhere") / "far").mkdir(parents=True)
    (Path("elsewhere") / "far" / "run.json").write_text("{}")
    (Path("runs") / "al\x1b[31m").mkdir()
    (Path("runs") / "al\x1b[31m" / "run.json").write_text("{}")


@pytest.mark.usefixtures("_runs")
@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("cartpole train --recipe pp", ["ppo", "ppo-continuous", "ppo-swing-up"]),
        ("cartpole train --device c", ["cpu", "cuda"]),
        ("cartpole train --resume al", ["alpha", "alpine"]),
        ("cartpole eval al", ["alpha", "alpine"]),
        ("cartpole eval alpha stu", ["study"]),
        ("cartpole export study/", ["study/s0", "study/s1"]),
        ("cartpole plot --runs-dir elsewhere f", ["far"]),
        ("cartpole recipes show ladder/6", ["ladder/6-ppo"]),
        ("cartpole recipes copy dpo-", ["dpo-continuous"]),
        ("cartpole recipes explain trainer.num_st", ["trainer.num_steps"]),
        ("cartpole eval nothing-so", []),
    ],
)
def test_a_shell_completes_recipes_runs_devices_and_fields(typed, words):
    assert sorted(completed(typed)) == words


def test_recipes_of_ones_own_are_completed():
    Path("recipes").mkdir()
    Path("recipes/mine.toml").touch()
    Path("minor.toml").touch()
    assert sorted(completed("cartpole train --recipe mi")) == ["mine", "minor.toml"]


@pytest.mark.parametrize("typed", ["cartpole train --recipe pp", "cartpole eval al", "cartpole recipes explain tr"])
def test_to_complete_imports_nothing_heavy(typed):
    request = {"_CARTPOLE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
    assert heavy_imports(**request) == []
