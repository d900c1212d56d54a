"""The simulated page, against an independent page of one episode: written frame by frame, in plain Python floats."""

import math

import numpy as np
import pytest

from cartpole_cli.scoring.page.episodes import Episodes, Moves
from cartpole_cli.scoring.page.physics import Sliders, is_upright, page_step, push
from cartpole_cli.scoring.page.simulate import simulate
from cartpole_cli.scoring.page.timing import Pushes, timing

DEFAULT = {"gravity": 9.8, "cart_mass": 1.0, "pole_length": 1.0}
NO_PUSHES = Pushes(np.empty(0), np.empty(0))
GAINS = np.array([1.0, 2.0, 30.0, 6.0])


def scalar_step(state, force, gravity, cart_mass, pole_length):
    x, x_dot, theta, theta_dot = state
    half, pole, total = pole_length / 2, 0.1, cart_mass + 0.1
    sin, cos = math.sin(theta), math.cos(theta)
    temp = (force + pole * half * theta_dot**2 * sin) / total
    theta_acc = (gravity * sin - cos * temp) / (half * (4.0 / 3.0 - pole * cos**2 / total))
    x_acc = temp - pole * half * theta_acc * cos / total
    x, theta = x + 0.02 * x_dot, theta + 0.02 * theta_dot
    x_dot = (x_dot + 0.02 * x_acc) * (1 - 0.75 * 0.02)
    theta_dot = (theta_dot + 0.02 * theta_acc) * (1 - 1.1 * 0.02)
    return [x, 0.0 if abs(x_dot) < 1e-4 else x_dot, theta, 0.0 if abs(theta_dot) < 1e-4 else theta_dot]


def scalar_push(state, strength, lifts):
    x, x_dot, theta, theta_dot = state
    if lifts or abs(theta) <= math.radians(29.7):
        theta = max(-math.radians(29.7), min(math.radians(29.7), theta + math.radians(1.5) * strength))
    return [x, x_dot + 0.4 * strength, theta, theta_dot + math.radians(45) * strength]


def scalar_page(policy, start, num_steps, *, frames_per_second, model_after, gaps, pushes, sliders, moved, lifts):
    """Frame after frame; the state after every physics step, and how many inferences there were.

    `moved` has the sliders from some steps on.
    """
    state, force, states, asked = list(start), 0.0, [list(start)], 0
    waiting = list(zip(pushes.times, pushes.strengths, strict=True))
    frame = -1
    while len(states) <= num_steps:
        frame += 1
        now = frame / frames_per_second
        if any(begin <= now < end for begin, end in gaps):
            continue
        while waiting and waiting[0][0] <= now:
            state = scalar_push(state, waiting.pop(0)[1], lifts)
        due = math.floor(now * 50 + 1e-6)
        while len(states) <= min(due, num_steps):
            sliders = moved.get(len(states) - 1, sliders)
            state = scalar_step(state, force, **sliders)
            states.append(state)
        if now >= model_after:
            force = max(-10.0, min(10.0, policy(np.float32(state))))
            asked += 1
    return np.array(states), asked


def sliders_of(rows):
    return Sliders(*(np.array([row[name] for row in rows], dtype=np.float64) for name in DEFAULT))


def sliders_array(moves):
    return np.array([[sliders[name] for _, _, sliders in moves] for name in DEFAULT])


def linear(observation):
    return float(GAINS @ np.float64(observation))


def played_states(starts, rows, timings, lifts, moves):
    """The states after every step, as the batched page has them."""
    states = []
    episodes = Episodes(
        np.array(starts).T.copy(),
        sliders_of(rows),
        *(np.stack([getattr(each, name) for each in timings], axis=1) for name in ("asks", "seen", "late")),
        np.array(lifts),
        Moves.sorted(*(np.array([move[place] for move in moves]) for place in range(2)), sliders_array(moves)),
    )

    def record(state, force, sliders):
        states.append(page_step(state, force, sliders))
        return states[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cartpole_cli.scoring.page.simulate.page_step", record)
        simulate(lambda seen: np.float64(seen) @ GAINS, episodes, lambda done: None)
    return np.stack([np.array(starts).T, *states])


SITUATIONS = {
    "60 frames/s": {},
    "30 frames/s": {"frames_per_second": 30.0},
    "15 frames/s": {"frames_per_second": 15.0},
    "10 frames/s": {"frames_per_second": 10.0},
    "144 frames/s": {"frames_per_second": 144.0},
    "60 frames/s, pushed": {"pushed": True},
    "15 frames/s, pushed": {"frames_per_second": 15.0, "pushed": True},
    "model arrives after 0.7 s": {"model_after": 0.7},
    "model arrives after 0.7 s, pushed": {"model_after": 0.7, "pushed": True},
    "hidden tab": {"gaps": [(2.0, 3.3)]},
    "hidden tab, pushed": {"gaps": [(2.0, 3.3)], "pushed": True},
    "hitches": {"gaps": [(1.0, 1.1), (2.0, 2.5), (3.01, 3.21)], "pushed": True},
    "pushes that lift": {"pushed": True, "lifts": True},
    "sliders that move": {"pushed": True, "moves": True},
}


def test_many_episodes_at_once_are_what_the_page_does_frame_by_frame():
    generator = np.random.default_rng(0)
    starts, rows, timings, expected, moves = [], [], [], [], []

    def drawn_sliders():
        return {
            "gravity": generator.uniform(5, 20),
            "cart_mass": generator.uniform(0.2, 5),
            "pole_length": generator.uniform(0.4, 2),
        }

    for place, situation in enumerate(SITUATIONS.values()):
        start = generator.uniform(-0.3, 0.3, size=4)
        sliders = drawn_sliders()
        moved = {step: drawn_sliders() for step in (60, 150, 220)} if situation.get("moves") else {}
        moves += [(step, place, to) for step, to in moved.items()]
        pushes = NO_PUSHES
        if situation.get("pushed"):
            pushes = Pushes(
                generator.uniform(0.1, 0.6, 15).cumsum(), np.float64(np.float32(generator.uniform(-5, 5, 15)))
            )
        settings = {"frames_per_second": 60.0, "model_after": 0.0, "gaps": []}
        settings |= {key: value for key, value in situation.items() if key in settings}
        starts.append(start)
        rows.append(sliders)
        timings.append(timing(300, pushes=pushes, **settings))
        lifts = situation.get("lifts", False)
        states, _ = scalar_page(
            linear, start, 300, pushes=pushes, sliders=sliders, moved=moved, lifts=lifts, **settings
        )
        expected.append(states.T)
    lifting = [situation.get("lifts", False) for situation in SITUATIONS.values()]
    given = played_states(starts, rows, timings, lifting, moves)
    for place, name in enumerate(SITUATIONS):
        np.testing.assert_allclose(given[:, :, place], expected[place].T, rtol=1e-6, atol=1e-6, err_msg=name)


def test_a_step_without_force_falls_with_drag_by_hand():
    state = np.array([[0.0], [1.0], [math.pi / 2], [2.0]])
    after = page_step(state, np.array([0.0]), sliders_of([DEFAULT]))[:, 0]
    # Level, cos = 0: the pole falls at g / (4/3 half length); its swing pulls the cart with 0.05 * 2^2 / 1.1.
    assert after[0] == pytest.approx(0.02)
    assert after[1] == pytest.approx((1 + 0.02 * 0.05 * 4 / 1.1) * 0.985)
    assert after[2] == pytest.approx(math.pi / 2 + 0.04)
    assert after[3] == pytest.approx((2 + 0.02 * 9.8 / (0.5 * 4 / 3)) * 0.978)


def test_what_hardly_moves_stands_still():
    still = page_step(np.array([[0.0], [5e-5], [0.0], [0.0]]), np.array([0.0]), sliders_of([DEFAULT]))
    assert still[1, 0] == 0.0
    moving = page_step(np.array([[0.0], [5e-4], [0.0], [0.0]]), np.array([0.0]), sliders_of([DEFAULT]))
    assert moving[1, 0] == pytest.approx(5e-4 * 0.985)


def pushed(theta, strength, *, lifts=False):
    return push(np.array([[1.0], [0.1], [theta], [0.2]]), np.array([strength]), np.array([lifts]))[:, 0]


def test_a_push_moves_all_but_the_position():
    given = pushed(math.radians(2), -2.0)
    assert given == pytest.approx([1.0, 0.1 - 0.8, math.radians(-1), 0.2 - math.radians(90)])


def test_a_push_does_not_lean_the_pole_beyond_its_limit():
    assert pushed(math.radians(28), 5.0)[2] == pytest.approx(math.radians(29.7))
    assert pushed(math.radians(-28), -5.0)[2] == pytest.approx(math.radians(-29.7))


def test_a_push_lifts_no_fallen_pole_unless_asked_to():
    for theta in (math.pi, math.radians(-40), 7.0):
        assert pushed(theta, 1.0)[2] == theta
        assert pushed(theta, 1.0)[3] == pytest.approx(0.2 + math.radians(45))
        assert abs(pushed(theta, 1.0, lifts=True)[2]) == pytest.approx(math.radians(29.7))
        assert pushed(theta, 0.0, lifts=True)[2] == theta


@pytest.mark.parametrize(("rate", "most"), [(60.0, 1), (25.0, 2), (12.5, 4)])
def test_a_slow_page_holds_a_force_for_several_steps(rate, most):
    asks = timing(200, frames_per_second=rate, model_after=0.0, gaps=(), pushes=NO_PUSHES).asks
    assert np.diff(np.flatnonzero(asks)).max() == most
    assert asks[0]


def test_no_inference_before_the_model_is_there_and_none_while_hidden():
    given = timing(400, frames_per_second=60.0, model_after=1.0, gaps=[(3.0, 5.0)], pushes=NO_PUSHES)
    first = np.flatnonzero(given.asks)[0]
    assert first in {50, 51}
    between = np.flatnonzero(given.asks[150:251])
    assert given.asks[100:150].all()
    assert len(between) <= 3  # the steps of the frame that comes back share one force
    assert given.asks[252:].all()


def test_a_push_is_answered_one_step_later_at_60_frames_and_up_to_four_at_15():
    """Frame by frame: a push lands right before a frame whose steps still use the force asked for before it."""
    times = np.arange(0.013, 3.9, 0.41)
    pushes = Pushes(times, np.ones(len(times)))
    quick = timing(200, frames_per_second=60.0, model_after=0.0, gaps=(), pushes=pushes)
    slow = timing(200, frames_per_second=15.0, model_after=0.0, gaps=(), pushes=pushes)
    assert quick.seen.sum() + quick.late.sum() == len(times) == slow.late.sum()
    assert quick.late.sum() > quick.seen.sum()
    for step in np.flatnonzero(slow.late):
        assert slow.asks[step]
        assert 3 <= np.flatnonzero(slow.asks[step + 1 :])[0] + 1 <= 4


def test_upright_is_upright_after_any_number_of_turns():
    turns = 2 * math.pi * np.arange(-3, 4)
    state = np.zeros((4, 7))
    state[2] = turns + math.radians(19.9)
    assert is_upright(state).all()
    state[2] = turns - math.radians(20.1)
    assert not is_upright(state).any()
    assert not is_upright(np.full((4, 1), math.nan)).any()
