// What all parts of the page share: the data, the world, the lanes, and who is told of changes.

import { Clock, Lane } from "./lanes.mjs";
import { randomFrom, startState } from "./physics.mjs";
import { chainPilot, trainedPilot, widened } from "./pilots.mjs";

export const YOU = -1; // the subject of a lane that a visitor drives
export const MAX_LANES = 4;

const PAGE = { gravity: 9.8, cartMass: 1, poleLength: 1, cartDrag: 0.75, poleDrag: 1.1, delay: 0, framesPerSecond: 60 };
const CALM = { hitch: 0, start: "still", again: true };
export const PRESETS = {
  Gymnasium: { ...PAGE, ...CALM, cartDrag: 0, poleDrag: 0 },
  "A web page": { ...PAGE, ...CALM },
  "Heavy cart": { ...PAGE, ...CALM, cartMass: 5 },
  "Hanging start": { ...PAGE, ...CALM, start: "hanging", again: false },
  "Wild start": { ...PAGE, ...CALM, start: "wild", again: false },
};

export class App {
  constructor(data) {
    this.data = data;
    this.world = { ...PRESETS.Gymnasium };
    this.preset = "Gymnasium";
    this.isPaused = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.speed = 1;
    this.isGreedy = true;
    this.strength = 1;
    this.push = 0; // what lands before the next step
    this.lastPush = { strength: 0, time: -1e9 };
    this.hands = { left: false, right: false };
    this.focus = 0;
    this.pilots = new Map();
    this.listeners = [];
    this.seed = 1;
    this.random = randomFrom(7);
    this.lanes = [];
    const subjects = data.policies.slice(0, MAX_LANES).map((_, index) => index);
    this.setLanes(subjects.map((subject) => ({ subject, moment: null })));
  }

  whenChanged(listener) {
    this.listeners.push(listener);
  }

  changed() {
    for (const listener of this.listeners) listener();
  }

  get focused() {
    return this.lanes[this.focus];
  }

  get focusedPolicy() {
    return this.data.policies[this.focused.subject] ?? null;
  }

  // Who is shown, in a new round: lists of { subject, moment }; a moment is a frame's place, null the final policy.
  setLanes(wanted) {
    this.lanes = wanted.map(({ subject, moment }) => Object.assign(new Lane([0, 0, 0, 0]), { subject, moment }));
    this.focus = Math.min(this.focus, this.lanes.length - 1);
    this.restart();
  }

  // All lanes from one start, with nothing counted.
  restart() {
    this.seed += 1;
    const start = startState(this.world.start, randomFrom(this.seed));
    this.clock = new Clock(randomFrom(this.seed + 1000));
    for (const lane of this.lanes) {
      lane.begin([...start]);
      lane.forget();
    }
    this.changed();
  }

  choose(preset) {
    this.preset = preset;
    this.world = { ...PRESETS[preset] };
    this.restart();
  }

  pilotOf({ subject, moment }) {
    if (subject === YOU) return null;
    const key = `${subject}/${moment}`;
    if (!this.pilots.has(key)) this.pilots.set(key, this.makePilot(this.data.policies[subject], moment));
    return this.pilots.get(key);
  }

  makePilot(policy, moment) {
    if (policy.chain) return chainPilot(policy.chain);
    if (moment === null) return trainedPilot(policy.export, policy.log_std, policy.value);
    const frame = policy.history[moment];
    const { golden, ...network } = policy.export;
    return trainedPilot({ ...network, numbers: widened(frame.halves) }, frame.log_std, null);
  }

  pushAll(strength) {
    this.push += strength;
    this.lastPush = { strength, time: performance.now() };
  }

  // One step of the physics, for all lanes.
  advance() {
    const isAsked = this.clock.tick(this.world);
    const hands = 10 * ((this.hands.right ? 1 : 0) - (this.hands.left ? 1 : 0));
    for (const lane of this.lanes) {
      const pilot = this.pilotOf(lane);
      const decide = this.isGreedy ? "force" : "sample";
      const ask = pilot ? (state) => pilot[decide](state, this.random) : () => hands;
      lane.advance(this.world, isAsked ? ask : null, this.push);
      if (this.world.again && lane.isLost) lane.begin(startState(this.world.start, this.random));
    }
    this.push = 0;
  }
}
