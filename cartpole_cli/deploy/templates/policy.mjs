// A policy for a pole on a cart: one module without dependencies, for pages, workers and Node.
//
//     import { force } from "./best.mjs";
//     force(x, xDot, theta, thetaDot); // newtons on the cart, from -10 to 10, positive to the right
//
// x in m and xDot in m/s, positive to the right; theta in rad, 0 upright, positive to the right, thetaDot in rad/s.
// What is larger than 1e6 is read as 1e6. A state that is not a number has outputs that are none, and a force of 0.
// The file was held against torch when it was written; `selfTest` does so where it runs.

const POLICY = @POLICY@;

// What is known about the policy: plain data.
export const info = @INFO@;

const LIMIT = @LIMIT@;
const MAX_FORCE = @MAX_FORCE@; // N
const numbers = floats(POLICY.numbers); // layer by layer, unit by unit: its bias, then its weights
const units = POLICY.sizes.map((size) => new Float64Array(size));

// base64 of float32, little endian.
function floats(base64) {
  const view = new DataView(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer);
  return Float64Array.from({ length: view.byteLength / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

const within = (value, limit) => Math.max(-limit, Math.min(limit, value));
const hidden = POLICY.activation === "tanh" ? Math.tanh : (sum) => Math.max(0, sum);
const squash = { none: (sum) => sum, clip: (sum) => within(sum, 1), tanh: Math.tanh }[POLICY.squash];

// What the ONNX file gives as its first output: two logits (-10 N, +10 N), or one force in newtons.
export function outputs(x, xDot, theta, thetaDot) {
  const state = [x, xDot, theta, thetaDot].map((value) => within(Math.fround(value), LIMIT));
  const [, , angle] = state;
  if (POLICY.trig) state.splice(2, 1);
  state.forEach((value, index) => (units[0][index] = value * POLICY.scale[index]));
  if (POLICY.trig) units[0].set([Math.sin(angle), Math.cos(angle)], 3);
  POLICY.magnification.forEach((factor, index) => (units[0][5 + index] = Math.tanh(factor * units[0][index])));
  let place = 0;
  for (let layer = 1; layer < units.length; layer++) {
    const given = units[layer - 1];
    const taken = units[layer];
    const activation = layer < units.length - 1 ? hidden : squash;
    for (let unit = 0; unit < taken.length; unit++) {
      let sum = numbers[place++];
      for (let index = 0; index < given.length; index++) sum += given[index] * numbers[place++];
      taken[unit] = activation(sum);
    }
  }
  return Array.from(units[units.length - 1], (value) => POLICY.center + POLICY.halfRange * value);
}

// The newtons to push the cart with until the next call.
export function force(x, xDot, theta, thetaDot) {
  const values = outputs(x, xDot, theta, thetaDot);
  if (Number.isNaN(values[0])) return 0;
  if (values.length === 1) return within(values[0], MAX_FORCE);
  return values[1] > values[0] ? MAX_FORCE : -MAX_FORCE;
}

// How many of torch's outputs for some states come out otherwise here: 0.
export function selfTest() {
  const golden = floats(POLICY.golden); // rows of a state, its outputs, and how far from these one may be
  const width = 4 + units[units.length - 1].length + 1;
  let wrong = 0;
  for (let start = 0; start < golden.length; start += width) {
    const row = golden.subarray(start, start + width);
    const given = outputs(...row.subarray(0, 4));
    wrong += given.every((value, index) => Math.abs(value - row[4 + index]) <= row[width - 1]) ? 0 : 1;
  }
  return wrong;
}
