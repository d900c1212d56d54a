// The lanes side by side: pictures, who drives each, scores, and pushes by dragging.

import { laneColor } from "./drawing.mjs";
import { button, byId, count, el } from "./elements.mjs";
import { drawScene } from "./scene.mjs";
import { MAX_LANES, YOU } from "./state.mjs";

const PIXELS_PER_STRENGTH = 34;
const MAX_STRENGTH = 5;
const SCORES = [
  ["upright", "Share of time with the pole within 20 degrees of upright and the cart on the rail"],
  ["falls", "How often the pole fell past 90 degrees, or the cart left the rail"],
  ["effort", "Mean absolute force, in newtons"],
  ["score", "Longest stretch within 12 degrees and 2.4 m, in steps of 0.02 s, as Gymnasium counts them"],
];

export class Stage {
  constructor(app) {
    this.app = app;
    this.element = byId("lanes");
    this.drag = null;
    this.cards = [];
    this.shape = "";
    app.whenChanged(() => this.update());
    this.update();
  }

  update() {
    const { app } = this;
    const shape = app.lanes.map(({ subject }) => subject === YOU).join();
    if (shape !== this.shape) this.build();
    this.shape = shape;
    app.lanes.forEach((lane, place) => {
      const card = this.cards[place];
      card.element.classList.toggle("focused", place === app.focus && app.lanes.length > 1);
      card.select.value = String(lane.subject);
      card.moment.textContent = momentName(app, lane);
    });
    byId("add").disabled = app.lanes.length >= MAX_LANES;
  }

  build() {
    this.cards = this.app.lanes.map((lane, place) => this.card(lane, place));
    this.element.replaceChildren(...this.cards.map(({ element }) => element));
    this.element.dataset.count = this.cards.length;
  }

  card(lane, place) {
    const { app } = this;
    const options = app.data.policies.map(({ name }, index) => el("option", { text: name, value: String(index) }));
    options.push(el("option", { text: "You (keys A and D)", value: String(YOU) }));
    const select = el("select", { "aria-label": `Who drives cart-pole ${place + 1}`, className: "who" }, ...options);
    select.addEventListener("change", () => {
      app.focus = place;
      app.setLanes(app.lanes.map((each, index) => (index === place ? { subject: Number(select.value), moment: null } : each)));
    });
    const moment = el("span", { className: "moment" });
    const remove = button("\u00d7", () => this.remove(place), {
      className: "quiet", "aria-label": `Remove cart-pole ${place + 1}`, hidden: app.lanes.length === 1,
    });
    const canvas = el("canvas", {
      className: "scene", role: "img", tabIndex: -1,
      "aria-label": "The cart and its pole: drag sideways to push, or use the arrow keys",
    });
    this.listen(canvas, place);
    const values = SCORES.map(([name, title]) => ({ name, title, value: el("dd") }));
    const scores = el("dl", { className: "scores" },
      ...values.map(({ name, title, value }) => el("div", { title }, el("dt", { text: name }), value)));
    const pads = lane.subject === YOU ? el("div", { className: "pads" }, this.pad("left", "\u25c0  A"), this.pad("right", "D  \u25b6")) : null;
    const swatch = el("span", { className: `swatch lane-${place + 1}` });
    const head = el("div", { className: "lane-head" }, swatch, select, moment, remove);
    const element = el("article", { className: `lane lane-${place + 1}` }, head, canvas, pads, scores);
    return { element, canvas, select, moment, values: values.map(({ value }) => value) };
  }

  // A button that pushes as long as it is held.
  pad(side, text) {
    const hold = (isHeld) => () => (this.app.hands[side] = isHeld);
    const release = hold(false);
    return button(text, () => {}, {
      className: `pad ${side}`, "aria-label": `Push to the ${side}`,
      onpointerdown: hold(true), onpointerup: release, onpointercancel: release, onpointerleave: release,
    });
  }

  remove(place) {
    const kept = this.app.lanes.filter((_, index) => index !== place);
    this.app.setLanes(kept);
  }

  listen(canvas, place) {
    const strengthAt = (event) => {
      const strength = (event.clientX - this.drag.from) / PIXELS_PER_STRENGTH;
      return Math.max(-MAX_STRENGTH, Math.min(MAX_STRENGTH, Math.round(10 * strength) / 10));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.drag = { from: event.clientX, strength: 0 };
      if (this.app.focus !== place) {
        this.app.focus = place;
        this.app.changed();
      }
    });
    canvas.addEventListener("pointermove", (event) => {
      if (this.drag) this.drag.strength = strengthAt(event);
    });
    canvas.addEventListener("pointerup", (event) => {
      if (this.drag && strengthAt(event)) this.app.pushAll(strengthAt(event));
      this.drag = null;
    });
    canvas.addEventListener("pointercancel", () => (this.drag = null));
  }

  draw() {
    this.app.lanes.forEach((lane, place) => drawScene(this.cards[place].canvas, place, lane, this.app, this.drag));
  }

  // The scores, which need no 60 updates a second.
  tell() {
    this.app.lanes.forEach((lane, place) => {
      const { share, seconds, falls, effort, best } = lane.score;
      const texts = [`${Math.round(100 * share)} % \u00b7 ${seconds.toFixed(0)} s`, count(falls), `${effort.toFixed(1)} N`, count(best)];
      this.cards[place].values.forEach((element, index) => {
        if (element.textContent !== texts[index]) element.textContent = texts[index];
      });
    });
  }
}

// What a lane's policy is: when in its training it was.
export function momentName(app, { subject, moment }) {
  const history = app.data.policies[subject]?.history;
  if (!history) return "";
  if (moment === null) return "best of the run";
  return history[moment].env_steps ? `after ${count(history[moment].env_steps)} steps` : "untrained";
}

export const colorOf = (place) => laneColor(place);
