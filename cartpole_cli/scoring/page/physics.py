"""The physics of the web page that policies are shipped to, in float64, many episodes at once.

Gymnasium's equations by explicit Euler steps, and then what only the page does: drag after every step, sliders, pushes,
and nothing that ever ends an episode. A state is [4, N]: x (m), x_dot (m/s), theta (rad, 0 is upright), theta_dot
(rad/s).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

TIME_STEP = 0.02
STEPS_PER_SECOND = 50
POLE_MASS = 0.1
CART_DRAG, POLE_DRAG = 0.75, 1.1
AT_REST = 1e-4
"""Slower than this, m/s or rad/s, is standing still."""
PUSH_ANGLE, PUSH_ANGULAR_VELOCITY, PUSH_VELOCITY = np.radians(1.5), np.radians(45.0), 0.4
PUSH_ANGLE_LIMIT = np.radians(29.7)
RAIL = 5.0
UPRIGHT = np.radians(20.0)


@dataclass(frozen=True, slots=True)
class Sliders:
    """What a visitor can set, one value per episode: m/s^2, kg, m (the whole pole)."""

    gravity: Floats
    cart_mass: Floats
    pole_length: Floats

    def moved(self, episodes: NDArray[np.int64], to: Floats) -> "Sliders":
        """With other values, [3, M], for some of the episodes."""
        values = np.stack([self.gravity, self.cart_mass, self.pole_length])
        values[:, episodes] = to
        return Sliders(*values)


def page_step(state: Floats, force: Floats, sliders: Sliders) -> Floats:
    """The state 0.02 s later, under a force on the cart in newtons, positive to the right."""
    x, x_dot, theta, theta_dot = state
    sin, cos = np.sin(theta), np.cos(theta)
    half_length, total_mass = sliders.pole_length / 2, sliders.cart_mass + POLE_MASS
    lever = POLE_MASS * half_length / total_mass
    push = force / total_mass + lever * theta_dot**2 * sin
    theta_acceleration = (sliders.gravity * sin - cos * push) / (half_length * 4 / 3 - lever * cos**2)
    x_acceleration = push - lever * theta_acceleration * cos
    after = np.stack(
        [
            x + TIME_STEP * x_dot,
            (x_dot + TIME_STEP * x_acceleration) * (1 - CART_DRAG * TIME_STEP),
            theta + TIME_STEP * theta_dot,
            (theta_dot + TIME_STEP * theta_acceleration) * (1 - POLE_DRAG * TIME_STEP),
        ]
    )
    velocities = after[1::2]
    velocities[np.abs(velocities) < AT_REST] = 0.0
    return after


def push(state: Floats, strength: NDArray[np.floating], lifts: Flags) -> Floats:
    """The state right after pushes of signed strengths (0: none).

    The page clamps the angle to 29.7 degrees, so that a push does not knock the pole over by itself. To the letter that
    rule also lifts a fallen pole to 29.7 degrees, which is no merit of the policy: here it does so only where `lifts`,
    and else a pole beyond the limit stays where it is, and gets the velocities.
    """
    x, x_dot, theta, theta_dot = state
    pushed = np.clip(theta + PUSH_ANGLE * strength, -PUSH_ANGLE_LIMIT, PUSH_ANGLE_LIMIT)
    return np.stack(
        [
            x,
            x_dot + PUSH_VELOCITY * strength,
            np.where((np.abs(theta) <= PUSH_ANGLE_LIMIT) | (lifts & (strength != 0)), pushed, theta),
            theta_dot + PUSH_ANGULAR_VELOCITY * strength,
        ]
    )


def is_upright(state: Floats) -> Flags:
    """Within 20 degrees of upright, after any number of turns; NaN is not."""
    return np.asarray(np.cos(state[2]) >= np.cos(UPRIGHT))


def is_up(state: Floats) -> Flags:
    """Above the pivot: within 90 degrees of upright."""
    return np.asarray(np.cos(state[2]) >= 0)


def is_on_rail(state: Floats) -> Flags:
    return np.asarray(np.abs(state[0]) <= RAIL)
