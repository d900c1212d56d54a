// Watch it learn: a slider through the moments of a training, and the learning curve.

import { drawCurves } from "./charts.mjs";
import { color, laneColor } from "./drawing.mjs";
import { button, byId, count, slider } from "./elements.mjs";
import { MAX_LANES } from "./state.mjs";

const MILLISECONDS = 2200; // that each moment is shown for while training is played

export class Training {
  constructor(app) {
    this.app = app;
    this.canvas = byId("curve");
    this.playing = null;
    this.slider = slider({
      id: "moment", name: "Moment of training", min: 0, max: 1, step: 1, value: 0,
      words: (place) => this.words(place), oninput: (place) => this.show(place),
    });
    this.play = button("\u25b6 Play training", () => this.toggle(), { id: "play-training" });
    this.four = button("Four moments side by side", () => this.showFour(), { id: "four" });
    byId("moment-place").append(this.slider.element);
    byId("training-bar").append(this.play, this.four);
    this.canvas.addEventListener("click", (event) => this.click(event));
    app.whenChanged(() => this.update());
    this.update();
  }

  get history() {
    return this.app.focusedPolicy?.history ?? [];
  }

  words(place) {
    const frame = this.history[place];
    if (!frame) return "best policy of the run";
    const score = frame.mean_return === null ? "untrained" : `held-out return ${frame.mean_return.toFixed(1)}`;
    return `${count(frame.env_steps)} env steps \u00b7 ${score}`;
  }

  // The moment at a place of the slider, in the focused lane; behind the last one the final policy.
  show(place) {
    this.app.focused.moment = place < this.history.length ? place : null;
    this.app.changed();
  }

  toggle() {
    if (this.playing) return this.stop();
    let place = 0;
    const next = () => {
      if (place > this.history.length) return this.stop();
      this.show(place);
      this.app.restart();
      place += 1;
      return null;
    };
    this.playing = setInterval(next, MILLISECONDS);
    this.app.isPaused = false;
    next();
    return null;
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
    this.app.changed();
  }

  // The untrained policy, two on the way, and the final one.
  showFour() {
    const { subject } = this.app.focused;
    const last = this.history.length;
    const moments = [...new Set([0, Math.round(last / 3), Math.round((2 * last) / 3), last])].slice(0, MAX_LANES);
    this.app.setLanes(moments.map((place) => ({ subject, moment: place < last ? place : null })));
  }

  click(event) {
    if (!this.stepsAt || !this.history.length) return;
    const steps = this.stepsAt(event.offsetX);
    const distances = this.history.map((frame) => Math.abs(frame.env_steps - steps));
    this.show(distances.indexOf(Math.min(...distances)));
  }

  update() {
    const { app, history } = this;
    const policy = app.focusedPolicy;
    byId("training").hidden = !app.data.policies.some((each) => each.curve || each.history) && !app.data.curves.length;
    byId("moment-place").hidden = byId("training-bar").hidden = !history.length;
    byId("no-history").hidden = Boolean(history.length) || !policy;
    this.slider.input.max = history.length;
    this.slider.set(app.focused.moment ?? history.length);
    this.play.textContent = this.playing ? "\u25a0 Stop" : "\u25b6 Play training";
    byId("training-of").textContent = policy ? policy.name : "";
  }

  draw() {
    const { app, history } = this;
    const policy = app.focusedPolicy;
    const groups = app.data.curves.map((curve) => ({ ...curve, stroke: color("--dim") }));
    const own = policy?.curve ? [{ ...policy.curve, stroke: laneColor(app.focus) }] : [];
    const curves = [...groups, ...own];
    this.canvas.hidden = !curves.length;
    if (curves.length) this.stepsAt = drawCurves(this.canvas, curves, history, this.momentShown());
  }

  momentShown() {
    const frame = this.history[this.app.focused.moment];
    return frame ? { x: frame.env_steps, y: frame.mean_return } : null;
  }
}
