"""Learning curves: what is read from metrics, and what many seeds are together."""

import json
from pathlib import Path

import numpy as np
import pytest

from cartpole_cli.cli.plot_chart import HEIGHT, chart
from cartpole_cli.errors import CartpoleError
from cartpole_cli.intervals import interquartile_mean, interquartile_means
from cartpole_cli.plots.curves import Curve, SeedCurve, over_seeds, read_curve


def seed(x: list[float], y: list[float], *, holds: bool = False) -> SeedCurve:
    return SeedCurve(np.array(x, dtype=float), np.array(y, dtype=float), holds)


def write_run(folder: Path, *records: object, status: str = "finished") -> None:
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"status": status}))
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(record)}\n" for record in records))


def write_study(folder: Path, num_seeds: int) -> None:
    (folder / "run.json").write_text(json.dumps({"kind": "study", "seeds": list(range(num_seeds))}))


def held_out(steps: int, value: float, **more: float) -> dict[str, float]:
    return {"env_steps": steps, "seconds": steps / 100, "selection_return": value, **more}


def test_values_between_evaluations_are_interpolated() -> None:
    curve = over_seeds("two", [seed([0, 100], [0, 100]), seed([0, 50, 100], [0, 100, 100])])
    assert np.interp(25, curve.x, curve.y) == pytest.approx((25 + 50) / 2)
    assert (curve.x[0], curve.x[-1]) == (0, 100)


def test_a_solved_seed_holds_its_last_value_and_another_does_not() -> None:
    solved, going_on = seed([0, 10], [0, 500], holds=True), seed([0, 100], [0, 100])
    assert over_seeds("study", [solved, going_on]).x[-1] == 100
    assert over_seeds("study", [solved, going_on]).y[-1] == pytest.approx(300)
    cut = seed([0, 10], [0, 500])
    assert over_seeds("study", [cut, going_on]).x[-1] == 10


def test_the_curve_begins_where_every_seed_has_a_value() -> None:
    assert over_seeds("late", [seed([5, 20], [1, 1]), seed([10, 20], [1, 1])]).x[0] == 10


def test_a_seed_that_ends_before_another_begins_is_a_point() -> None:
    assert over_seeds("apart", [seed([1, 2], [1, 1]), seed([5, 9], [3, 3])]).x.tolist() == [5]


def test_many_interquartile_means_are_those_of_each_column() -> None:
    values = np.random.default_rng(3).normal(size=(13, 4))
    iqm, low, high = interquartile_means(values)
    for place, column in enumerate(values.T):
        alone = interquartile_mean(column.tolist())
        assert iqm[place] == pytest.approx(alone.value)
        assert (low[place], high[place]) == pytest.approx(alone.interval)


def test_a_run_is_its_line(tmp_path: Path) -> None:
    write_run(tmp_path / "run", {"env_steps": 5, "episode_return": 9.0}, held_out(10, 20.0), held_out(20, 30.0))
    curve = read_curve("run", tmp_path, x="seconds", y="held-out")
    assert (curve.label, curve.x.tolist(), curve.y.tolist()) == ("run", [0.1, 0.2], [20.0, 30.0])
    assert read_curve("run", tmp_path, x="steps", y="return").y.tolist() == [9.0]


def test_a_study_counts_the_seeds_that_measured_nothing(tmp_path: Path) -> None:
    write_run(tmp_path / "study/s0", held_out(10, 20.0), held_out(20, 500.0, confirmation_return=500.0))
    write_run(tmp_path / "study/s1", held_out(10, 20.0), held_out(40, 400.0))
    write_run(tmp_path / "study/s2", {"env_steps": 5}, status="failed")
    write_study(tmp_path / "study", 3)
    curve = read_curve("study", tmp_path, x="steps", y="held-out")
    assert curve.label == "study (IQM, 2 of 3 seeds)"
    assert (curve.x[-1], curve.y[-1]) == (40, pytest.approx(450))


def test_a_failed_seed_does_not_cut_the_others(tmp_path: Path) -> None:
    write_run(tmp_path / "study/s0", held_out(10, 20.0), held_out(40, 400.0))
    write_run(tmp_path / "study/s1", held_out(10, 20.0), status="failed")
    write_study(tmp_path / "study", 2)
    assert read_curve("study", tmp_path, x="steps", y="held-out").x[-1] == 40


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    write_run(tmp_path / "run", held_out(10, 20.0), [1], held_out(15, float("nan")), held_out(20, 30.0))
    with (tmp_path / "run/metrics.jsonl").open("ab") as file:
        file.write(b'{"env_steps": 30, "selection_re\xff')
    assert read_curve("run", tmp_path, x="steps", y="held-out").x.tolist() == [10, 20]


@pytest.mark.parametrize(
    ("name", "said"),
    [("rnu", "did you mean 'run'"), ("empty", "neither a run nor a study"), ("run", "no held-out return")],
)
def test_what_cannot_be_drawn_is_said(tmp_path: Path, name: str, said: str) -> None:
    write_run(tmp_path / "run", {"env_steps": 5, "episode_return": 9.0})
    (tmp_path / "empty").mkdir()
    with pytest.raises(CartpoleError, match=said):
        read_curve(name, tmp_path, x="steps", y="held-out")


# The chart of characters

RISING = Curve("rising", np.array([0.0, 100.0]), np.array([0.0, 500.0]))


def test_a_rising_line_rises() -> None:
    lines = chart([RISING], 60, x_label="steps", y_label="return", unicode=False)
    places = [line.find("o") for line in lines[1 : HEIGHT + 1]]
    assert -1 not in places
    assert places == sorted(places, reverse=True)
    assert max(map(len, lines)) <= 60
    assert lines[-1] == "o rising"


def test_a_curve_alone_has_its_interval_and_each_of_several_its_mark() -> None:
    band = Curve("band", RISING.x, RISING.y, RISING.y - 100, RISING.y + 100, num_seeds=4)
    assert any(":" in line for line in chart([band], 60, x_label="", y_label="", unicode=False)[:HEIGHT])
    lines = chart([band, RISING], 60, x_label="", y_label="", unicode=True)
    assert lines[-2:] == ["● band (IQM, 4 seeds)", "○ rising"]
    assert not any("░" in line for line in lines)


@pytest.mark.parametrize("value", [0.0, -200.0, 1e9])
def test_a_single_point_can_be_drawn(value: float) -> None:
    point = Curve("point", np.array([3.0]), np.array([value]))
    lines = chart([point], 40, x_label="", y_label="", unicode=False)
    assert sum(line.count("o") for line in lines[1 : HEIGHT + 1]) == 1
