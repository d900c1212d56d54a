// Gymnasium's CartPole equations: float64, explicit Euler. A state is [x, x_dot, theta, theta_dot] in SI units.
const GRAVITY = 9.8;
const POLE_MASS = 0.1;
const TOTAL_MASS = 1.0 + POLE_MASS;
const HALF_LENGTH = 0.5;
const TIME_STEP = 0.02;
const MAX_POSITION = 2.4;
const MAX_ANGLE = (12 * Math.PI) / 180;

export function step([x, xDot, theta, thetaDot], force) {
  const sin = Math.sin(theta);
  const cos = Math.cos(theta);
  const push = (force + POLE_MASS * HALF_LENGTH * thetaDot ** 2 * sin) / TOTAL_MASS;
  const thetaAcceleration =
    (GRAVITY * sin - cos * push) / (HALF_LENGTH * (4 / 3 - (POLE_MASS * cos ** 2) / TOTAL_MASS));
  const xAcceleration = push - (POLE_MASS * HALF_LENGTH * thetaAcceleration * cos) / TOTAL_MASS;
  return [
    x + TIME_STEP * xDot,
    xDot + TIME_STEP * xAcceleration,
    theta + TIME_STEP * thetaDot,
    thetaDot + TIME_STEP * thetaAcceleration,
  ];
}

// Written so that a state that is no number has failed.
export function failed([x, , theta]) {
  return !(Math.abs(x) <= MAX_POSITION && Math.abs(theta) <= MAX_ANGLE);
}
