import * as ort from "onnxruntime-web/wasm";

// Loads a policy: a function from [x, x_dot, theta, theta_dot] (m, m/s, rad, rad/s) to newtons.
export async function loadPolicy(url) {
  const session = await ort.InferenceSession.create(url, { executionProviders: ["wasm"] });
  const [input] = session.inputNames;
  const [output] = session.outputNames;
  return async (observation) => {
    const results = await session.run({ [input]: new ort.Tensor("float32", observation, [4]) });
    const values = results[output].data;
    if (values.length === 1) return Math.max(-10, Math.min(10, values[0])); // a force
    return values[1] > values[0] ? 10 : -10; // two logits: left, right
  };
}
