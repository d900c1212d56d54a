"""Searches: files and command lines, samplers, and what a seed and a trial are worth."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartpole_cli.errors import CartpoleError
from cartpole_cli.sweep.sampler import GENERATION, generations, settings_of
from cartpole_cli.sweep.score import Curve, mean_score
from cartpole_cli.sweep.search import Search, make_search, read_search

WORDS = ("trainer.learning_rate=log(1e-4,1e-1)", "algorithm.minibatch_size=64,128")


@dataclass
class Ended:
    setting: dict[str, Any]
    score: float | None


def search(*words: str, **options: Any) -> Search:
    return make_search(None, "ppo", words or WORDS, options)


def problem(*words: str, **options: Any) -> str:
    with pytest.raises(CartpoleError) as raised:
        search(*words, **options)
    (line,) = raised.value.problems
    return line


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "search.toml"
    path.write_text(text)
    return path


def test_plain_changes_are_the_recipes_and_values_the_spaces() -> None:
    found = search(*WORDS, "trainer.num_steps=5000", "policy.hidden_sizes=[16]")
    assert found.recipe.trainer.num_steps == 5000
    assert found.recipe.policy.hidden_sizes == (16,)
    assert list(found.space.written) == ["trainer.learning_rate", "algorithm.minibatch_size"]
    assert (found.num_trials, found.recipe_name) == (64, "ppo")


def test_a_file_says_the_same_and_the_command_line_changes_it(tmp_path: Path) -> None:
    path = file(
        tmp_path,
        """
        recipe = "ppo"
        [space]
        "trainer.learning_rate" = "log(1e-4,1e-1)"
        algorithm.minibatch_size = [64, 128]
        [search]
        trials = 7
        seeds = 2
        """,
    )
    found = make_search(path, None, ["algorithm.gamma=0.9,0.99", "trainer.num_steps=5000"], {"seeds": 3})
    assert list(found.space.written) == ["trainer.learning_rate", "algorithm.minibatch_size", "algorithm.gamma"]
    assert (found.settings.trials, found.settings.seeds, found.recipe.trainer.num_steps) == (7, 3, 5000)


def test_a_search_survives_its_file(tmp_path: Path) -> None:
    found = search(*WORDS, "algorithm.target_kl=null,0.02", trials=5, metric="final")
    again = read_search(file(tmp_path, found.to_toml()), "ppo")
    assert again == found
    assert "trials = 64" in search().to_toml()
    assert make_search(file(tmp_path, found.to_toml()), None, (), {}).space == found.space


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("recipe = 'ppo'\n[search]\ntrails = 3", "search.trails = 3: unknown field; did you mean 'trials'?"),
        ("recipe = 'ppo'\n[space]\nalgorithm.gamma = 2.0", "[space]: algorithm.gamma = 2.0: allowed: less than"),
        ("recipe = 'pop'\n[space]\nalgorithm.gamma = [0.9]", "recipe 'pop' not found"),
        ("[space]\nalgorithm.gamma = [0.9]", "recipe: missing"),
        ("recipe = 3", "recipe"),
        ("space = 3\nrecipe = 'ppo'", "space = 3"),
        ("recipe = ", "not valid TOML"),
        ("[recipe.algorithm]\nname = 'ppo'\ngama = 1.0\n[space]", "[recipe]: algorithm.gama = 1.0: unknown field"),
    ],
)
def test_mistakes_in_a_file_are_told_in_a_line(tmp_path: Path, text: str, expected: str) -> None:
    with pytest.raises(CartpoleError) as raised:
        make_search(file(tmp_path, text), None, (), {})
    assert all("search.toml" in line or "pop" in line for line in raised.value.problems)
    assert expected in raised.value.problems[0]


def test_options_that_do_not_fit_are_told_by_their_names() -> None:
    assert problem(*WORDS, trials=0) == "--trials = 0: allowed: greater than or equal to 1"
    assert problem(*WORDS, confirm_seeds=1) == "--confirm-seeds = 1: allowed: greater than or equal to 2"
    assert "trials = 3: the grid has 2 settings; allowed: 2, or unset" in problem(
        "algorithm.gamma=0.9,0.99", sampler="grid", trials=3
    )
    assert "a grid needs values to choose from" in problem("algorithm.gamma=interval(0.9,0.99)", sampler="grid")
    assert "a search has --seeds" in problem(*WORDS, "trainer.num_seeds=4")
    assert "too large for the seeds of a search" in problem(*WORDS, f"trainer.seed={2**63 - 5}")


def test_no_seed_is_in_two_stages() -> None:
    found = search(*WORDS, "trainer.seed=10", seeds=3, confirm_seeds=4)
    assert [list(found.seeds(stage)) for stage in range(3)] == [[10, 11, 12], [13, 14, 15, 16], [17, 18, 19, 20]]


def test_a_grid_is_every_combination_in_order() -> None:
    found = search("algorithm.gamma=0.9,0.99", "algorithm.num_epochs=range(1,3)", sampler="grid")
    assert found.num_trials == 4
    (generation,) = generations(found)
    settings = settings_of(found, generation, ())
    assert [tuple(setting.values()) for setting in settings] == [(0.9, 1), (0.9, 2), (0.99, 1), (0.99, 2)]


def test_a_random_setting_depends_on_its_number_and_the_samplers_seed_alone() -> None:
    few, many = search(trials=3), search(trials=9)
    first, (generation,) = settings_of(few, range(3), ()), generations(many)
    assert settings_of(many, generation, ())[:3] == first
    assert settings_of(search(trials=3, sampler_seed=1), range(3), ()) != first
    rates = [setting["trainer.learning_rate"] for setting in settings_of(search(trials=200), range(200), ())]
    assert all(1e-4 <= rate <= 1e-1 for rate in rates)
    assert 0.4 < np.mean([rate < 10**-2.5 for rate in rates]) < 0.6


def test_tpe_asks_generation_by_generation_and_finds_the_hill() -> None:
    found = search("algorithm.gamma=interval(0.5,1)", "algorithm.num_epochs=2,4", sampler="tpe", trials=5 * GENERATION)

    def score(setting: dict[str, Any]) -> float | None:
        if setting["algorithm.gamma"] < 0.6:
            return None
        return -((setting["algorithm.gamma"] - 0.9) ** 2) - 0.1 * (setting["algorithm.num_epochs"] == 4)

    told: list[Ended] = []
    for generation in generations(found):
        settings = settings_of(found, generation, told)
        assert settings == settings_of(found, generation, told), "nothing is remembered between two asks"
        told += [Ended(setting, score(setting)) for setting in settings]
    last = told[-GENERATION:]
    assert np.mean([each.setting["algorithm.num_epochs"] == 2 for each in last]) > 0.7
    assert np.median([abs(each.setting["algorithm.gamma"] - 0.9) for each in last]) < 0.05


def test_generations_cover_all_trials_once() -> None:
    found = search(sampler="tpe", trials=GENERATION + 3)
    assert [number for generation in generations(found) for number in generation] == list(range(GENERATION + 3))
    assert [len(generation) for generation in generations(found)] == [GENERATION, 3]


def test_the_mean_held_out_return_is_the_area_under_the_curve() -> None:
    assert Curve([50, 100], [100.0, 100.0]).mean_held_out(100) == pytest.approx(75.0, abs=0.1)
    assert Curve([100], [100.0]).mean_held_out(100) == pytest.approx(50.0, abs=0.1)


def test_a_curve_that_ends_early_goes_on_level() -> None:
    failed = Curve([50], [100.0])
    assert failed.mean_held_out(100) == pytest.approx(75.0, abs=0.1)
    solved = Curve([50], [500.0], after=475.0)
    assert solved.mean_held_out(100) == pytest.approx(0.5 * 250 + 0.5 * 475, abs=0.5)
    assert solved.score("final", 100) == 500.0


def test_a_seed_without_an_evaluation_leaves_its_trial_without_a_score() -> None:
    assert Curve([], []).score("mean_held_out", 100) is None
    assert mean_score([1.0, None]) is None
    assert mean_score([1.0, 2.0]) == 1.5
    assert not math.isnan(mean_score([0.0]) or 0.0)
