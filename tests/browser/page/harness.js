// What the tests call: each function gets and returns plain JSON values.
import * as ort from "onnxruntime-web/wasm";
import { failed, step } from "./physics.js";
import { loadPolicy } from "./policy.js";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = new URL(".", import.meta.resolve("onnxruntime-web/wasm")).href;

export const version = () => ort.env.versions.web;

export async function load(url) {
  await loadPolicy(url);
  return true;
}

// The first output for each observation, as a flat list.
export async function firstOutputs(url, observations) {
  const session = await ort.InferenceSession.create(url, { executionProviders: ["wasm"] });
  const outputs = [];
  for (const observation of observations) {
    const results = await session.run({ [session.inputNames[0]]: new ort.Tensor("float32", observation, [4]) });
    outputs.push(Array.from(results[session.outputNames[0]].data));
  }
  await session.release();
  return outputs;
}

// For each observation the force in newtons, or the message of the error that inference threw.
export async function forces(url, observations) {
  const policy = await loadPolicy(url);
  const answers = [];
  for (const observation of observations) {
    answers.push(await policy(observation).catch((error) => error.message));
  }
  return answers;
}

// What exported code says: its outputs and forces for each observation, and what its self test finds.
export async function code(url, observations) {
  const { force, outputs, selfTest } = await import(url);
  return {
    outputs: observations.map((observation) => outputs(...observation)),
    forces: observations.map((observation) => force(...observation)),
    wrong: selfTest(),
  };
}

// What exported code says of each observation in a worker.
export function forcesInWorker(url, observations) {
  const script = `import { force } from ${JSON.stringify(new URL(url, location.href).href)};
    onmessage = ({ data }) => postMessage(data.map((observation) => force(...observation)));
    postMessage(null);`;
  const address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
  const worker = new Worker(address, { type: "module" });
  return new Promise((resolve, reject) => {
    worker.onerror = (event) => reject(new Error(event.message));
    worker.onmessage = ({ data }) => (data ? resolve(data) : worker.postMessage(observations));
  });
}

// README's example: the state after so many steps.
export async function example(url, state, steps) {
  const { start } = await import(url);
  return start(state, step, steps);
}

async function loadAny(url) {
  if (!url.endsWith(".mjs")) return loadPolicy(url);
  const { force } = await import(url);
  return (observation) => force(...observation);
}

// How many steps the policy holds the pole up, for each start state.
export async function balance(url, starts, steps) {
  const policy = await loadAny(url);
  const survived = [];
  for (const start of starts) {
    let state = start;
    let count = 0;
    while (count < steps && !failed(state)) {
      state = step(state, await policy(state));
      count += failed(state) ? 0 : 1;
    }
    survived.push(count);
  }
  return survived;
}

// The states one step after the given ones.
export const stepEach = (states, forces) => states.map((state, index) => step(state, forces[index]));
