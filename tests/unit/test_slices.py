"""How a sweep's score depends on its numbers: what is read from its trials, the bins, and what they explain."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cartpole_cli.cli.plot_slices import slice_lines
from cartpole_cli.errors import CartpoleError
from cartpole_cli.plots.pictures import draw_slices
from cartpole_cli.plots.slices import Slice, Trial, importance_of, read_slices, read_trials, slices_of


def trials_of(values: list[Any], scores: list[float | None], key: str = "key") -> list[Trial]:
    return [Trial(place, {key: value}, score) for place, (value, score) in enumerate(zip(values, scores, strict=True))]


def one_slice(values: list[Any], scores: list[float | None]) -> Slice:
    (found,) = slices_of(trials_of(values, scores))
    return found


def shown(each: Slice) -> list[tuple[str, list[float]]]:
    return [(part.label, part.scores.tolist()) for part in each.bins]


def line(number: int, score: float | None, **setting: Any) -> str:
    return json.dumps({"trial": number, "setting": setting, "score": score, "seeds": []})


# Reading


def test_trials_are_read_by_number_and_the_last_line_of_one_counts(tmp_path: Path) -> None:
    lines = [line(2, 5.0, rate=0.1, sizes=[64, 64]), line(0, None, rate=None, sizes=[]), line(2, 6, rate=1, sizes=[1])]
    (tmp_path / "trials.jsonl").write_text("\n".join(lines))
    first, second = read_trials(tmp_path)
    assert first == Trial(0, {"rate": None, "sizes": []}, None)
    assert second == Trial(2, {"rate": 1, "sizes": [1]}, 6.0)


GARBAGE = [
    b'{"trial": 1, "setting": {"rate": 0.1}, "sco',
    b"\xff\xfe\x00",
    b"",
    b"[]",
    b"null",
    b"[" * 100_000,
    b'{"x": "' + b"y" * 5_000_000 + b'"}',
    b'{"trial": ' + b"9" * 5000 + b', "setting": {}, "score": 1}',
    *(
        json.dumps({"trial": 1, "setting": {"rate": 0.1}, "score": 1.0} | change).encode()
        for change in (
            *({"score": wrong} for wrong in (float("nan"), float("inf"), "1", True, [], 10**400)),
            *({"trial": wrong} for wrong in (None, -1, 1.5, True, "1", 2**63)),
            *({"setting": wrong} for wrong in (None, [], 3)),
            *({"setting": {"rate": wrong}} for wrong in (float("nan"), 10**400, {}, [[1]], [float("inf")])),
        )
    ),
    b'{"trial": 1, "setting": {"rate": 0.1}}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_damaged_lines_are_passed_over(tmp_path: Path, garbage: bytes) -> None:
    whole = [line(0, 1.0, rate=0.1).encode(), line(3, 2.0, rate=0.2).encode()]
    (tmp_path / "trials.jsonl").write_bytes(b"\n".join([whole[0], garbage, whole[1], garbage]))
    assert [trial.number for trial in read_trials(tmp_path)] == [0, 3]


def test_a_sweep_that_has_just_begun_has_no_trials(tmp_path: Path) -> None:
    assert read_trials(tmp_path) == []
    with pytest.raises(CartpoleError, match="without a trial that has a score"):
        read_slices(tmp_path)
    (tmp_path / "trials.jsonl").write_text(line(0, None, rate=0.1))
    with pytest.raises(CartpoleError, match="without a trial that has a score"):
        read_slices(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"
    os.mkfifo(path)
    with pytest.raises(CartpoleError, match="not a regular file"):
        read_trials(tmp_path)
    path.unlink()
    with path.open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(CartpoleError, match="larger than"):
        read_trials(tmp_path)


def test_it_loads_neither_torch_nor_matplotlib() -> None:
    heavy = ("torch", "gymnasium", "matplotlib", "pydantic")
    script = f"import sys, cartpole_cli.plots.slices; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"


# Bins


def test_many_numbers_are_in_quarters_by_rank() -> None:
    found = one_slice([8, 7, 6, 5, 4, 3, 2, 1000], [8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert shown(found) == [("2 to 3", [3, 2]), ("4 to 5", [5, 4]), ("6 to 7", [7, 6]), ("8 to 1000", [8, 1])]
    assert found.numbers is not None
    assert found.numbers.tolist() == [8, 7, 6, 5, 4, 3, 2, 1000]
    assert found.places.tolist() == [3, 2, 2, 1, 1, 0, 0, 3]


def test_equal_numbers_are_in_one_quarter() -> None:
    found = one_slice([1, 2, 2, 2, 2, 3, 4, 5, 6, 7], [float(place) for place in range(10)])
    assert [part.label for part in found.bins] == ["1 to 2", "3 to 5", "6 to 7"], "3 has five below it of ten"


def test_choices_have_a_line_each_numbers_first_and_in_order() -> None:
    values = [128, "value", 64, None, True, [64, 64], 64, 128]
    found = one_slice(values, [float(place) for place in range(8)])
    labels = {"64": [2, 6], "128": [0, 7], "value": [1], "[64, 64]": [5], "none": [3], "true": [4]}
    assert dict(shown(found)) == labels
    assert [label for label, _ in shown(found)][:2] == ["64", "128"]
    assert found.numbers is None


def test_a_range_that_may_be_off_is_in_quarters_and_a_line() -> None:
    values = [None, *(place / 1000 for place in range(8)), None]
    found = one_slice(values, [float(place) for place in range(10)])
    quarters = ["0 to 0.001", "0.002 to 0.003", "0.004 to 0.005", "0.006 to 0.007"]
    assert [part.label for part in found.bins] == [*quarters, "none"]
    assert found.bins[-1].scores.tolist() == [0, 9]
    assert found.numbers is None


def test_a_failed_trial_counts_with_the_least_score() -> None:
    found = one_slice(["a", "a", "b"], [5.0, None, 3.0])
    assert shown(found) == [("a", [5, 3]), ("b", [3])]
    assert found.failed.tolist() == [False, True, False]


def test_a_key_that_a_line_lacks_is_over_the_others() -> None:
    trials = [Trial(0, {"a": 1, "b": 2}, 1.0), Trial(1, {"a": 3}, 2.0)]
    assert {each.key: len(each.scores) for each in slices_of(trials)} == {"a": 2, "b": 1}


# Importance


def test_the_importance_is_that_of_an_analysis_of_variance() -> None:
    # Within 4 + 4 = 8, between 8 * 2^2 = 32, of 40; by chance (2 - 1) * 8 / 6.
    bins = [np.array([1.0, 3.0, 1.0, 3.0]), np.array([5.0, 7.0, 5.0, 7.0])]
    assert importance_of(bins) == pytest.approx((32 - 8 / 6) / 40)
    assert importance_of([1e300 * part / 7 for part in bins]) == pytest.approx(23 / 30), "no scale matters"
    assert importance_of([part - 400 for part in bins]) == pytest.approx(23 / 30)


def test_bins_of_unequal_sizes() -> None:
    # The mean is 2: between 6 * 1^2 + 2 * 3^2 = 24, within 0 + 8 = 8, by chance 8 / 6.
    assert importance_of([np.full(6, 1.0), np.array([3.0, 7.0])]) == pytest.approx((24 - 8 / 6) / 32)


def test_what_explains_all_is_1_and_what_explains_less_than_chance_is_0() -> None:
    assert importance_of([np.zeros(4), np.ones(4)]) == 1
    assert importance_of([np.array([1.0, 3.0]), np.array([3.0, 1.0, 1.0, 3.0, 1.0, 3.0])]) == 0
    assert importance_of([np.arange(9.0)]) == 0, "it has but one value"


def test_a_number_that_does_nothing_has_next_to_no_importance_on_average() -> None:
    draw = np.random.default_rng(3)
    found = [importance_of(list(draw.normal(size=(4, 6)))) for _ in range(200)]
    assert np.mean([each for each in found if each is not None]) < 0.06, "uncorrected it is 3 / 23 = 0.13"


@pytest.mark.parametrize(
    "bins",
    [
        [np.array([1.0, 2.0, 3.0]), np.array([7.0, 8.0, 9.0, 9.0])],
        [np.full(6, 0.1), np.full(6, 0.1)],
        [np.array([float(place)]) for place in range(9)],
    ],
    ids=["too few", "no variance", "as many bins as trials"],
)
def test_where_there_is_no_telling_there_is_no_importance(bins: list[np.ndarray]) -> None:
    assert importance_of(bins) is None


def test_the_most_important_comes_first() -> None:
    trials = [Trial(place, {"idle": place % 2, "strong": place // 4}, float(place)) for place in range(8)]
    assert [each.key for each in slices_of(trials)] == ["strong", "idle"]


# Lines and pictures


def test_the_lines_of_a_sweep() -> None:
    found = slices_of(trials_of([64] * 4 + [128] * 4, [0.0, 0.0, 50.0, 50.0, 75.0, 100.0, 75.0, None], "size"))
    # Means 25 and 62.5 of 0 to 100: 10 and 25 of 40 characters. Between 8 * 18.75^2 = 2812.5, within 2500 + 5625.
    assert slice_lines(found, 100, unicode=False) == [
        "size: importance 13 %",
        f"  64   {'#' * 10}{' ' * 30}  25.0  4 trials",
        f"  128  {'#' * 25}{' ' * 15}  62.5  4 trials",
        "",
        "bars: the mean score, from 0, the least of a trial, to 100.0, the best",
        "importance: the share of the scores' variance that the number explains alone",
        "1 trial failed: it counts with the least",
    ]
    assert "█" * 25 in slice_lines(found, 100, unicode=True)[2]
    assert max(map(len, slice_lines(found, 40, unicode=False)[:3])) <= 40


def test_few_trials_have_lines_without_an_importance() -> None:
    lines = slice_lines(slices_of(trials_of([0.25], [7.0])), 100, unicode=False)
    assert lines[:2] == ["key: importance unknown", f"  0.25  {'#' * 40}  7  1 trial"]
    assert lines[-1] == "importance unknown: fewer than 8 trials, or all scored the same"


ODD = {
    "large": [Trial(i, {"k": (-1) ** i * 1e300 * (i + 1) / 20}, (-1) ** (i // 2) * 1e300) for i in range(20)],
    "small": [Trial(i, {"k": i * 5e-324}, i * 5e-324) for i in range(20)],
    "many digits": [Trial(i, {"k": 10**299 + i}, float(i)) for i in range(20)],
    "long": [Trial(i, {"x\n$y$\x1b" * 9: "$a_b" * 1000 + str(i)}, float(i)) for i in range(9)],
    "one of each": [Trial(0, {"k": 1, "b": True, "c": None, "d": [1, "x"], "e": "\ud800"}, 1.0)],
    "alike": [Trial(i, {"k": 1, "b": 3.5}, 1.0) for i in range(9)],
    "close": [Trial(i, {"k": 1 + 1e-15 * i}, 1 + 3e-16 * i) for i in range(9)],
}


@pytest.mark.parametrize("trials", ODD.values(), ids=ODD)
def test_whatever_was_tried_can_be_drawn(tmp_path: Path, trials: list[Trial]) -> None:
    slices = slices_of(trials)
    assert max(map(len, slice_lines(slices, 100, unicode=True))) <= 100
    draw_slices(slices, tmp_path / "slices.png")
    assert (tmp_path / "slices.png").read_bytes().startswith(b"\x89PNG")


def test_of_too_many_numbers_the_most_important_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cartpole_cli.plots.pictures.MOST_SLICES", 5)
    slices = slices_of([Trial(i, {f"key{j}": i % 2 for j in range(7)}, float(i)) for i in range(9)])
    draw_slices(slices, tmp_path / "slices.svg")
    svg = (tmp_path / "slices.svg").read_text()
    assert [f"key{j}" in svg for j in range(7)] == [True] * 5 + [False] * 2


def test_a_range_of_a_factor_of_30_has_a_logarithmic_axis(tmp_path: Path) -> None:
    def svg(values: list[float]) -> str:
        draw_slices(slices_of(trials_of(values, [float(place) for place in range(8)])), tmp_path / "slices.svg")
        return (tmp_path / "slices.svg").read_text()

    assert "mathdefault{10^{1}}" in svg([1, 2, 3, 4, 5, 10, 20, 30])
    assert "mathdefault" not in svg([1, 2, 3, 4, 5, 10, 20, 29])
    assert "mathdefault" not in svg([0, 2, 3, 4, 5, 10, 20, 30])
