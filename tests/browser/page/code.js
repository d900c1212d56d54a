const loading = import("./best.mjs"); // first of all: it loads while the page is built

// Physics waits for the policy: without a force the pole has fallen after a second.
export async function start(state, step, steps) {
  const { force } = await loading;
  for (let count = 0; count < steps; count++) {
    const [x, xDot, theta, thetaDot] = state; // m, m/s, rad, rad/s
    state = step(state, force(x, xDot, theta, thetaDot)); // newtons, at once: nothing to wait for
  }
  return state;
}
