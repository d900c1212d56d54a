// Who pushes the cart: an exported policy, a chain of layers from somebody's ONNX file, or you.
// A pilot has outputs(state), force(state), sample(state, random) and, where it is known, value(state).

import { MAX_PUSH } from "./physics.mjs";

const within = (value, limit) => Math.max(-limit, Math.min(limit, value));

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

// base64 of float32, little endian.
function floatsOf(base64) {
  const view = new DataView(bytesOf(base64).buffer);
  return Float64Array.from({ length: view.byteLength / 4 }, (_, index) => view.getFloat32(4 * index, true));
}

// base64 of float16 -> base64 of float32.
export function widened(base64) {
  const halves = new DataView(bytesOf(base64).buffer);
  const floats = new DataView(new ArrayBuffer(2 * halves.byteLength));
  for (let place = 0; place < halves.byteLength; place += 2) {
    floats.setFloat32(2 * place, half(halves.getUint16(place, true)), true);
  }
  return btoa(Array.from(new Uint8Array(floats.buffer), (byte) => String.fromCharCode(byte)).join(""));
}

function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

// A policy that was trained here: `given` is what its JavaScript export is given, `logStd` of one that gives a force.
export function trainedPilot(given, logStd, value) {
  const { outputs, force, selfTest } = exportedPolicy(given);
  const raw = exportedPolicy({ ...given, squash: "none", center: 0, halfRange: 1 }).outputs;
  const squash = given.squash === "tanh" ? Math.tanh : (mean) => within(mean, 1);
  const judge = value ? exportedPolicy(value).outputs : null;
  const isForce = given.sizes[given.sizes.length - 1] === 1;
  return {
    outputs: (state) => outputs(...state),
    force: (state) => force(...state),
    sample(state, random) {
      if (!isForce) return sampled(outputs(...state), random);
      const noisy = raw(...state)[0] + Math.exp(logStd) * normal(random);
      return within(given.center + given.halfRange * squash(noisy), MAX_PUSH);
    },
    value: judge && ((state) => judge(...state)[0]),
    selfTest: given.golden ? selfTest : null,
  };
}

// A chain of layers: affine, tanh, relu, clip. More than two outputs are logits of forces from -10 to 10 N.
export function chainPilot(layers) {
  const made = layers.map((layer) =>
    layer.weight ? { ...layer, weight: floatsOf(layer.weight), bias: floatsOf(layer.bias) } : layer,
  );
  const outputs = (state) => made.reduce((values, layer) => through(layer, values), state.map(Math.fround));
  return {
    outputs,
    force: (state) => forceOf(outputs(state)),
    sample(state, random) {
      const values = outputs(state);
      return values.length === 1 ? forceOf(values) : sampled(values, random);
    },
    value: null,
    selfTest: null,
  };
}

function through({ kind, size, weight, bias, limits }, values) {
  if (kind === "tanh") return values.map(Math.tanh);
  if (kind === "relu") return values.map((value) => Math.max(0, value));
  if (kind === "clip") return values.map((value) => Math.max(limits[0], Math.min(limits[1], value)));
  const width = values.length;
  return Array.from({ length: size }, (_, unit) =>
    values.reduce((sum, value, index) => sum + value * weight[unit * width + index], bias[unit]),
  );
}

function forceOf(values) {
  if (values.some(Number.isNaN)) return 0;
  if (values.length === 1) return within(values[0], MAX_PUSH);
  return gridForce(values.indexOf(Math.max(...values)), values.length);
}

const gridForce = (choice, count) => (choice * 2 * MAX_PUSH) / (count - 1) - MAX_PUSH;

// The probability of each of several logits.
export function probabilities(logits) {
  const largest = Math.max(...logits);
  const weights = logits.map((logit) => Math.exp(logit - largest));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return weights.map((weight) => weight / total);
}

function sampled(logits, random) {
  let left = random();
  const choice = probabilities(logits).findIndex((share) => (left -= share) < 0);
  return gridForce(choice < 0 ? logits.length - 1 : choice, logits.length);
}

function normal(random) {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}
