"""What there is to see while training: one run, or how many seeds of a study are where."""

import io
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from cartpole_cli.cli import train_display as console_module
from cartpole_cli.cli.train_display import TrainingDisplay
from cartpole_cli.cli.train_views import Goal, RunView, StudyView
from cartpole_cli.cli.words import number, sparkline
from cartpole_cli.training.evaluation import Evaluation
from cartpole_cli.training.reports import Report, SeedReport

GOAL = Goal(num_steps=1000, stop_at_return=500.0, max_episode_steps=500, confirmation_horizon=2)


def seed(number: int, env_steps: int, *, held_out: float | None = None, **changes: Any) -> SeedReport:
    fields: dict[str, Any] = {
        "episodes": 1,
        "episode_return": 10.0,
        "diagnostics": {"entropy": 0.5},
        "hint": None,
        "evaluation": None if held_out is None else Evaluation("selection", (held_out,)),
        "confirmation": None,
        "improved": held_out is not None,
        "solved": False,
        "failure": None,
        "finished": False,
    }
    return SeedReport(member=number, seed=number, env_steps=env_steps, **fields | changes)


def study(*reports: Report, num_seeds: int = 4) -> StudyView:
    view = StudyView(GOAL, num_seeds)
    for report in reports:
        view.see(report)
    return view


SOLVED = {"solved": True, "finished": True}
FAILED = {"failure": "entropy in iteration 2", "finished": True}
FIRST = Report(1, (seed(5, 100, episode_return=8.0), seed(6, 110), seed(7, 120, episode_return=40.0), seed(8, 100)))
SECOND = Report(
    2, (seed(5, 200, held_out=30.0), seed(6, 210, held_out=500.0, **SOLVED), seed(7, 220, **FAILED), seed(8, 200))
)
THIRD = Report(3, (seed(5, 300, episode_return=None), seed(8, 300, episode_return=12.0)))
LAST = Report(10, (seed(5, 1000, finished=True), seed(8, 1000, held_out=200.0, **SOLVED)))


def shown(table: Table) -> dict[str, str]:
    """Cells of the two columns."""
    names, values = (list(column.cells) for column in table.columns)
    return {str(name): str(value) for name, value in zip(names, values, strict=True)}


# A study


def test_at_first_all_seeds_are_training() -> None:
    view = study(FIRST)
    line = "iteration 1  steps 430  9 steps/s  4 of 4 seeds training, 0 solved  return, median 10.0"
    assert view.line("9 steps/s") == line
    assert (view.env_steps, view.budget_used, view.evaluated) == (430, 430, False)


def test_seeds_that_are_solved_and_failed_are_counted() -> None:
    view = study(FIRST, SECOND)
    assert "  2 of 4 seeds training, 1 solved, 1 failed  " in view.line("")
    assert "  held out lowest 30.0, median 265.0, highest 500.0" in view.line("")
    assert (view.env_steps, view.evaluated) == (830, True)
    assert view.budget_used == 200 + 200 + 2 * 1000


def test_seeds_that_have_left_stay_counted() -> None:
    view = study(FIRST, SECOND, THIRD)
    line = view.line("")
    assert "iteration 3  steps 1030  " in line
    assert "  2 of 4 seeds training, 1 solved, 1 failed  return, median 12.0  held out lowest 30.0, median 265" in line
    assert (view.env_steps, view.budget_used, view.evaluated) == (1030, 2600, False)


def test_a_seed_that_spent_its_budget_trains_no_more_and_is_not_solved() -> None:
    view = study(FIRST, SECOND, THIRD, LAST)
    assert "  0 of 4 seeds training, 2 solved, 1 failed  " in view.line("")
    assert "held out lowest 30.0, median 200.0, highest 500.0" in view.line("")
    assert view.budget_used == 4000


def test_an_iteration_without_an_episodes_end_has_no_return() -> None:
    view = study(Report(1, (seed(5, 100, episode_return=None), seed(6, 100, episode_return=None))), num_seeds=2)
    assert "return" not in view.line("")
    assert shown(view.table())["return, median"] == "no episode yet"


def test_a_studys_table_has_the_same_figures() -> None:
    until = {"until": "500.0 held out, and confirmed; at most 1,000 steps"}
    assert shown(study(FIRST).table()) == until | {
        "iteration": "1, 430 env steps",
        "seeds": "4 of 4 seeds training, 0 solved",
        "return, median": "10.0  ▁",
        "held out": "not evaluated yet",
    }
    assert shown(study(FIRST, SECOND, THIRD).table()) == until | {
        "iteration": "3, 1,030 env steps",
        "seeds": "2 of 4 seeds training, 1 solved, 1 failed",
        "return, median": "12.0  ▁▁█",
        "held out": "lowest 30.0, median 265.0, highest 500.0",
    }


def test_seeds_that_left_before_a_study_was_resumed_count_with_their_steps_and_their_whole_budget() -> None:
    view = StudyView(GOAL, 4, left=(seed(6, 210, **SOLVED), seed(7, 220, **FAILED)))
    view.see(THIRD)
    assert (view.env_steps, view.budget_used) == (300 + 300 + 210 + 220, 300 + 300 + 2 * 1000)
    assert "2 of 4 seeds training, 1 solved, 1 failed" in view.line("fast")


# A run


def test_a_run_shows_its_best_and_its_diagnostics() -> None:
    view = RunView(GOAL)
    view.see(Report(1, (seed(5, 100, held_out=30.0),)))
    view.see(Report(2, (seed(5, 200, held_out=20.0, improved=False, diagnostics={"policy_loss": -0.01234}),)))
    expected = "iteration 2  steps 200  9 steps/s  return 10.0  held out 20.0  best 30.0  policy_loss -0.0123"
    assert view.line("9 steps/s") == expected
    assert shown(view.table()) == {
        "iteration": "2, 200 env steps",
        "return": "10.0  ▁▁",
        "held out": "20.0, best 30.0",
        "until": "500.0 held out, and confirmed; at most 1,000 steps",
        "policy loss": "-0.0123",
    }
    assert (view.env_steps, view.budget_used, view.evaluated) == (200, 200, True)


def test_a_run_says_why_it_goes_on_after_a_perfect_score() -> None:
    view = RunView(GOAL)
    unconfirmed = Evaluation("confirmation", (439.7,), (500.0,))
    view.see(Report(1, (seed(5, 100, held_out=500.0, confirmation=unconfirmed),)))
    view.see(Report(2, (seed(5, 200),)))
    assert shown(view.table())["until"] == "500.0 held out, not yet confirmed (439.7 of 500 over 1,000 steps)"
    view.see(Report(3, (seed(5, 300, held_out=400.0),)))
    assert shown(view.table())["until"] == "500.0 held out, and confirmed; at most 1,000 steps"


def test_a_resumed_run_knows_its_best_from_before() -> None:
    view = RunView(GOAL, best=480.0)
    view.see(Report(1, (seed(5, 100, held_out=20.0, improved=False),)))
    assert shown(view.table())["held out"] == "20.0, best 480.0"


def test_without_a_target_a_run_is_trained_until_its_budget_is_spent() -> None:
    view = RunView(Goal(num_steps=20_000, stop_at_return=None, max_episode_steps=500, confirmation_horizon=2))
    view.see(Report(1, (seed(5, 100, held_out=500.0),)))
    assert shown(view.table())["until"] == "20,000 steps"


@pytest.mark.parametrize(
    ("value", "text"), [(500.0, "500.0"), (9.876, "9.88"), (-0.00123456, "-0.00123"), (float("nan"), "-")]
)
def test_numbers_have_three_figures_or_more(value: float, text: str) -> None:
    assert number(value) == text


def test_a_sparkline_goes_from_the_lowest_to_the_highest_block() -> None:
    assert sparkline([]) == ""
    assert sparkline([5.0, 5.0]) == "▁▁"
    assert sparkline([0.0, 7.0, 3.0]) == "▁█▄"


# On a terminal and off it


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def display(
    *reports: Report, terminal: bool, monkeypatch: pytest.MonkeyPatch, num_seeds: int = 4, pause: float = 0.0
) -> str:
    monkeypatch.setattr(console_module, "SECONDS_BETWEEN_LINES", pause)
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal() if terminal else io.StringIO()
    console = Console(file=stream, width=100, force_terminal=terminal, highlight=False)
    with TrainingDisplay(console, GOAL, num_seeds=num_seeds) as shown_on:
        for report in reports:
            shown_on.update(report)
        shown_on.say("scoring the best checkpoint")
    return stream.getvalue()


def test_off_a_terminal_a_study_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    out = display(FIRST, SECOND, THIRD, terminal=False, monkeypatch=monkeypatch)
    assert "\x1b" not in out
    lines = out.splitlines()
    assert [line.split()[:2] for line in lines] == [["iteration", "1"], ["iteration", "2"], ["iteration", "3"]]
    assert all("steps/s  " in line and " of 4 seeds training, " in line for line in lines)


def test_off_a_terminal_evaluations_have_lines_and_others_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    out = display(FIRST, SECOND, THIRD, terminal=False, monkeypatch=monkeypatch, pause=1e9)
    assert [line.split()[1] for line in out.splitlines()] == ["2"]


def test_each_hint_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = {"hint": "raise the learning rate"}, {"hint": "another hint"}
    reports = (
        Report(1, (seed(5, 100, **one), seed(6, 100, **one), seed(7, 100))),
        Report(2, (seed(5, 200, **one), seed(6, 200, **other), seed(7, 200, **one))),
        Report(3, (seed(5, 300, **other),)),
    )
    out = display(*reports, terminal=False, monkeypatch=monkeypatch, num_seeds=3)
    hints = [line for line in out.splitlines() if line.startswith("hint: ")]
    assert hints == ["hint: raise the learning rate", "hint: another hint"]


def test_on_a_terminal_a_study_is_a_panel_that_is_taken_down(monkeypatch: pytest.MonkeyPatch) -> None:
    out = display(FIRST, SECOND, THIRD, terminal=True, monkeypatch=monkeypatch)
    assert out.count("\x1b[?25l") == out.count("\x1b[?25h") == 1
    for text in (
        "left, at most:",
        "seeds training",
        "return, median",
        "held out",
        "steps/s",
        "scoring the best checkpoint",
    ):
        assert text in out
    assert "iteration 3  steps" not in out
    assert out.rstrip("\x1b[?25h").endswith("\x1b[2K"), "what was drawn last is erased"
