// Look inside: what the focused lane's policy does over the pole's angle and velocity, and what it expects there.

import { laneColor } from "./drawing.mjs";
import { button, byId, choice, slider } from "./elements.mjs";
import { FieldMap, diverging, sequential } from "./maps.mjs";
import { probabilities } from "./pilots.mjs";

const RANGES = { "near upright": [(24 * Math.PI) / 180, 3], "all angles": [Math.PI, 8] };

export class Inside {
  constructor(app) {
    this.app = app;
    this.range = "near upright";
    this.policyMap = new FieldMap(byId("policy-map"));
    this.valueMap = new FieldMap(byId("value-map"));
    this.x = this.slider("x", "Cart's position x", 4, "m");
    this.xDot = this.slider("x-dot", "Cart's velocity", 3, "m/s");
    this.ranges = choice("ranges", "Range of the maps", Object.keys(RANGES), this.range, (name) => {
      this.range = name;
      this.update();
    });
    const now = button("Use cart's current values", () => this.takeNow(), { id: "now" });
    byId("inside-bar").append(this.ranges.element, now, this.x.element, this.xDot.element);
    for (const map of [this.policyMap, this.valueMap]) {
      map.canvas.addEventListener("click", (event) => this.put(map.stateAt(event)));
    }
    app.whenChanged(() => this.update());
    this.update();
  }

  slider(id, name, reach, unit) {
    return slider({
      id: `map-${id}`, name, min: -reach, max: reach, step: 0.1, value: 0,
      words: (value) => `${value.toFixed(1)} ${unit}`.replace("-", "\u2212"), oninput: () => this.update(),
    });
  }

  takeNow() {
    const [x, xDot] = this.app.focused.state;
    this.x.set(Math.max(-4, Math.min(4, x)));
    this.xDot.set(Math.max(-3, Math.min(3, xDot)));
    this.update();
  }

  // All lanes from the state that was clicked.
  put(state) {
    if (state) for (const lane of this.app.lanes) lane.begin([...state]);
  }

  update() {
    const pilot = this.app.pilotOf(this.app.focused);
    this.pilot = pilot;
    byId("inside-of").textContent = this.app.focusedPolicy?.name ?? "";
    byId("inside-body").hidden = !pilot;
    byId("inside-you").hidden = Boolean(pilot);
    if (!pilot) return;
    const [maxAngle, maxVelocity] = RANGES[this.range];
    const where = { x: this.x.input.valueAsNumber, xDot: this.xDot.input.valueAsNumber, maxAngle, maxVelocity };
    const isForce = pilot.outputs([0, 0, 0, 0]).length === 1;
    const share = isForce ? (state) => pilot.force(state) / 10 : (state) => tendency(pilot.outputs(state));
    this.policyMap.show({ ...where, valueAt: share, colorOf: diverging });
    byId("map-low").textContent = isForce ? "\u221210 N" : "100 % left";
    byId("map-high").textContent = isForce ? "+10 N" : "100 % right";
    byId("map-name").textContent = isForce ? "Force on the cart" : "Probability of each push";
    byId("value-figure").hidden = !pilot.value;
    if (pilot.value) {
      const colorOf = (value, low, high) => sequential(high > low ? (value - low) / (high - low) : 0.5);
      this.valueMap.show({ ...where, valueAt: pilot.value, colorOf });
    }
  }

  // Compute for so many milliseconds, and draw.
  draw(budget) {
    if (!this.pilot) return;
    const maps = this.pilot.value ? [this.policyMap, this.valueMap] : [this.policyMap];
    for (const map of maps) map.refine(performance.now() + budget / maps.length);
    const { trail } = this.app.focused;
    const stroke = laneColor(this.app.focus);
    this.policyMap.draw(trail, stroke);
    if (!this.pilot.value) return;
    this.valueMap.draw(trail, stroke);
    const [low, high] = this.valueMap.range ?? [0, 0];
    const words = [low, high].map((value) => (Number.isFinite(value) ? value.toFixed(1) : ""));
    if (byId("value-low").textContent !== words[0]) byId("value-low").textContent = words[0];
    if (byId("value-high").textContent !== words[1]) byId("value-high").textContent = words[1];
  }
}

// The mean direction of forces with these logits, from -1 to 1.
function tendency(logits) {
  const last = logits.length - 1;
  return probabilities(logits).reduce((sum, share, place) => sum + share * ((2 * place) / last - 1), 0);
}
