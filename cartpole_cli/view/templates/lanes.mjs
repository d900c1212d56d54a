// A lane is one cart-pole with somebody who pushes it. All lanes share the clock, the world, and a visitor's pushes.

import { RAIL, STEPS_PER_SECOND, TIME_STEP, lean, pushed, step } from "./physics.mjs";

const UPRIGHT = (20 * Math.PI) / 180;
const LOST_ANGLE = (12 * Math.PI) / 180; // where Gymnasium ends an episode
const LOST_POSITION = 2.4;
const FALLEN = Math.PI / 2;
const LYING_STEPS = 60; // before a lane begins again
const ROUNDING = 1e-6; // a frame at a step's very time runs that step
const TRAIL = 60;

// When policies are asked: at drawn frames, but not during a hitch.
export class Clock {
  constructor(random) {
    this.random = random;
    this.step = 0;
    this.hitchFrom = this.hitchUntil = 0;
  }

  // Go on by a step; whether a frame before it asked the policies.
  tick({ framesPerSecond, hitch }) {
    const now = this.step;
    const time = now * TIME_STEP;
    if (hitch > 0 && time >= this.hitchFrom && time >= this.hitchUntil) {
      if (this.hitchFrom > 0) this.hitchUntil = this.hitchFrom + hitch;
      this.hitchFrom = time + hitch + 2 + 3 * this.random();
    }
    const isHidden = this.isHidden(hitch);
    this.step += 1;
    const frame = Math.ceil(((now - ROUNDING) * framesPerSecond) / STEPS_PER_SECOND);
    const isDrawn = Math.floor((frame * STEPS_PER_SECOND) / framesPerSecond + ROUNDING) === now;
    return isDrawn && !isHidden;
  }

  isHidden(hitch) {
    return hitch > 0 && this.step * TIME_STEP < this.hitchUntil;
  }
}

export class Lane {
  constructor(state) {
    this.begin(state);
    this.forget();
  }

  // Go on from another state, with the score so far.
  begin(state) {
    this.state = state;
    this.force = 0;
    this.waiting = []; // forces that were asked for and do not act yet
    this.lying = 0;
    this.isUp = Math.abs(lean(state[2])) < FALLEN;
    this.run = 0;
    this.trail = [];
  }

  // Begin to count anew.
  forget() {
    this.steps = this.upright = this.falls = this.effort = this.best = this.run = 0;
  }

  // One step of 0.02 s. `ask` gives a force for a state, or is null where nobody is asked now.
  advance(world, ask, push) {
    if (push) this.state = pushed(this.state, push);
    if (ask) this.waiting.push({ due: this.steps + world.delay, force: ask(this.state) });
    while (this.waiting.length && this.waiting[0].due <= this.steps) this.force = this.waiting.shift().force;
    this.state = step(this.state, this.force, world);
    this.count();
  }

  count() {
    const [x, , theta] = this.state;
    const angle = Math.abs(lean(theta));
    const isOnRail = Math.abs(x) <= RAIL;
    this.steps += 1;
    this.effort += Math.abs(this.force);
    this.upright += angle <= UPRIGHT && isOnRail ? 1 : 0;
    this.run = angle <= LOST_ANGLE && Math.abs(x) <= LOST_POSITION ? this.run + 1 : 0;
    this.best = Math.max(this.best, this.run);
    const isDown = angle > FALLEN || !isOnRail;
    if (isDown && this.isUp) this.falls += 1;
    if (isDown) this.isUp = false;
    else if (angle <= UPRIGHT) this.isUp = true;
    this.lying = isDown ? this.lying + 1 : 0;
    this.trail.push(this.state);
    if (this.trail.length > TRAIL) this.trail.shift();
  }

  get isLost() {
    return this.lying > LYING_STEPS;
  }

  // What is shown beneath a lane: s, a share, a count, N, and steps.
  get score() {
    const steps = Math.max(1, this.steps);
    return {
      seconds: this.upright * TIME_STEP,
      share: this.upright / steps,
      falls: this.falls,
      effort: this.effort / steps,
      best: this.best,
    };
  }
}
