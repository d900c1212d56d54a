// What a visitor can set: presets, sliders, and how time goes by.

import { button, byId, choice, el, slider } from "./elements.mjs";
import { PRESETS, YOU } from "./state.mjs";

const fixed = (digits, unit) => (value) => `${value.toFixed(digits)} ${unit}`;
const SLIDERS = [
  ["gravity", "Gravity", 0, 25, 0.1, fixed(1, "m/s\u00b2")],
  ["cartMass", "Cart mass", 0.2, 5, 0.1, fixed(1, "kg")],
  ["poleLength", "Pole length", 0.4, 2, 0.05, fixed(2, "m")],
  ["cartDrag", "Cart drag", 0, 3, 0.05, fixed(2, "1/s")],
  ["poleDrag", "Pole drag", 0, 3, 0.05, fixed(2, "1/s")],
  ["delay", "Delay", 0, 10, 1, (steps) => `${20 * steps} ms`],
  ["framesPerSecond", "Frames per second", 2, 60, 1, (frames) => frames.toFixed(0)],
  ["hitch", "Hitches", 0, 2, 0.1, (seconds) => (seconds ? `${seconds.toFixed(1)} s` : "none")],
];
const SPEEDS = { "1\u00d7": 1, "\u00bd\u00d7": 0.5, "\u00bc\u00d7": 0.25, "\u2152\u00d7": 0.1 };

export class World {
  constructor(app) {
    this.app = app;
    this.presets = choice("presets", "Presets", Object.keys(PRESETS), app.preset, (name) => app.choose(name));
    this.sliders = SLIDERS.map(([key, name, min, max, step, words]) => ({
      key,
      ...slider({ id: `world-${key}`, name, min, max, step, words, value: app.world[key], oninput: (value) => this.set(key, value) }),
    }));
    this.again = el("input", { type: "checkbox", id: "again", onchange: () => this.set("again", this.again.checked) });
    const again = el("label", { className: "check" }, this.again, "Start again after a fall");
    byId("presets-place").append(this.presets.element);
    byId("sliders").append(...this.sliders.map(({ element }) => element), again);
    byId("world-details").open = !matchMedia("(max-width: 900px)").matches;
    this.buildBar();
    app.whenChanged(() => this.update());
    this.update();
  }

  buildBar() {
    const { app } = this;
    this.pause = button("", () => this.toggle(), { id: "pause", className: "main" });
    const stepOnce = button("Step", () => this.stepOnce(), { id: "step", title: "One step of 0.02 s (key .)" });
    const restart = button("Restart", () => app.restart(), { id: "restart", title: "Begin again from a new start (key R)" });
    this.speeds = choice("speeds", "Speed", Object.keys(SPEEDS), "1\u00d7", (name) => (app.speed = SPEEDS[name]));
    this.actions = choice("actions", "Actions", ["greedy", "sampled"], "greedy", (name) => (app.isGreedy = name === "greedy"));
    const add = button("+ Add", () => this.add(), { id: "add", title: "Add a cart-pole" });
    byId("bar").append(this.pause, stepOnce, restart, this.speeds.element, this.actions.element, add);
    this.strength = slider({
      id: "strength", name: "Push", min: 0.5, max: 5, step: 0.5, value: app.strength, words: (value) => value.toFixed(1),
      oninput: (value) => (app.strength = value),
    });
    const left = button("\u2190 push", () => app.pushAll(-app.strength), { id: "push-left", "aria-label": "Push to the left" });
    const right = button("push \u2192", () => app.pushAll(app.strength), { id: "push-right", "aria-label": "Push to the right" });
    byId("pushes").append(left, this.strength.element, right);
  }

  set(key, value) {
    this.app.world[key] = value;
    this.app.preset = null;
    this.presets.select(null);
  }

  toggle() {
    this.app.isPaused = !this.app.isPaused;
    this.update();
  }

  stepOnce() {
    this.app.isPaused = true;
    this.app.advance();
    this.update();
  }

  // One more lane: the next policy that is not shown, or else you.
  add() {
    const { app } = this;
    const shown = new Set(app.lanes.map(({ subject }) => subject));
    const next = app.data.policies.findIndex((_, index) => !shown.has(index));
    const subject = next >= 0 ? next : shown.has(YOU) ? app.focused.subject : YOU;
    app.setLanes([...app.lanes, { subject, moment: null }]);
  }

  update() {
    this.pause.textContent = this.app.isPaused ? "\u25b6 Play" : "\u275a\u275a Pause";
    this.presets.select(this.app.preset);
    for (const { key, set } of this.sliders) set(this.app.world[key]);
    this.again.checked = this.app.world.again;
  }
}
