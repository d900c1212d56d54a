"""What is drawn, judged and reported of a suite."""

import math

import numpy as np
import pytest

from cartpole_cli.errors import CartpoleError
from cartpole_cli.intervals import mean, mean_of_shares, share
from cartpole_cli.scoring.page.episodes import sample_episodes
from cartpole_cli.scoring.page.outcomes import outcomes
from cartpole_cli.scoring.page.physics import STEPS_PER_SECOND
from cartpole_cli.scoring.page.report import report_on
from cartpole_cli.scoring.page.simulate import Course, Motion, MotionMeter
from cartpole_cli.scoring.page.suite import Condition, Suite
from cartpole_cli.scoring.page.suite_files import load_suite

PUSHES = {"strength": [1, 2], "every": [1, 2]}


def condition(**fields) -> Condition:
    return Condition.model_validate({"name": "it", **fields})


def drawn(**fields):
    return sample_episodes(condition(**fields), seconds=60.0, seed=0, episodes_per_cell=None)


def none(observation):
    return np.zeros(len(observation))


def linear(observation):
    """Balances by hand, and drifts back to the middle."""
    return np.float64(observation) @ np.array([1.0, 2.0, 40.0, 8.0])


def swing_up(observation):
    """Pumps energy into a fallen pole, catches it near the top, and balances it: not to be knocked over."""
    x, x_dot, theta, theta_dot = np.float64(observation).T
    theta = (theta + np.pi) % (2 * np.pi) - np.pi
    missing = theta_dot**2 / 3 / 9.8 + np.cos(theta) - 1
    pump = 8 * np.sign(theta_dot * np.cos(theta)) * np.sign(missing) - x - 1.2 * x_dot
    catches = (np.abs(theta) < 0.6) & (np.abs(theta_dot + 3 * theta) < 3.5)
    return np.where(catches, 3 * x + 4 * x_dot + 60 * theta + 14 * theta_dot, pump)


def report(pilot, *conditions, seconds=20, **options):
    suite = Suite.model_validate({"seconds": seconds, "condition": list(conditions)})
    return report_on(pilot, suite, **{"seed": 0, "episodes": None, "on_step": lambda done, total: None, **options})


# Figures


def test_wilsons_interval_by_hand():
    # 9 of 10, z = 1.96: centre (0.9 + 3.8415 / 20) / 1.38415, half width 1.96 / 1.38415 * sqrt(0.009 + 0.0096036)
    estimate = share(np.array([True] * 9 + [False]))
    assert estimate.value == 0.9
    assert estimate.interval == pytest.approx((0.59585, 0.98212), abs=1e-4)
    assert share(np.ones(100, dtype=bool)).interval == pytest.approx((100 / 103.8415, 1.0), abs=1e-5)
    assert share(np.zeros(100, dtype=bool)).interval == pytest.approx((0.0, 3.8415 / 103.8415), abs=1e-5)


def test_a_mean_has_its_bootstrap_interval():
    values = np.random.default_rng(0).normal(5, 1, 400)
    low, high = mean(values).interval
    assert low < mean(values).value < high
    assert (high - low) / 2 == pytest.approx(1.96 / 20, rel=0.15)


def test_the_overall_share_of_conditions_that_are_alike_has_the_interval_of_all_their_episodes():
    half = np.tile([True, False], (1, 5000))
    both = mean_of_shares([half, half])
    assert both.value == 0.5
    assert both.interval == pytest.approx(share(np.tile([True, False], 10_000)).interval, abs=1e-5)
    all_stand = mean_of_shares([np.ones((1, 200), dtype=bool)] * 20)
    assert all_stand.interval == share(np.ones(4000, dtype=bool)).interval


def test_the_overall_interval_knows_that_cells_and_conditions_differ():
    # Half of the cells never stand: that is no uncertainty.
    cells = np.repeat([True, False], 50)[:, None] & np.ones((100, 100), dtype=bool)
    low, high = mean_of_shares([cells]).interval
    assert high - low < 0.1 * np.diff(share(cells.ravel()).interval)[0]


def test_the_overall_interval_of_one_episode_each_is_no_point():
    low, high = mean_of_shares([np.array([[stands]]) for stands in (True, False, True, True)]).interval
    assert low < 0.4
    assert high > 0.95


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99, 0.999])
def test_the_overall_interval_of_the_page_suites_sizes_holds_the_truth(p):
    generator = np.random.default_rng(0)
    sizes = [(1, 200)] * 20 + [(100, 10)] * 3
    held = 0
    for _ in range(1000):
        low, high = mean_of_shares([generator.random(size) < p for size in sizes]).interval
        held += low <= p <= high
    assert held >= 930  # three standard errors below 950


def played(*upright):
    """Stretches of (seconds, whether upright), on the rail."""
    rows = np.concatenate([np.full(round(length * STEPS_PER_SECOND), is_up) for length, is_up in upright])
    return Course(rows[:, None], np.ones_like(rows)[:, None], np.ones(1, dtype=bool), Motion(*np.zeros((4, 1))))


@pytest.mark.parametrize(
    ("stretches", "stands", "recovery"),
    [
        ([(20, True)], True, 0.0),
        ([(2, True), (3, False), (15, True)], True, 3.0),
        ([(4, False), (0.5, True), (2, False), (13.5, True)], True, 6.5),  # half a second is not steady
        ([(15.1, False), (4.9, True)], False, math.nan),
        ([(19.9, True), (0.1, False)], False, math.nan),
    ],
)
def test_standing_and_recovering_by_hand(stretches, stands, recovery):
    given = outcomes(played(*stretches))
    assert given.stands.tolist() == [stands]
    assert given.recovery[0] == pytest.approx(recovery, nan_ok=True)


def test_off_the_rail_at_the_end_is_not_standing_and_before_it_only_off_the_rail():
    upright = np.ones((1001, 3), dtype=bool)
    on_rail = upright.copy()
    on_rail[100, 1] = on_rail[900, 2] = False
    given = outcomes(Course(upright, on_rail, upright[0], Motion(*np.zeros((4, 3)))))
    assert given.stands.tolist() == [True, True, False]
    assert given.on_rail.tolist() == [True, False, False]


# What is drawn


def test_starts_are_where_they_are_said_to_be():
    still, hanging, wild = (drawn(start=kind, episodes=300).start for kind in ("still", "hanging", "wild"))
    assert np.abs(still).max() <= 0.05
    np.testing.assert_allclose(hanging[2], np.pi, atol=0.05)
    assert (np.abs(wild).max(axis=1) <= [3, 3, 2 * np.pi, 8]).all()
    assert (np.abs(wild).max(axis=1) >= [2.9, 2.9, 6.0, 7.8]).all()


def test_pushes_come_as_often_as_said_until_the_visitor_leaves():
    episodes = drawn(episodes=50, pushes={"strength": [1, 2], "every": [2, 4], "until": 30})
    strengths = episodes.seen + episodes.late
    steps, _ = np.nonzero(strengths)
    assert (steps.min(), steps.max()) >= (2 * STEPS_PER_SECOND - 1, 28 * STEPS_PER_SECOND)
    assert steps.max() <= 30 * STEPS_PER_SECOND + 1
    sizes = strengths[strengths != 0]
    assert 1 <= np.abs(sizes).min() <= np.abs(sizes).max() <= 2
    assert abs(np.sign(sizes).mean()) < 0.3
    assert 7 <= len(sizes) / 50 <= 14


def test_a_burst_is_of_one_side_and_the_page_lifts_unless_told_not_to():
    mashing = {"at": [5, 10], "seconds": 3}
    episodes = drawn(episodes=30, mashing=mashing)
    strengths = episodes.seen + episodes.late
    assert (np.abs(strengths).sum(axis=0) == 24).all()
    assert (np.abs(strengths.sum(axis=0)) == 24).all()
    assert 0 < (strengths.sum(axis=0) > 0).sum() < 30
    steps, _ = np.nonzero(strengths)
    assert 5 * STEPS_PER_SECOND <= steps.min() <= steps.max() <= 13 * STEPS_PER_SECOND
    assert episodes.lifts.all()
    both = drawn(episodes=30, mashing=mashing, pushes={**PUSHES, "until": 40})
    assert (np.abs(both.seen + both.late).sum(axis=0) > 24 + 20).all()
    assert not drawn(pushes={**PUSHES, "lift_fallen": False}).lifts.any()


def test_hitches_hold_a_force_for_their_time_until_they_end():
    asks = drawn(episodes=20, hitches={"seconds": 0.5, "every": [2, 4], "until": 30}).asks
    held = np.diff(np.flatnonzero(asks[:, 0]))
    assert set(held.tolist()) <= {1, 25, 26}
    assert 6 <= (held > 1).sum() <= 12
    assert asks[31 * STEPS_PER_SECOND :].all()


def test_sliders_move_within_their_ranges_in_the_middle_of_episodes():
    moves = drawn(episodes=50, sliders_move={"every": [4, 8], "cart_mass": [0.5, 2]}).moves
    assert 4 <= len(moves.steps) / 50 <= 10
    assert (np.diff(moves.steps) >= 0).all()
    assert set(moves.episodes.tolist()) == set(range(50))
    assert (moves.sliders.min(axis=1) >= [5, 0.5, 0.4]).all()
    assert (moves.sliders.max(axis=1) <= [20, 2, 2]).all()
    assert 200 <= moves.steps.min() <= moves.steps.max() <= 2000


def test_a_grid_has_every_cell_and_its_episodes_side_by_side():
    grid = drawn(episodes=2, gravity=[5, 20], cart_mass=3, pole_length=[0.4, 1, 2]).sliders
    assert grid.gravity.tolist() == [5] * 6 + [20] * 6
    assert set(grid.cart_mass) == {3}
    assert grid.pole_length.tolist() == [0.4, 0.4, 1, 1, 2, 2] * 2


def test_other_seeds_and_names_draw_other_numbers_and_the_same_ones_the_same():
    first, again = (drawn(pushes=PUSHES) for _ in range(2))
    assert (first.start == again.start).all()
    assert (first.late == again.late).all()
    assert (first.start != drawn(name="other").start).any()
    other = sample_episodes(condition(pushes=PUSHES), seconds=60.0, seed=1, episodes_per_cell=None)
    assert (first.start != other.start).any()
    assert (first.late != other.late).any()


def test_how_a_cart_is_moved_by_hand():
    meter = MotionMeter(2)
    for force, x in (([2, 0], [1, 0]), ([-4, 0], [-2, 0]), ([0, 5], [1, 0]), ([-4, 5], [0, 2])):
        meter.add(np.array(force, dtype=np.float64), np.array(x, dtype=np.float64))
    motion = meter.motion()
    assert motion.effort.tolist() == [2.5, 2.5]
    assert motion.switches.tolist() == [12.5, 0.0]  # once in four steps of 0.02 s
    assert motion.jerk.tolist() == [(6 + 4 + 4) / 0.08, 5 / 0.08]
    assert motion.distance.tolist() == [1.0, 0.5]


# Whole suites


def test_without_a_force_the_pole_falls_and_a_hand_made_controller_stands():
    calm, strong = {"name": "calm"}, {"name": "pushed", "pushes": {**PUSHES, "until": 10}}
    rows = report(none, calm, strong, episodes=20)["conditions"]
    assert [row["stands"]["value"] for row in rows] == [0.0, 0.0]
    assert [row["recovery_seconds"] for row in rows] == [None, None]
    given = report(linear, calm, {"name": "hanging", "start": "hanging"}, episodes=20)
    calm, hanging = given["conditions"]
    assert calm["stands"]["value"] == calm["on_rail"]["value"] == calm["upright"]["value"] == 1.0
    assert calm["recovery_seconds"]["value"] == 0.0
    assert hanging["stands"]["value"] < 1.0
    assert given["overall"]["value"] == pytest.approx((1.0 + hanging["stands"]["value"]) / 2)


def test_a_controller_that_swings_up_comes_back_from_everything():
    given = report(
        swing_up,
        {"name": "hanging", "start": "hanging"},
        {"name": "wild", "start": "wild"},
        {"name": "late", "model_after": [1, 3]},
        {"name": "strong", "pushes": {"strength": [0.5, 5], "every": [2, 6], "until": 15}},
        seconds=35,
        episodes=25,
    )
    assert given["overall"]["value"] == 1.0
    recovery = {row["name"]: row["recovery_seconds"]["value"] for row in given["conditions"]}
    assert 2 < recovery["hanging"] < 10
    assert recovery["late"] > 1


def test_hitches_mashing_and_moving_sliders_are_survived_by_a_controller_that_swings_up():
    given = report(
        swing_up,
        {"name": "hitches", "hitches": {"seconds": [0.1, 0.2], "every": [2, 5], "until": 15}},
        {"name": "mashing", "mashing": {"at": 3, "seconds": 1}},
        {"name": "sliders", "sliders_move": {"every": [3, 5], "until": 15, "cart_mass": [0.8, 1.2]}},
        seconds=40,
        episodes=10,
    )
    rows = {row["name"]: row for row in given["conditions"]}
    assert [row["stands"]["value"] for row in rows.values()] == [1.0, 1.0, 1.0]
    assert rows["mashing"]["upright"]["value"] < 1.0
    assert 0 < rows["hitches"]["effort"]["value"] < 10
    assert rows["sliders"]["switches_per_second"]["value"] > 0


def test_a_late_model_finds_a_fallen_pole():
    given = report(linear, {"name": "soon", "model_after": 0.3}, {"name": "late", "model_after": 2.0}, episodes=20)
    soon, late = given["conditions"]
    assert soon["stands"]["value"] == 1.0
    assert late["upright"]["value"] < 0.5


def test_a_force_that_is_no_number_holds_nothing_up():
    given = report(lambda seen: np.full(len(seen), np.nan), {"name": "calm"}, episodes=3)
    assert given["conditions"][0]["stands"]["value"] == given["conditions"][0]["on_rail"]["value"] == 0.0


def test_a_force_beyond_10_newtons_is_10():
    ten, more = (
        report(lambda seen, size=size: size * np.sign(linear(seen)), {"name": "wild", "start": "wild"})
        for size in (10.0, 1e6)
    )
    assert ten == more


def test_a_condition_does_not_depend_on_the_others_beside_it():
    first, second = {"name": "a", "start": "wild"}, {"name": "b", "pushes": PUSHES, "frames_per_second": 15}
    both = report(linear, first, second, episodes=8)["conditions"]
    assert both == [report(linear, each, episodes=8)["conditions"][0] for each in (first, second)]


def test_more_than_fit_a_batch_are_played_one_batch_after_the_other(monkeypatch):
    conditions = [{"name": name, "start": "wild"} for name in "abc"]
    whole, told = report(linear, *conditions, episodes=4), []
    monkeypatch.setattr("cartpole_cli.scoring.page.report.BATCH", 8)
    parts = report(linear, *conditions, episodes=4, on_step=lambda *step: told.append(step))
    assert parts == whole
    assert told == [(done, 2000) for done in range(1, 2001)]


def test_more_episodes_than_memory_has_room_for_are_refused():
    with pytest.raises(CartpoleError, match=r"--episodes: condition 'a': .* at most 75000"):
        report(linear, {"name": "a"}, episodes=100_000)


def test_a_grid_reports_its_cells():
    row = report(linear, {"name": "grid", "episodes": 2, "cart_mass": [1, 5], "start": "wild"})["conditions"][0]
    assert row["episodes"] == 4
    assert [cell["cart_mass"] for cell in row["cells"]] == [1, 5]
    assert np.mean([cell["stands"] for cell in row["cells"]]) == row["stands"]["value"]


def test_the_shipped_suite_has_the_whole_grid_and_peace_at_the_end():
    suite = load_suite("page")
    grids = [each for each in suite.condition if each.num_cells > 1]
    assert [each.num_cells for each in grids] == [100] * 6
    for each in suite.condition:
        parts = [part for part in (each.pushes, each.hitches, each.sliders_move) if part is not None]
        assert all(part.until <= suite.seconds - 20 for part in parts)
    assert [each.name for each in suite.condition if each.pushes and not each.pushes.lift_fallen] == [
        "slider grid, pushes 0.5-1.5, strict",
        "slider grid, pushes 0.5-5, strict",
    ]
    assert {each.start for each in suite.condition} == {"still", "hanging", "wild"}
    assert {60, 30, 15, 10} == {each.frames_per_second for each in suite.condition}
