// The cart-pole: Gymnasium's equations by explicit Euler steps, and what a web page adds to them, drag and pushes.
// A state is [x, xDot, theta, thetaDot] in m, m/s, rad (0 is upright) and rad/s; forces are newtons, positive to the right.

export const TIME_STEP = 0.02; // s
export const STEPS_PER_SECOND = 50;
export const MAX_PUSH = 10; // N
export const RAIL = 5; // m
const POLE_MASS = 0.1; // kg
const REST = 1e-4; // m/s or rad/s: what is slower stands still, where there is drag
const PUSH_ANGLE = (1.5 * Math.PI) / 180;
const PUSH_ANGULAR_VELOCITY = (45 * Math.PI) / 180;
const PUSH_VELOCITY = 0.4;
const PUSH_ANGLE_LIMIT = (29.7 * Math.PI) / 180;

const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// The state 0.02 s later; `world` has gravity (m/s^2), cartMass (kg), poleLength (m), cartDrag and poleDrag (1/s).
export function step([x, xDot, theta, thetaDot], force, { gravity, cartMass, poleLength, cartDrag, poleDrag }) {
  const sin = Math.sin(theta);
  const cos = Math.cos(theta);
  const halfLength = poleLength / 2;
  const totalMass = cartMass + POLE_MASS;
  const lever = (POLE_MASS * halfLength) / totalMass;
  const push = force / totalMass + lever * thetaDot * thetaDot * sin;
  const thetaAcceleration = (gravity * sin - cos * push) / ((halfLength * 4) / 3 - lever * cos * cos);
  const xAcceleration = push - lever * thetaAcceleration * cos;
  return [
    x + TIME_STEP * xDot,
    slowed(xDot + TIME_STEP * xAcceleration, cartDrag),
    theta + TIME_STEP * thetaDot,
    slowed(thetaDot + TIME_STEP * thetaAcceleration, poleDrag),
  ];
}

function slowed(velocity, drag) {
  const left = velocity * (1 - drag * TIME_STEP);
  return drag > 0 && Math.abs(left) < REST ? 0 : left;
}

// The state right after a push of that strength, positive to the right. It does not knock a pole over by its angle,
// and does not lift a fallen one.
export function pushed([x, xDot, theta, thetaDot], strength) {
  const isUp = Math.abs(theta) <= PUSH_ANGLE_LIMIT;
  return [
    x,
    xDot + PUSH_VELOCITY * strength,
    isUp ? clamp(theta + PUSH_ANGLE * strength, -PUSH_ANGLE_LIMIT, PUSH_ANGLE_LIMIT) : theta,
    thetaDot + PUSH_ANGULAR_VELOCITY * strength,
  ];
}

// The angle from upright, from -pi to pi.
export const lean = (theta) => Math.atan2(Math.sin(theta), Math.cos(theta));

// Where episodes begin: "still", "hanging" or "wild".
export function startState(kind, random) {
  const scale = kind === "wild" ? [2, 3, Math.PI, 8] : [0.05, 0.05, 0.05, 0.05];
  const state = scale.map((size) => size * (2 * random() - 1));
  if (kind === "hanging") state[2] += Math.PI;
  return state;
}

// Numbers in [0, 1) that depend on the seed alone (mulberry32).
export function randomFrom(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
