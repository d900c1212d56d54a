// The page: one loop that lets the physics run, draws, and measures what it costs.

import { readPalette } from "./drawing.mjs";
import { button, byId, el } from "./elements.mjs";
import { Inside } from "./inside.mjs";
import { Numbers } from "./numbers.mjs";
import { STEPS_PER_SECOND } from "./physics.mjs";
import { Stage } from "./stage.mjs";
import { App } from "./state.mjs";
import { Training } from "./training.mjs";
import { World } from "./world.mjs";

const MAP_BUDGET = 2.5; // ms of a frame
const LONGEST_FRAME = 0.1; // s: what is longer was a hidden tab, in which nothing happens
const SLOW_EVERY = 6; // frames between updates of texts and curves
const THEMES = ["auto", "light", "dark"];

const app = new App(JSON.parse(byId("data").textContent));
readPalette();
const world = new World(app);
const stage = new Stage(app);
const training = new Training(app);
const inside = new Inside(app);
const numbers = new Numbers(app);

const names = app.data.policies.map(({ name }) => name);
document.title = `${names[0]}${names.length > 1 ? ` and ${names.length - 1} more` : ""} \u2013 cartpole view`;
byId("names").textContent = names.slice(0, 4).join(", ") + (names.length > 4 ? ", \u2026" : "");
byId("notes").replaceChildren(...app.data.notes.map((text) => el("li", { text })));
byId("notes").hidden = !app.data.notes.length;

const theme = button("", () => setTheme(THEMES[(THEMES.indexOf(theme.dataset.theme) + 1) % THEMES.length]), { id: "theme" });
function setTheme(name) {
  theme.dataset.theme = name;
  theme.textContent = { auto: "\u25d0 Auto", light: "\u2600 Light", dark: "\u263e Dark" }[name];
  document.documentElement.dataset.theme = name;
  repaint();
}
function repaint() {
  readPalette();
  app.changed();
  numbers.draw();
}
byId("theme-place").append(theme);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
setTheme("auto");

const onKey = {
  " ": () => world.toggle(),
  ".": () => world.stepOnce(),
  r: () => app.restart(),
  arrowleft: () => app.pushAll(-app.strength),
  arrowright: () => app.pushAll(app.strength),
  "[": () => training.show(Math.max(0, training.slider.input.valueAsNumber - 1)),
  "]": () => training.show(training.slider.input.valueAsNumber + 1),
};
const HANDS = { a: "left", d: "right" };

// Keys belong to the page, but not while a control that takes them has the focus.
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (event.target.matches("input, select, textarea") || (key === " " && event.target.matches("button, summary"))) return;
  if (key in HANDS) app.hands[HANDS[key]] = true;
  if (key >= "1" && key <= String(app.lanes.length)) {
    app.focus = Number(key) - 1;
    app.changed();
  }
  if (!(key in onKey)) return;
  event.preventDefault();
  if (!event.repeat || key !== " ") onKey[key]();
});
addEventListener("keyup", (event) => {
  const hand = HANDS[event.key.toLowerCase()];
  if (hand) app.hands[hand] = false;
});
addEventListener("blur", () => (app.hands = { left: false, right: false }));

// Only what is on the screen is drawn.
const isSeen = new Map();
const watcher = new IntersectionObserver((entries) => entries.forEach((entry) => isSeen.set(entry.target.id, entry.isIntersecting)));
for (const id of ["play", "training", "inside", "numbers"]) watcher.observe(byId(id));

const costs = []; // ms of script of the last frames
let before = performance.now();
let owed = 0;
let frames = 0;
function frame(now) {
  const began = performance.now();
  const elapsed = Math.min(LONGEST_FRAME, (now - before) / 1000);
  before = now;
  if (!app.isPaused) {
    owed += elapsed * app.speed * STEPS_PER_SECOND;
    for (; owed >= 1; owed -= 1) app.advance();
  }
  if (isSeen.get("play")) stage.draw();
  if (isSeen.get("inside")) inside.draw(MAP_BUDGET);
  if (frames % SLOW_EVERY === 0) {
    stage.tell();
    if (isSeen.get("training")) training.draw();
    if (isSeen.get("numbers") && frames % (10 * SLOW_EVERY) === 0) numbers.draw();
  }
  frames += 1;
  costs.push(performance.now() - began);
  if (costs.length > 240) costs.shift();
  requestAnimationFrame(frame);
}
requestAnimationFrame(frame);

// For whoever wants to look closer, from the browser's console.
window.cartpole = { app, costs };
